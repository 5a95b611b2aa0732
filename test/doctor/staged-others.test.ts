/** Broken sites of lighttpd, Caddy, HAProxy and H2O: the doctor has to name the fault of each. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installed, readyPath, startServer, workerUser } from '../servers/process.ts'
import {
  type Applications,
  closeAll,
  closers,
  diagnose,
  freePorts,
  itNamesEach,
  type Staging,
  startApplications,
} from './staging.ts'

let apps: Applications
beforeAll(async () => {
  apps = await startApplications()
})
afterAll(closeAll)

/** Starts a web server with all sites, and returns their ports. */
async function start(
  program: 'lighttpd' | 'caddy' | 'haproxy' | 'h2o',
  stagings: readonly Staging[],
  configure: (sites: string[], directory: string, port: number) => string,
  args: (config: string) => string[],
): Promise<number[]> {
  const ports = await freePorts(stagings.length)
  const sites = stagings.map(({ site }, index) => site(ports[index]!, apps))
  const started = await startServer({
    program,
    configure: ({ directory, port }) => configure(sites, directory, port),
    args,
  })
  closers.push(() => started.stop())
  return ports
}

const host = (prefix: string, address: string, ...settings: string[]): string =>
  `fastcgi.server += ( "${prefix}" => (( ${[`"socket" => "${address}"`, ...settings].join(', ')} )) )`
const UNCHECKED = '"check-local" => "disable"'
const at = (port: number, ...lines: string[]): string =>
  `$SERVER["socket"] == "127.0.0.1:${port}" {\n${lines.join('\n')}\n}`
const STREAMED = 'server.stream-response-body = 1'

/** Each below a prefix of its own, because a request does not show in which block its port is. */
const lighttpdStagings: readonly Staging[] = [
  {
    fault: 'a wrong path of the socket',
    site: (port, { directory }) =>
      at(port, STREAMED, host('/wrong', `${directory}/wrong.sock`, UNCHECKED)),
    path: '/wrong/doctor',
    level: 'failure',
    check: 'socket',
    message: /wrong\.sock does not exist/,
  },
  {
    fault: 'a file that is looked for before each request',
    site: (port, { fastcgi }) => at(port, STREAMED, host('/local', fastcgi)),
    path: '/local/doctor',
    level: 'failure',
    check: 'check-local',
    message: /looks for a file/,
    fix: /^"check-local" => "disable"$/,
    also: ['web server'],
  },
  {
    fault: 'fastcgi.server for an application that speaks HTTP',
    site: (port, { http }) => at(port, STREAMED, host('/http', http, UNCHECKED)),
    path: '/http/doctor',
    level: 'failure',
    check: 'protocol',
    message: /speaks http, and the web server expects fastcgi/,
    fix: /^proxy\.server/,
  },
  {
    fault: 'buffered event streams',
    site: (port, { fastcgi }) => at(port, host('/buffered', fastcgi, UNCHECKED)),
    path: '/buffered/doctor',
    level: 'warning',
    check: 'streaming',
    message: /arrive together at its end/,
    fix: /^server\.stream-response-body = 1$/,
  },
  {
    fault: 'a prefix with a slash at its end',
    site: (port, { fastcgi }) => at(port, STREAMED, host('/slash/', fastcgi, UNCHECKED)),
    path: '/slash/doctor',
    level: 'warning',
    check: 'mount',
    message: /takes one more segment into SCRIPT_NAME/,
    also: ['web server'],
  },
]

const lighttpd = installed('lighttpd')
describe.skipIf(!lighttpd.available)(`Behind lighttpd${lighttpd.hint}, portico doctor`, () => {
  let ports: number[] = []
  beforeAll(async () => {
    ports = await start(
      'lighttpd',
      lighttpdStagings,
      (sites, directory, port) => `
server.modules = ( "mod_redirect", "mod_fastcgi" )
server.bind = "127.0.0.1"
server.port = ${port}
server.document-root = "${directory}"
server.upload-dirs = ( "${directory}" )
server.errorlog = "${directory}/error.log"
${workerUser === undefined ? '' : `server.username = "${workerUser}"\nserver.groupname = "${workerUser}"`}
$HTTP["url"] == "${readyPath}" {
  url.redirect = ( "" => "/" )
  url.redirect-code = 307
}
${sites.join('\n')}
`,
      (config) => ['-D', '-f', config],
    )
  })

  itNamesEach(lighttpdStagings, (index) => ports[index]!)
})

const site = (port: number, ...lines: string[]): string =>
  `http://127.0.0.1:${port} {\n${lines.join('\n')}\n}`

