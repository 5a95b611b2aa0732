/** nginx: FastCGI, SCGI and HTTP, with every parameter written out. */
import {
  type Authentication,
  indent,
  lines,
  makeSocketDirectory,
  type InstanceSettings,
  quoteRegExp,
  type ServerDescription,
  type Site,
} from './site.ts'

export const nginx: ServerDescription = {
  name: 'nginx',
  title: 'nginx',
  gateways: ['fastcgi', 'scgi', 'http'],
  needsScriptName: ['http'],
  program: 'nginx',
  packages: ['nginx'],
  configure: (site) => [
    { path: '/etc/nginx/sites-available/portico', text: siteFile([site], listenLines(site)) },
  ],
  activate: (site) => [
    ...makeSocketDirectory(site),
    'ln -sf ../sites-available/portico /etc/nginx/sites-enabled/portico',
    'nginx -t',
    'nginx -s reload',
  ],
  deactivate: () => ['rm -f /etc/nginx/sites-enabled/portico'],
  defaultSite: '/etc/nginx/sites-enabled/default',
  check: ['nginx', '-t'],
  instance,
  // -e: until nginx has read its configuration it would log to the distribution's file.
  args: (file, { directory }) => ['-c', file, '-p', directory, '-e', `${directory}/error.log`],
  quirks: [
    {
      versions: 'every version',
      symptom:
        'REMOTE_USER is the name in the Authorization header, whose password has not been checked',
      remedy: 'REMOTE_USER is sent only with `auth_basic`, which checks the password',
    },
    {
      versions: 'every version',
      symptom: '`location /app` matches /apple, too',
      remedy: 'the location is a regular expression that ends at a slash',
    },
    {
      versions: 'every version, with `fastcgi_buffering off`',
      symptom: 'a truncated response looks complete',
      remedy: '`--no-streaming` keeps buffering on; send Content-Length where it matters',
    },
    {
      versions: 'before 1.29.2, with `scgi_request_buffering off`',
      symptom: 'CONTENT_LENGTH counts only those bytes of the body that have arrived',
      remedy: 'request buffering stays on over SCGI',
    },
    {
      versions: 'before 1.29.2, or without SERVER_SOFTWARE',
      symptom:
        'over SCGI, an application waits for a body that nginx does not send (`scgi_pass_request_body off` for `auth_request` or `mirror`), because the headers are those of the row above',
      remedy: 'write `scgi_param HTTP_CONTENT_LENGTH "";` in such a location',
    },
  ],
}

/** A site and the name of its upstream. */
interface Application {
  site: Site
  upstream: string
}

/** The site as Debian has it in sites-available: everything that belongs in `http { }`. */
function siteFile(sites: readonly [Site, ...Site[]], listen: string, additions?: string): string {
  const applications = sites.map((site, index) => ({
    site,
    upstream: index === 0 ? 'portico' : `portico${index + 1}`,
  }))
  const overHttp = sites.some(({ gateway }) => gateway === 'http')
  const overOthers = sites.some(({ gateway }) => gateway !== 'http')
  return `# One application behind nginx. The file belongs in the http block: Debian includes
# /etc/nginx/sites-enabled/* there, other systems /etc/nginx/conf.d/*.conf.

# The application. Several \`server\` lines share the load.
${applications.map(upstreamBlock).join('\n')}
${overOthers ? `${HOST_PORT}\n\n` : ''}${overHttp ? `${UPGRADE}\n\n` : ''}server {
${indent(server(applications, sites[0], listen, additions))}
}
`
}

