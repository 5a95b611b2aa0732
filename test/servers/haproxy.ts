/** HAProxy in front of FastCGI and HTTP applications. It does not support SCGI. */
import { type Mount, quoteRegExp, scriptName, unixPath } from './mount.ts'
import { type Place, readyPath, startServer, type WebServer, workerUser } from './process.ts'

export interface HaproxyOptions {
  /** `extra` holds lines for the fcgi-app section: `option get-values`, `option mpxs-conns`. */
  mounts?: Mount[]
  /** Lines for the frontend. */
  extra?: string
}

export async function startHaproxy(options: HaproxyOptions = {}): Promise<WebServer> {
  return startServer({
    program: 'haproxy',
    configure: (place) => configure(place, options),
    // -db: neither daemon nor master, and so one process.
    args: (config) => ['-db', '-f', config],
  })
}

function configure({ port }: Place, { mounts = [], extra = '' }: HaproxyOptions): string {
  return `
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

frontend web
  bind 127.0.0.1:${port}
  http-request redirect location / code 307 if { path ${readyPath} }
  ${extra}
  ${mounts.map(rule).join('\n  ')}
${mounts.map(backend).join('')}`
}

function rule(mount: Mount, index: number): string {
  return `use_backend app${index} if { path -m reg ^${quoteRegExp(scriptName(mount))}(/|$) }`
}

function backend(mount: Mount, index: number): string {
  const { to, protocol = 'fastcgi', pathInfo = 'split', extra = '' } = mount
  const socket = unixPath(to)
  const server = `server app ${socket === undefined ? to : `unix@${socket}`}`
  if (protocol === 'scgi') throw new Error('HAProxy speaks no SCGI')
  if (protocol === 'http') return `\nbackend app${index}\n  ${server}\n`
  return `
backend app${index}
  use-fcgi-app app${index}
  ${server} proto fcgi

fcgi-app app${index}
  docroot /srv
  log-stderr global
  option keep-conn
  pass-header Authorization
  ${pathInfo === 'split' ? `path-info ^(${quoteRegExp(scriptName(mount))})(/.*)?$` : ''}
  ${extra}
`
}
