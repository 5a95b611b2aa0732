/** Broken sites of one nginx: the doctor has to name the fault of each. */
import { afterAll, beforeAll, describe } from 'vitest'
import { installed, startServer, workerUser } from '../servers/process.ts'
import {
  type Applications,
  closeAll,
  closers,
  freePorts,
  itFindsNothingWrong,
  itNamesEach,
  type Staging,
  startApplications,
} from './staging.ts'

const NAMES = `
  QUERY_STRING $query_string
  REQUEST_METHOD $request_method
  REQUEST_URI $request_uri
  SERVER_PROTOCOL $server_protocol
  SERVER_SOFTWARE nginx/$nginx_version
  SERVER_NAME $host
  SERVER_PORT $server_port
  REMOTE_ADDR $remote_addr
  HTTP_HOST $http_host`

function parameters(directive = 'fastcgi_param', but: readonly string[] = []): string {
  const lines = [
    ...NAMES.trim().split('\n'),
    'CONTENT_TYPE $content_type if_not_empty',
    ...(directive === 'fastcgi_param' ? ['CONTENT_LENGTH $content_length if_not_empty'] : []),
  ]
  return lines
    .map((line) => line.trim())
    .filter((line) => !but.includes(line.split(' ')[0]!))
    .map((line) => `${directive} ${line};`)
    .join('\n')
}

const SPLIT =
  'fastcgi_split_path_info "(?s)^()(/.*)\\z"; fastcgi_param SCRIPT_NAME ""; fastcgi_param PATH_INFO $fastcgi_path_info;'
const LARGE = 'client_max_body_size 64m;'
const STREAMED = 'fastcgi_buffering off;'

/** A server block with one location. */
function server(port: number, location: string, at = '/', listen = `127.0.0.1:${port}`): string {
  return `server { listen ${listen}; error_log ERRORS-${port}.log; location ${at} { ${location} } }`
}

/** A location that is right, before `extra` and after `pass`. */
function right(pass: string, extra = '', but: readonly string[] = []): string {
  return `${parameters('fastcgi_param', but)} ${SPLIT} ${LARGE} ${STREAMED} fastcgi_pass ${pass}; ${extra}`
}

const PROXY = `${LARGE} proxy_buffering off; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $remote_addr;`

