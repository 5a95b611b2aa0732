/** Apache httpd, with the configuration of src/servers/apache.ts and additions of tests. */
import { loadModule } from '../../src/servers/apache-instance.ts'
import { apache, apacheFcgid } from '../../src/servers/apache.ts'
import { unixPath } from '../../src/servers/site.ts'
import { type Mount, replacing, type ServerOptions, startSites, type TestServer } from './mount.ts'
import { assertReachable, serverPath, type WebServer } from './process.ts'

export interface ApacheOptions extends ServerOptions {
  /** mpm_prefork, with mod_cgi in place of mod_cgid. */
  prefork?: boolean
  /** A directory of scripts, served as /cgi-bin/. */
  cgiBin?: string
  /** A directory of documents, in which a `.cgi` file is a script. */
  documentRoot?: string
  /** FastCGI programs that mod_fcgid starts: `at` as in a Mount, `script` an executable file. */
  fcgid?: { at: string; script: string }[]
  /** Further modules, such as `xsendfile`. */
  modules?: string[]
  /** Directives for every path: `CGIPassAuth On`. */
  everywhere?: string
}

export const apacheServer: TestServer = {
  description: apache,
  program: 'apache2',
  redirect: (path) => `<IfModule proxy_module>
  ProxyPass "${path}" "!"
</IfModule>
Redirect 307 "${path}" "/"`,
  byHand,
  plain: replacing(
    ['AllowEncodedSlashes On', ''],
    ['SetEnvIf Request_URI "^" ap_trust_cgilike_cl=1', ''],
  ),
  unused: 'cgi',
}

export const fcgidServer: TestServer = {
  ...apacheServer,
  description: apacheFcgid,
  first: () => `FcgidInitialEnv PATH ${serverPath}`,
}

export async function startApache(options: ApacheOptions = {}): Promise<WebServer> {
  const { cgiBin, documentRoot, fcgid = [], modules = [], everywhere = '', mounts = [] } = options
  const paths = [cgiBin, documentRoot, ...fcgid.map(({ script }) => script)].filter(
    (path) => path !== undefined,
  )
  if (paths.length > 0) for (const path of [...paths, process.execPath]) assertReachable(path)
  // The site of mod_fcgid is one description, that of everything else another.
  const server = fcgid.length > 0 ? fcgidServer : apacheServer
  const programs = fcgid.map(({ at, script }): Mount => ({ at, to: '', program: script }))
  return startSites(
    {
      ...server,
      first: (home) =>
        [
          server.first?.(home) ?? '',
          ...[...MODULES, ...modules].map(addModule),
          `ScriptSock ${home.directory}/cgid.sock`,
          documentRoot === undefined ? '' : documents(documentRoot),
          cgiBin === undefined ? '' : `ScriptAlias "/cgi-bin/" "${cgiBin}/"\n${directory(cgiBin)}`,
          everywhere === '' ? '' : `<Location "/">\n${everywhere}\n</Location>`,
        ].join('\n'),
    },
    {
      ...options,
      ...(options.prefork ? { edit: prefork } : {}),
      mounts: [...mounts, ...programs],
    },
  )
}

/** Another multi-processing module, which starts scripts itself. */
export function prefork(text: string): string {
  return text
    .replaceAll('mpm_event', 'mpm_prefork')
    .replaceAll(/\bcgid_module/g, 'cgi_module')
    .replaceAll('mod_cgid.so', 'mod_cgi.so')
    .replaceAll(/^(?:ScriptSock|ThreadsPerChild|ServerLimit|MaxRequestWorkers) .*\n/gm, '')
}

/** Those that additions use. */
const MODULES = ['cgid', 'headers', 'proxy', 'proxy_fcgi', 'proxy_scgi', 'proxy_http']

/** Loads a module unless the site has loaded it. */
function addModule(name: string): string {
  const line = loadModule(name)
  if (line === '') throw new Error(`Apache has no mod_${name}`)
  return `<IfModule !${name}_module>\n${line}\n</IfModule>`
}

function documents(path: string): string {
  return `DocumentRoot "${path}"\n${directory(path, 'AddHandler cgi-script .cgi')}`
}

function directory(path: string, extra = ''): string {
  return `<Directory "${path}">
  Options +ExecCGI +FollowSymLinks
  Require all granted
  ${extra}
</Directory>`
}

/** Without `proxy-fcgi-pathinfo`. */
function byHand({ at, to, protocol = 'fastcgi', extra = '' }: Mount): string {
  const scheme = protocol === 'fastcgi' ? 'fcgi' : protocol
  const path = at === '/' ? '/' : ''
  const socket = unixPath(to)
  const target =
    socket === undefined ? `${scheme}://${to}${path}` : `unix:${socket}|${scheme}://app${path}`
  return `ProxyPass "${at}" "${target}"
<Location "${at}">
  Require all granted
  ${extra}
</Location>`
}