function upstreamBlock({ site: { to, keepAlive, gateway }, upstream }: Application): string {
  const keeps = keepAlive > 0 && gateway !== 'scgi'
  return `upstream ${upstream} {
    server ${to};
${keeps ? `    # Idle connections that each worker of nginx keeps open. It saves a connect() per request.\n    keepalive ${keepAlive};\n` : ''}}
`
}

/** Without an address: every one, as the default site of Debian has it. */
function listenLines({ listen, tls }: Site): string {
  const ssl = tls ? ' ssl' : ''
  return listen.includes(':')
    ? `listen ${listen}${ssl};`
    : `listen ${listen}${ssl};\nlisten [::]:${listen}${ssl};`
}

const HOST_PORT = `# The port in the client's Host header, for HTTP_HOST below.
map $http_host $portico_port {
    default "";
    "~(?<given_port>:[0-9]+)$" $given_port;
}`

const UPGRADE = `# WebSockets: Upgrade is passed on, and other requests share kept-alive connections.
map $http_upgrade $portico_connection {
    default upgrade;
    "" "";
}`

function server(
  applications: readonly Application[],
  { hostname, tls, maxBody, files }: Site,
  listen: string,
  additions: string | undefined,
): string {
  return `${lines(
    listen,
    `server_name ${hostname};`,
    tls && `ssl_certificate ${tls.certificate};`,
    tls && `ssl_certificate_key ${tls.key};`,
  )}

# nginx would turn // into / before it matches locations. An application may mean //, as in
# /fetch/http://example.org/.
merge_slashes off;

# More is a 413 from nginx. 0 would leave the limit to the application.
client_max_body_size ${maxBody}m;
${lines(additions)}${files ? staticFiles(files) : ''}
${applications.map(location).join('\n\n')}`
}

function staticFiles({ at, directory }: NonNullable<Site['files']>): string {
  return `
# Files that nginx sends itself.
location ^~ ${at}/ {
    alias ${directory}/;
}
`
}

function location({ site, upstream }: Application): string {
  const prefix = quoteRegExp(site.mount)
  const comment =
    site.mount === ''
      ? '# SCRIPT_NAME is empty and PATH_INFO the whole path. (?s) and \\z, because a path may hold an\n# encoded line feed, at which . and $ would stop.'
      : '# `location /app` would match /apple, too, and `location /app/` would redirect /app. (?s) and \\z,\n# because a path may hold an encoded line feed, at which . and $ would stop.'
  const rest = site.mount === '' ? '(?<portico_path>/.*)' : '(?<portico_path>|/.*)'
  const body = { fastcgi, scgi, http, cgi: fastcgi }[site.gateway](site, upstream)
  return `${comment}
location ~ "(?s)^${prefix}${rest}\\z" {
${indent(lines(site.auth && authentication(site.auth), body))}
}`
}

function authentication({ realm, file }: Authentication): string {
  return `auth_basic "${realm}";
auth_basic_user_file ${file};
`
}

/** Parameters by name and value, as both protocols send them. */
function parameters(site: Site, directive: 'fastcgi_param' | 'scgi_param'): string {
  const set = (name: string, value: string): string => `${directive} ${name} ${value};`
  return `# Every parameter is here: nginx's own ${directive}s file has no PATH_INFO, and lines that correct it
# would send some parameters twice.
${lines(
  set('SCRIPT_NAME', `"${site.mount}"`),
  set('PATH_INFO', '$portico_path'),
  '# As the client sent it; SCRIPT_NAME and PATH_INFO are decoded.',
  set('REQUEST_URI', '$request_uri'),
  set('QUERY_STRING', '$query_string'),
  set('REQUEST_METHOD', '$request_method'),
  '# Without if_not_empty, a request that has no body would send an empty string.',
  set('CONTENT_TYPE', '$content_type if_not_empty'),
  directive === 'fastcgi_param' && set('CONTENT_LENGTH', '$content_length if_not_empty'),
  "# 'on' over TLS, otherwise absent. wsgi.url_scheme depends on it.",
  set('HTTPS', '$https if_not_empty'),
  directive === 'fastcgi_param' && set('GATEWAY_INTERFACE', 'CGI/1.1'),
  set('SERVER_PROTOCOL', '$server_protocol'),
  set('SERVER_SOFTWARE', 'nginx/$nginx_version'),
  '# The host of the request; $server_name is the name above.',
  set('SERVER_NAME', '$host'),
  set('SERVER_PORT', '$server_port'),
  set('SERVER_ADDR', '$server_addr'),
  "# The peer of nginx's own connection; no header of the client can change it.",
  set('REMOTE_ADDR', '$remote_addr'),
  set('REMOTE_PORT', '$remote_port'),
  ...(site.auth
    ? ['# auth_basic above has checked the password.', set('REMOTE_USER', '$remote_user')]
    : [
        '# No REMOTE_USER: without auth_basic, $remote_user is whatever name the client puts into its',
        '# Authorization header. Pass it only from a location that has auth_basic and not `satisfy any`.',
      ]),
  "# Replaces the client's own Host header. For `GET http://a/` with `Host: b` nginx uses a, and the",
  '# application should, too. $host has no port, so the map above adds it.',
  set('HTTP_HOST', '$host$portico_port'),
)}`
}

function fastcgi(site: Site, upstream: string): string {
  return lines(
    parameters(site, 'fastcgi_param'),
    '',
    `fastcgi_pass ${upstream};`,
    '# Asks the application to keep the connection open after a response. With it, and with buffering,',
    '# nginx notices a truncated response.',
    `fastcgi_keep_conn ${site.keepAlive > 0 ? 'on' : 'off'};`,
    ...(site.streaming
      ? [
          '# Sends responses as the application produces them: event streams, progress, long reports. The',
          '# price: without buffering, nginx takes a truncated response for a complete one.',
          'fastcgi_buffering off;',
          '# Forwards uploads as the client sends them, instead of storing them in a file first. A chunked',
          '# upload then has no CONTENT_LENGTH, because its length is not known.',
          'fastcgi_request_buffering off;',
        ]
      : []),
    '# How long the application may be silent. An event stream should send a comment more often.',
    `fastcgi_read_timeout ${site.timeout}s;`,
  )
}

function scgi(site: Site, upstream: string): string {
  return lines(
    parameters(site, 'scgi_param'),
    `scgi_pass ${upstream};`,
    site.streaming &&
      '# Sends responses as the application produces them: event streams, progress.',
    site.streaming && 'scgi_buffering off;',
    '# scgi_request_buffering stays on: without it, older versions of nginx send a wrong CONTENT_LENGTH.',
    '# How long the application may be silent. An event stream should send a comment more often.',
    `scgi_read_timeout ${site.timeout}s;`,
  )
}

function http(site: Site, upstream: string): string {
  return lines(
    `proxy_pass http://${upstream};`,
    'proxy_http_version 1.1;',
    'proxy_set_header Host $http_host;',
    'proxy_set_header Upgrade $http_upgrade;',
    'proxy_set_header Connection $portico_connection;',
    '# The application believes these if its proxyFix middleware trusts this web server.',
    'proxy_set_header X-Forwarded-For $remote_addr;',
    'proxy_set_header X-Forwarded-Proto $scheme;',
    'proxy_set_header X-Forwarded-Host $http_host;',
    site.streaming && 'proxy_buffering off;',
    site.streaming && 'proxy_request_buffering off;',
    `proxy_read_timeout ${site.timeout}s;`,
  )
}

function instance(
  sites: readonly [Site, ...Site[]],
  { directory, listen, user, additions }: InstanceSettings,
): string {
  const temporary = ['client_body', 'fastcgi', 'scgi', 'proxy', 'uwsgi']
  const ssl = sites[0].tls ? ' ssl' : ''
  return `daemon off;
pid ${directory}/nginx.pid;
${user === undefined ? '' : `user ${user};`}
worker_processes 1;
events {}
http {
    types_hash_max_size 4096;
    include /etc/nginx/mime.types;
    access_log off;
    error_log ${directory}/error.log warn;
${indent(temporary.map((name) => `${name}_temp_path ${directory}/${name}_temp;`).join('\n'))}
${indent(siteFile(sites, `listen ${listen}${ssl};`, additions))}}
`
}