const stagings: readonly Staging[] = [
  {
    fault: 'a wrong path of the socket',
    site: (port, { fastcgi }) => server(port, right(`unix:${fastcgi.replace('.sock', '.sokc')}`)),
    level: 'failure',
    check: 'socket',
    message: /does not exist.*fastcgi_pass unix:/,
    fix: /^portico serve app\.mjs --gateway fastcgi --listen unix:.*\.sokc$/,
  },
  {
    fault: 'a socket that only root may use',
    site: (port, { closed }) => server(port, right(`unix:${closed}`)),
    level: 'failure',
    check: 'access',
    message: /has no write permission on .*closed\.sock/,
    fix: /--socket-mode 0660/,
  },
  {
    fault: 'a directory above the socket that only root may enter',
    site: (port, { hidden }) => server(port, right(`unix:${hidden}`)),
    level: 'failure',
    check: 'access',
    message: /cannot enter .*hidden/,
    fix: /chmod o\+x/,
  },
  {
    fault: 'a socket left over by a process that was killed',
    site: (port, { stale }) => server(port, right(`unix:${stale}`)),
    level: 'failure',
    check: 'listening',
    message: /nothing listens on .*stale\.sock: the process has ended/,
  },
  {
    fault: 'a TCP port on which nothing listens',
    site: (port, { unused }) => server(port, right(`127.0.0.1:${unused}`)),
    level: 'failure',
    check: 'listening',
    message: /nothing listens on 127\.0\.0\.1/,
    fix: /^portico serve app\.mjs --gateway fastcgi --listen 127\.0\.0\.1:/,
  },
  {
    fault: 'fastcgi_pass to an application that speaks HTTP',
    site: (port, { http }) => server(port, right(`unix:${http}`)),
    level: 'failure',
    check: 'protocol',
    message: /speaks http, and the web server expects fastcgi/,
    fix: /^proxy_pass http:\/\/unix:/,
  },
  {
    fault: 'proxy_pass to an application that speaks FastCGI',
    site: (port, { fastcgi }) =>
      server(port, `${PROXY} proxy_set_header Host $http_host; proxy_pass http://unix:${fastcgi};`),
    level: 'failure',
    check: 'protocol',
    message: /speaks fastcgi, and the web server expects http/,
    fix: /^fastcgi_pass unix:/,
  },
  {
    fault: 'scgi_pass to an application that speaks FastCGI',
    site: (port, { fastcgi }) =>
      server(
        port,
        `${parameters('scgi_param')} scgi_param SCRIPT_NAME ""; scgi_pass unix:${fastcgi};`,
      ),
    level: 'failure',
    check: 'protocol',
    message: /speaks fastcgi, and the web server expects scgi/,
    fix: /^fastcgi_pass .* # instead of scgi_pass$/,
  },
  {
    fault: 'an application that does not respond',
    site: (port, { silent }) => server(port, right(`unix:${silent}`, 'fastcgi_read_timeout 1s;')),
    level: 'failure',
    check: 'protocol',
    message: /does not respond/,
    also: ['timeout'],
  },
  {
    fault: 'an application that crashes at each request',
    site: (port, { crashing }) => server(port, right(`unix:${crashing}`)),
    level: 'failure',
    check: 'application',
    message: /has ended or closed the connection without a response/,
    also: ['protocol'],
  },
  {
    fault: 'one of two applications that is not there',
    site: (port, { fastcgi, directory }) =>
      `upstream two${port} { server unix:${fastcgi}; server unix:${directory}/none.sock; }
       ${server(port, right(`two${port}`))}`,
    level: 'failure',
    check: 'socket',
    message: /none\.sock does not exist.*\(server unix:\S+none\.sock;\)$/,
    fix: /^portico serve app\.mjs --gateway fastcgi --listen unix:.*none\.sock$/,
  },
  {
    fault: 'a prefix that is not split from PATH_INFO',
    site: (port, { fastcgi }) =>
      server(
        port,
        `${parameters()} fastcgi_param SCRIPT_NAME $fastcgi_script_name; ${LARGE} ${STREAMED} fastcgi_pass unix:${fastcgi};`,
        '/app',
      ),
    path: '/app/doctor',
    level: 'failure',
    check: 'PATH_INFO',
    message: /nginx sends no PATH_INFO, so the application does not know its mount point/,
    fix: /fastcgi_split_path_info/,
    also: ['web server'],
  },
  {
    fault: '$fastcgi_path_info without fastcgi_split_path_info',
    site: (port, { fastcgi }) =>
      server(
        port,
        `${parameters()} fastcgi_param SCRIPT_NAME $fastcgi_script_name; fastcgi_param PATH_INFO $fastcgi_path_info; ${LARGE} ${STREAMED} fastcgi_pass unix:${fastcgi};`,
        '/app',
      ),
    path: '/app/doctor',
    level: 'failure',
    check: 'PATH_INFO',
    message: /empty without fastcgi_split_path_info/,
    also: ['web server'],
  },
  {
    fault: 'no fastcgi_param at all',
    site: (port, { fastcgi }) => server(port, `fastcgi_pass unix:${fastcgi};`),
    level: 'failure',
    check: 'parameters',
    message: /has no fastcgi_param/,
    fix: /include .*fastcgi_params/,
    also: ['web server'],
  },
  {
    fault: 'parameters that an include and a line set',
    site: (port, { fastcgi }) =>
      server(
        port,
        `include /etc/nginx/fastcgi_params; ${right(`unix:${fastcgi}`, '', [])} fastcgi_param REMOTE_USER "";`,
      ),
    level: 'warning',
    check: 'parameters',
    message: /SCRIPT_NAME.* set twice/,
    fix: /delete the include/,
  },
  {
    fault: 'REMOTE_USER of an Authorization header without a check of the password',
    site: (port, { fastcgi }) =>
      server(port, right(`unix:${fastcgi}`, 'fastcgi_param REMOTE_USER $remote_user;')),
    level: 'failure',
    check: 'REMOTE_USER',
    message: /without auth_basic: any client sets it/,
    fix: /delete the line/,
  },
  {
    fault: 'REMOTE_USER of a header',
    site: (port, { fastcgi }) =>
      server(port, right(`unix:${fastcgi}`, 'fastcgi_param REMOTE_USER $http_x_remote_user;')),
    level: 'failure',
    check: 'REMOTE_USER',
    message: /\$http_x_remote_user, a header that any client can send/,
  },
  {
    fault: 'REMOTE_ADDR of a header that every client may send',
    site: (port, { fastcgi }) =>
      server(
        port,
        `set_real_ip_from 0.0.0.0/0; real_ip_header X-Forwarded-For; ${right(`unix:${fastcgi}`)}`,
      ),
    level: 'warning',
    check: 'REMOTE_ADDR',
    message: /a header sets REMOTE_ADDR/,
    fix: /set_real_ip_from/,
  },
  {
    fault: 'a Host header that is not passed on',
    site: (port, { http }) => server(port, `${PROXY} proxy_pass http://unix:${http};`),
    level: 'failure',
    check: 'HTTP_HOST',
    message: /nginx sends Host/,
    fix: /proxy_set_header Host \$http_host;/,
  },
  {
    fault: 'a Host header without its port',
    site: (port, { fastcgi }) =>
      server(port, right(`unix:${fastcgi}`, 'fastcgi_param HTTP_HOST $host;', ['HTTP_HOST'])),
    level: 'failure',
    check: 'HTTP_HOST',
    message: /HTTP_HOST is "127\.0\.0\.1", not/,
    fix: /fastcgi_param HTTP_HOST \$http_host;/,
  },
  {
    fault: 'a slash at the end of proxy_pass',
    site: (port, { http }) =>
      server(
        port,
        `${PROXY} proxy_set_header Host $http_host; proxy_pass http://unix:${http}:/;`,
        '/app/',
      ),
    path: '/app/doctor',
    level: 'failure',
    check: 'proxy_pass',
    message: /replaces \/app\/ by it/,
    also: ['%2F', 'PATH_INFO'],
  },
  {
    fault: 'a query that is not passed on',
    site: (port, { fastcgi }) =>
      server(port, right(`unix:${fastcgi}`, 'fastcgi_param QUERY_STRING "";', ['QUERY_STRING'])),
    level: 'failure',
    check: 'QUERY_STRING',
    message: /QUERY_STRING is ""/,
    fix: /fastcgi_param QUERY_STRING \$query_string;/,
  },
  {
    fault: 'headers that are not passed on',
    site: (port, { fastcgi }) =>
      server(port, right(`unix:${fastcgi}`, 'fastcgi_pass_request_headers off;')),
    level: 'failure',
    check: 'headers',
    message: /do not arrive/,
    fix: /fastcgi_pass_request_headers on;/,
    also: ['Authorization'],
  },
  {
    fault: 'a body that is not passed on',
    site: (port, { fastcgi }) =>
      server(
        port,
        right(
          `unix:${fastcgi}`,
          'fastcgi_pass_request_body off; fastcgi_param CONTENT_LENGTH "";',
          ['CONTENT_LENGTH'],
        ),
      ),
    level: 'failure',
    check: 'body',
    message: /0 of the 3 bytes of a request body arrive/,
    fix: /fastcgi_pass_request_body on;/,
  },
  {
    fault: 'a limit of 1 MiB for request bodies',
    site: (port, { fastcgi }) =>
      server(port, right(`unix:${fastcgi}`).replace(LARGE, 'client_max_body_size 1m;')),
    level: 'warning',
    check: 'uploads',
    message: /a body of 2 MiB is refused: 413/,
    fix: /^client_max_body_size 64m;/,
  },
  {
    fault: 'buffered event streams',
    site: (port, { fastcgi }) => server(port, right(`unix:${fastcgi}`).replace(STREAMED, '')),
    level: 'warning',
    check: 'streaming',
    message: /arrive together at its end/,
    fix: /^fastcgi_buffering off;/,
  },
  {
    fault: 'compressed event streams',
    site: (port, { fastcgi }) =>
      server(
        port,
        right(`unix:${fastcgi}`, 'gzip on; gzip_min_length 0; gzip_types text/event-stream;'),
      ),
    level: 'warning',
    check: 'gzip',
    message: /holds events back/,
    fix: /^gzip_types/,
  },
  {
    fault: 'an upstream with keepalive, without fastcgi_keep_conn',
    site: (port, { fastcgi }) =>
      `upstream keep${port} { server unix:${fastcgi}; keepalive 4; } ${server(port, right(`keep${port}`))}`,
    level: 'warning',
    check: 'keep-alive',
    message: /without fastcgi_keep_conn/,
    fix: /^fastcgi_keep_conn on;/,
  },
  {
    fault: 'responses of a cache',
    site: (port, { fastcgi }) =>
      server(
        port,
        right(
          `unix:${fastcgi}`,
          'fastcgi_buffering on; fastcgi_cache staged; fastcgi_cache_key $scheme$host$server_port$request_uri; fastcgi_cache_valid 200 1m; fastcgi_ignore_headers Cache-Control;',
        ).replace(STREAMED, ''),
      ),
    level: 'failure',
    check: 'cache',
    message: /it comes from a cache/,
    fix: /^fastcgi_cache off;/,
    also: ['streaming'],
  },
  {
    fault: "error pages instead of the application's own",
    site: (port, { fastcgi }) =>
      server(
        port,
        right(`unix:${fastcgi}`, 'fastcgi_intercept_errors on; error_page 422 /422.html;'),
      ),
    level: 'warning',
    check: 'error pages',
    message: /replaces the application's own error pages/,
    fix: /fastcgi_intercept_errors off;/,
  },
  {
    fault: 'methods that are not allowed',
    site: (port, { fastcgi }) =>
      server(port, right(`unix:${fastcgi}`, 'limit_except GET POST { deny all; }')),
    level: 'warning',
    check: 'methods',
    message: /PUT, PATCH, DELETE requests do not reach/,
    fix: /limit_except/,
  },
  {
    fault: 'try_files before the application',
    site: (port, { fastcgi }) => server(port, right(`unix:${fastcgi}`, 'try_files $uri =404;')),
    level: 'failure',
    check: 'try_files',
    message: /looks for files/,
    also: ['web server'],
  },
  {
    fault: 'a path that no location passes on',
    site: (port, { fastcgi }) => server(port, right(`unix:${fastcgi}`), '/other'),
    level: 'failure',
    check: 'configuration',
    message: /no location has the path \/doctor|nginx looks for the file/,
  },
  {
    fault: 'a port that listens for IPv6 only',
    site: (port, { fastcgi }) => server(port, right(`unix:${fastcgi}`), '/', `[::1]:${port}`),
    level: 'failure',
    check: 'listening',
    message: /for IPv6 only/,
    also: ['web server'],
  },
]

