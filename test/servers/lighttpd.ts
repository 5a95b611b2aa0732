/** lighttpd: CGI scripts, and FastCGI, SCGI and HTTP applications that run or that it starts. */
import { type Mount, unixPath } from './mount.ts'
import {
  assertReachable,
  type Place,
  readyPath,
  serverPath,
  startServer,
  type WebServer,
  workerUser,
} from './process.ts'

export interface LighttpdOptions {
  /** A directory of scripts, served as /cgi-bin/. */
  cgiBin?: string
  /** `extra` holds further options of the host: `"bin-path" => "/usr/lib/cgi-bin/app.fcgi"`. */
  mounts?: Mount[]
  extra?: string
}

const directive = { fastcgi: 'fastcgi.server', scgi: 'scgi.server', http: 'proxy.server' }

export async function startLighttpd(options: LighttpdOptions = {}): Promise<WebServer> {
  if (options.cgiBin !== undefined) assertReachable(options.cgiBin)
  return startServer({
    program: 'lighttpd',
    configure: (place) => configure(place, options),
    args: (config) => ['-D', '-f', config],
  })
}

function configure({ directory, port }: Place, options: LighttpdOptions): string {
  const { cgiBin, mounts = [], extra = '' } = options
  return `
server.modules = ( "mod_redirect", "mod_alias", "mod_setenv", "mod_auth", "mod_authn_file",
  "mod_cgi", "mod_fastcgi", "mod_scgi", "mod_proxy" )
server.bind = "127.0.0.1"
server.port = ${port}
server.document-root = "${directory}"
server.upload-dirs = ( "${directory}" )
server.errorlog = "${directory}/error.log"
${user()}
$HTTP["url"] == "${readyPath}" {
  url.redirect = ( "" => "/" )
  url.redirect-code = 307
}
${cgiBin === undefined ? '' : cgi(cgiBin)}
${(['fastcgi', 'scgi', 'http'] as const).map((protocol) => servers(mounts, protocol)).join('')}
${extra}
`
}

function user(): string {
  if (workerUser === undefined) return ''
  return `server.username = "${workerUser}"\nserver.groupname = "${workerUser}"`
}

function cgi(directory: string): string {
  return `
alias.url = ( "/cgi-bin/" => "${directory}/" )
$HTTP["url"] =~ "^/cgi-bin/" {
  cgi.assign = ( "" => "" )
  setenv.set-environment = ( "PATH" => "${serverPath}" )
}
`
}

function servers(mounts: Mount[], protocol: NonNullable<Mount['protocol']>): string {
  const hosts = mounts.filter((mount) => (mount.protocol ?? 'fastcgi') === protocol).map(host)
  return hosts.length === 0 ? '' : `${directive[protocol]} = ( ${hosts.join(',\n  ')} )\n`
}

function host({ at, to, protocol, pathInfo = 'split', extra = '' }: Mount): string {
  const socket = unixPath(to)
  const colon = to.lastIndexOf(':')
  const address =
    socket === undefined
      ? `"host" => "${to.slice(0, colon)}", "port" => ${to.slice(colon + 1)}`
      : protocol === 'http'
        ? `"host" => "${socket}"`
        : `"socket" => "${socket}"`
  const settings = [address]
  if (protocol !== 'http') settings.push('"check-local" => "disable"')
  // Without it a mount at '/' takes the path's first segment for the script's name.
  if (protocol !== 'http' && pathInfo === 'split' && at === '/') {
    settings.push('"fix-root-scriptname" => "enable"')
  }
  if (extra !== '') settings.push(extra)
  return `"${at}" => (( ${settings.join(', ')} ))`
}