const caddyStagings: readonly Staging[] = [
  {
    fault: 'a wrong path of the socket',
    site: (port, { directory }) =>
      site(port, `reverse_proxy unix/${directory}/wrong.sock {\ntransport fastcgi\n}`),
    level: 'failure',
    check: 'socket',
    message: /wrong\.sock does not exist/,
  },
  {
    fault: 'HTTP to an application that speaks FastCGI',
    site: (port, { fastcgi }) => site(port, `reverse_proxy unix/${fastcgi}`),
    level: 'failure',
    check: 'protocol',
    message: /speaks fastcgi, and the web server expects http/,
    fix: /transport fastcgi/,
  },
  {
    fault: 'a prefix without split',
    site: (port, { fastcgi }) =>
      site(port, `@a path /app /app/*\nreverse_proxy @a unix/${fastcgi} {\ntransport fastcgi\n}`),
    path: '/app/doctor',
    level: 'failure',
    check: 'SCRIPT_NAME',
    message: /without split, SCRIPT_NAME is empty and PATH_INFO begins with \/app/,
    fix: /split \/app/,
    also: ['web server'],
  },
  {
    fault: 'handle_path, which strips the prefix',
    site: (port, { fastcgi }) =>
      site(
        port,
        `handle_path /app/* {\nreverse_proxy unix/${fastcgi} {\ntransport fastcgi\nflush_interval -1\n}\n}`,
      ),
    path: '/app/doctor',
    level: 'failure',
    check: 'mount',
    message: /removes \/app/,
    also: ['PATH_INFO'],
  },
]

const caddy = installed('caddy')
describe.skipIf(!caddy.available)(`Behind Caddy${caddy.hint}, portico doctor`, () => {
  let ports: number[] = []
  beforeAll(async () => {
    ports = await start(
      'caddy',
      caddyStagings,
      (sites, directory, port) =>
        `{\nadmin off\nauto_https off\nstorage file_system ${directory}\n}\nhttp://127.0.0.1:${port} {\nredir ${readyPath} / 307\n}\n${sites.join('\n')}\n`,
      (config) => ['run', '--config', config, '--adapter', 'caddyfile'],
    )
  })

  itNamesEach(caddyStagings, (index) => ports[index]!)
})

const app = (port: number, ...lines: string[]): string =>
  `fcgi-app app${port}\ndocroot /srv\n${lines.join('\n')}\n`
const front = (port: number, ...lines: string[]): string =>
  `frontend web${port}\nbind 127.0.0.1:${port}\ndefault_backend back${port}\nbackend back${port}\n${lines.join('\n')}\n`
const SAFE = ['set-param REMOTE_USER %[var(txn.user)]', 'set-param AUTH_TYPE %[var(txn.auth)]']
const LOGGED = 'log-stderr global'
const PASSED = 'pass-header Authorization'
const SPLIT = 'path-info ^()(/.*)?$'

const haproxyStagings: readonly Staging[] = [
  {
    fault: 'HTTP to an application that speaks FastCGI',
    site: (port, { fastcgi }) => front(port, `server app unix@${fastcgi}`),
    level: 'failure',
    check: 'protocol',
    message: /speaks fastcgi, and the web server expects http/,
    fix: /proto fcgi/,
  },
  {
    fault: 'an Authorization header that is dropped',
    site: (port, { fastcgi }) =>
      front(port, `use-fcgi-app app${port}`, `server app unix@${fastcgi} proto fcgi`) +
      app(port, ...SAFE, LOGGED, SPLIT),
    level: 'failure',
    check: 'Authorization',
    message: /drops the Authorization header/,
    fix: /^pass-header Authorization/,
  },
  {
    fault: 'REMOTE_USER of an Authorization header without a check of the password',
    site: (port, { fastcgi }) =>
      front(port, `use-fcgi-app app${port}`, `server app unix@${fastcgi} proto fcgi`) +
      app(port, LOGGED, PASSED, SPLIT),
    level: 'failure',
    check: 'REMOTE_USER',
    message: /without a check of the password/,
    fix: /^set-param REMOTE_USER/,
  },
  {
    fault: 'no path-info',
    site: (port, { fastcgi }) =>
      front(port, `use-fcgi-app app${port}`, `server app unix@${fastcgi} proto fcgi`) +
      app(port, ...SAFE, LOGGED, PASSED),
    level: 'warning',
    check: 'PATH_INFO',
    message: /sends the whole path as SCRIPT_NAME/,
    fix: /^path-info/,
  },
]