const nginx = installed('nginx')
describe.skipIf(!nginx.available)(`Behind nginx${nginx.hint}, portico doctor`, () => {
  let apps: Applications
  let ports: number[] = []

  beforeAll(async () => {
    apps = await startApplications()
    ports = await freePorts(stagings.length + 1)
    const sites = stagings.map(({ site }, index) => site(ports[index]!, apps))
    sites.push(server(ports.at(-1)!, right(`unix:${apps.fastcgi}`)))
    const started = await startServer({
      program: 'nginx',
      configure: ({ directory, port }) => `
daemon off;
pid ${directory}/nginx.pid;
${workerUser === undefined ? '' : `user ${workerUser};`}
worker_processes 1;
events {}
http {
  access_log off;
  error_log ${directory}/error.log warn;
  fastcgi_cache_path ${directory}/cache keys_zone=staged:1m;
  ${['client_body', 'fastcgi', 'scgi', 'proxy', 'uwsgi'].map((name) => `${name}_temp_path ${directory}/${name}_temp;`).join('\n  ')}
  server { listen 127.0.0.1:${port}; location = /portico-test-is-ready { return 307 /; } }
  ${sites.join('\n  ').replaceAll('ERRORS', `${directory}/error`)}
}
`,
      args: (config, { directory }) => [
        '-c',
        config,
        '-p',
        directory,
        '-e',
        `${directory}/error.log`,
      ],
    })
    closers.push(() => started.stop())
  })
  afterAll(closeAll)

  itFindsNothingWrong(() => ports.at(-1)!)

  itNamesEach(stagings, (index) => ports[index]!)
})
