/**
 * Apache httpd with mpm_event: CGI through mod_cgid (or mpm_prefork and mod_cgi), FastCGI processes of its own through
 * mod_fcgid, and applications elsewhere through mod_proxy.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Mount, quoteRegExp, scriptName, unixPath } from './mount.ts'
import {
  assertReachable,
  type Place,
  readyPath,
  serverPath,
  startServer,
  type WebServer,
  workerUser,
} from './process.ts'

export interface ApacheOptions {
  /** mpm_prefork, with mod_cgi in place of mod_cgid. */
  prefork?: boolean
  /** A directory of scripts, served as /cgi-bin/. */
  cgiBin?: string
  /** A directory of documents, in which a `.cgi` file is a script. */
  documentRoot?: string
  /** FastCGI programs that mod_fcgid starts: `at` as in a Mount, `script` an executable file. */
  fcgid?: { at: string; script: string; extra?: string }[]
  mounts?: Mount[]
  /** Further modules, such as `xsendfile`. */
  modules?: string[]
  /** Directives for the server: `AllowEncodedSlashes NoDecode`. */
  extra?: string
  /** Directives for every path: `CGIPassAuth On`. */
  everywhere?: string
}

/** Where Debian has them; other distributions have links in the first two. */
const moduleDirectories = [
  '/usr/lib/apache2/modules',
  '/usr/lib64/httpd/modules',
  '/etc/httpd/modules',
]

const usualModules = [
  'authn_core',
  'authn_file',
  'authz_core',
  'authz_user',
  'auth_basic',
  'alias',
  'dir',
  'env',
  'headers',
  'mime',
  'proxy',
  'proxy_fcgi',
  'proxy_http',
  'proxy_scgi',
  'rewrite',
  'setenvif',
]

const proxyScheme = { fastcgi: 'fcgi', scgi: 'scgi', http: 'http' }

export async function startApache(options: ApacheOptions = {}): Promise<WebServer> {
  const { cgiBin, documentRoot, fcgid = [] } = options
  const paths = [cgiBin, documentRoot, ...fcgid.map(({ script }) => script)].filter(
    (path) => path !== undefined,
  )
  if (paths.length > 0) for (const path of [...paths, process.execPath]) assertReachable(path)
  return startServer({
    program: 'apache2',
    configure: (place) => configure(place, options),
    args: (config, { directory }) => ['-d', directory, '-f', config, '-D', 'FOREGROUND'],
  })
}

function configure({ directory, port }: Place, options: ApacheOptions): string {
  const { cgiBin, documentRoot, fcgid = [], mounts = [], extra = '', everywhere = '' } = options
  const modules = [
    ...(options.prefork ? ['mpm_prefork', 'cgi'] : ['mpm_event', 'cgid']),
    ...usualModules,
    ...(fcgid.length > 0 ? ['fcgid'] : []),
    ...(options.modules ?? []),
  ]
  return `
ServerName localhost
Listen 127.0.0.1:${port}
${modules.map(loadModule).join('\n')}
${workerUser === undefined ? '' : `User ${workerUser}\nGroup ${workerUser}`}
PidFile ${directory}/apache2.pid
DefaultRuntimeDir ${directory}
Mutex file:${directory} default
ErrorLog ${directory}/error.log
LogLevel warn
${options.prefork ? '' : `ScriptSock ${directory}/cgid.sock\nThreadsPerChild 32\nMaxRequestWorkers 64`}
TypesConfig /etc/mime.types
StartServers 1
ServerLimit ${options.prefork ? 16 : 2}
DocumentRoot "${documentRoot ?? directory}"
<Directory "/">
  AllowOverride None
  Require all denied
</Directory>
${documentRoot === undefined ? '' : documentDirectory(documentRoot, 'AddHandler cgi-script .cgi')}
${cgiBin === undefined ? '' : `ScriptAlias "/cgi-bin/" "${cgiBin}/"\n${documentDirectory(cgiBin)}`}
# First, before any proxy.
ProxyPass "${readyPath}" "!"
Redirect 307 "${readyPath}" "/"
${fcgid.length > 0 ? fcgidServer(directory) : ''}
${fcgid.map(fcgidProgram).join('')}
${mounts.map(proxy).join('')}
<Location "/">
  ${everywhere}
</Location>
${extra}
`
}

function loadModule(name: string): string {
  const path = moduleDirectories
    .map((directory) => join(directory, `mod_${name}.so`))
    .find(existsSync)
  if (path === undefined) throw new Error(`Apache has no mod_${name}`)
  return `LoadModule ${name}_module ${path}`
}

function documentDirectory(path: string, extra = ''): string {
  return `<Directory "${path}">
  Options +ExecCGI +FollowSymLinks
  Require all granted
  ${extra}
</Directory>`
}

function fcgidServer(directory: string): string {
  return `FcgidIPCDir ${directory}
FcgidProcessTableFile ${directory}/fcgid.shm
FcgidInitialEnv PATH ${serverPath}`
}

function fcgidProgram({ at, script, extra = '' }: NonNullable<ApacheOptions['fcgid']>[0]): string {
  const alias = at === '/' ? `AliasMatch "^/(.*)" "${script}/$1"` : `Alias "${at}" "${script}"`
  return `
${alias}
<Location "${at}">
  SetHandler fcgid-script
  Options +ExecCGI
  Require all granted
  ${extra}
</Location>
`
}

function proxy(mount: Mount): string {
  const { at, to, protocol = 'fastcgi', pathInfo = 'split', extra = '' } = mount
  const scheme = proxyScheme[protocol]
  const socket = unixPath(to)
  // What comes after the host replaces the prefix; HTTP has no other field for the prefix.
  const path = protocol === 'http' || at === '/' ? at : ''
  const target =
    socket === undefined ? `${scheme}://${to}${path}` : `unix:${socket}|${scheme}://app${path}`
  const split =
    pathInfo === 'none' || protocol === 'http'
      ? ''
      : `SetEnvIf Request_URI "^${quoteRegExp(scriptName(mount))}(/|$)" ` +
        `proxy-${scheme}-pathinfo=unescape`
  return `
ProxyPass "${at}" "${target}"
${split}
<Location "${at}">
  Require all granted
  ${extra}
</Location>
`
}
