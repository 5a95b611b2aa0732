/** lighttpd, with the configuration of src/servers/lighttpd.ts and additions of tests. */
import { lighttpd } from '../../src/servers/lighttpd.ts'
import { unixPath } from '../../src/servers/site.ts'
import { type Mount, type ServerOptions, startSites, type TestServer } from './mount.ts'
import { assertReachable, serverPath, type WebServer } from './process.ts'

export interface LighttpdOptions extends ServerOptions {
  /** A directory of scripts, served as /cgi-bin/. */
  cgiBin?: string
}

export const lighttpdServer: TestServer = {
  description: lighttpd,
  program: 'lighttpd',
  unused: 'http',
  redirect: (path) => `$HTTP["url"] == "${path}" {
  url.redirect = ( "" => "/" )
  url.redirect-code = 307
}`,
  byHand,
}

export async function startLighttpd(options: LighttpdOptions = {}): Promise<WebServer> {
  const { cgiBin, extra = '', mounts = [] } = options
  if (cgiBin !== undefined) assertReachable(cgiBin)
  const lines = cgiBin === undefined ? extra : `${cgi(cgiBin)}\n${extra}`
  return startSites(lighttpdServer, { ...options, mounts, extra: lines, edit: withModules })
}

/** Those that additions use. */
const MODULES = ['mod_cgi', 'mod_fastcgi', 'mod_scgi', 'mod_auth', 'mod_authn_file']

function withModules(text: string): string {
  const missing = MODULES.filter((name) => !text.includes(`"${name}"`))
  return text.replace('server.modules = (', `$&${missing.map((name) => ` "${name}",`).join('')}`)
}

function cgi(directory: string): string {
  return `alias.url = ( "/cgi-bin/" => "${directory}/" )
$HTTP["url"] =~ "^/cgi-bin/" {
  cgi.assign = ( "" => "" )
  setenv.set-environment = ( "PATH" => "${serverPath}" )
}`
}

/** Without `fix-root-scriptname`. */
function byHand({ at, to, protocol = 'fastcgi', extra = '' }: Mount): string {
  const socket = unixPath(to)
  const [host, port] = to.split(':')
  const address =
    socket === undefined ? `"host" => "${host}", "port" => ${port}` : `"socket" => "${socket}"`
  return `${protocol}.server = ( "${at}" => (( ${address}, "check-local" => "disable", ${extra} )) )`
}