const haproxy = installed('haproxy')
describe.skipIf(!haproxy.available)(`Behind HAProxy${haproxy.hint}, portico doctor`, () => {
  let ports: number[] = []
  beforeAll(async () => {
    ports = await start(
      'haproxy',
      haproxyStagings,
      (sites, _directory, port) => `
global
  log stderr format raw daemon
  maxconn 256
  ${workerUser === undefined ? '' : `user ${workerUser}\n  group ${workerUser}`}
defaults
  mode http
  log global
  option dontlog-normal
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend ready
  bind 127.0.0.1:${port}
  http-request redirect location / code 307 if { path ${readyPath} }
${sites.join('\n')}
`,
      (config) => ['-db', '-f', config],
    )
  })

  itNamesEach(haproxyStagings, (index) => ports[index]!)
})

const path = (port: number, mount: string, ...lines: string[]): string =>
  `  "127.0.0.1:${port}":
    listen:
      host: 127.0.0.1
      port: ${port}
    paths:
      "${mount}":
${lines.map((line) => `        ${line}\n`).join('')}`
const connect = (socket: string): string[] => [
  'fastcgi.connect:',
  `  port: ${socket}`,
  '  type: unix',
]
const KEPT = 'proxy.preserve-host: ON'

const h2oStagings: readonly Staging[] = [
  {
    fault: 'FastCGI to an application that speaks HTTP',
    site: (port, { http }) => path(port, '/', ...connect(http)),
    level: 'failure',
    check: 'protocol',
    message: /speaks http, and the web server expects fastcgi/,
    fix: /^proxy\.reverse\.url/,
  },
  {
    fault: 'HTTP to an application that speaks FastCGI',
    site: (port, { fastcgi }) =>
      path(port, '/', KEPT, `proxy.reverse.url: "http://[unix:${fastcgi}]/"`),
    level: 'failure',
    check: 'protocol',
    message: /speaks fastcgi, and the web server expects http/,
    fix: /^fastcgi\.connect/,
  },
  {
    fault: 'a wrong path of the socket',
    site: (port, { directory }) => path(port, '/', ...connect(`${directory}/wrong.sock`)),
    level: 'failure',
    check: 'socket',
    message: /wrong\.sock does not exist/,
  },
  {
    fault: 'a Host header that is replaced',
    site: (port, { http }) => path(port, '/', `proxy.reverse.url: "http://[unix:${http}]/"`),
    level: 'failure',
    check: 'HTTP_HOST',
    message: /replaces the Host header/,
    fix: /^proxy\.preserve-host: ON$/,
    also: ['web server'],
  },
  {
    fault: 'a mount point that proxy.reverse.url removes',
    site: (port, { http }) =>
      path(port, '/app', KEPT, `proxy.reverse.url: "http://[unix:${http}]/"`),
    path: '/app/doctor',
    level: 'failure',
    check: 'mount',
    message: /replaces \/app by \//,
    fix: /^proxy\.reverse\.url: "http:\/\/\[unix:.*\]\/app"$/,
    also: ['PATH_INFO'],
  },
  {
    fault: 'a mount point that the application does not know',
    site: (port, { fastcgi }) => path(port, '/app', ...connect(fastcgi)),
    path: '/app/doctor',
    level: 'warning',
    check: 'SCRIPT_NAME',
    message: /an empty SCRIPT_NAME, and PATH_INFO begins with \/app/,
    fix: /^scriptName: '\/app' in the application$/,
    also: ['web server'],
  },
]

const h2o = installed('h2o')
describe.skipIf(!h2o.available)(`Behind H2O${h2o.hint}, portico doctor`, () => {
  let ports: number[] = []
  beforeAll(async () => {
    ports = await start(
      'h2o',
      h2oStagings,
      (sites, directory, port) => `
${workerUser === undefined ? '' : `user: ${workerUser}`}
pid-file: ${directory}/h2o.pid
error-log: ${directory}/error.log
temp-buffer-path: ${directory}
hosts:
  "127.0.0.1:${port}":
    listen:
      host: 127.0.0.1
      port: ${port}
    paths:
      "${readyPath}":
        redirect:
          status: 307
          url: /
${sites.join('')}
`,
      (config) => ['-c', config],
    )
  })

  itNamesEach(h2oStagings, (index) => ports[index]!)
})

it('portico doctor names a port on which no web server listens', async () => {
  const { code, findings } = await diagnose(`http://127.0.0.1:${apps.unused}/doctor`)
  expect(findings).toContainEqual(
    expect.objectContaining({
      level: 'failure',
      check: 'web server',
      message: expect.stringContaining('ECONNREFUSED'),
    }),
  )
  expect(code).toBe(1)
})
