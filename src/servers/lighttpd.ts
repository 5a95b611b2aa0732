/** lighttpd: CGI, FastCGI, SCGI and HTTP. */
import {
  hostAndPort,
  indent,
  lines,
  makeSocketDirectory,
  type InstanceSettings,
  quoteRegExp,
  type ServerDescription,
  type Site,
  unixPath,
  withoutBrackets,
} from './site.ts'

export const lighttpd: ServerDescription = {
  name: 'lighttpd',
  title: 'lighttpd',
  gateways: ['fastcgi', 'scgi', 'http', 'cgi'],
  needsScriptName: ['http'],
  program: 'lighttpd',
  packages: ['lighttpd'],
  configure: (site) => [
    {
      path: '/etc/lighttpd/conf-available/90-portico.conf',
      text: `# One application behind lighttpd.\n${modules([site], '+=')}\n\n${sockets(site)}${configuration([site])}\n`,
    },
  ],
  activate: (site) => [
    ...makeSocketDirectory(site),
    ...(site.tls ? ['apt-get install lighttpd-mod-openssl'] : []),
    'lighty-enable-mod portico',
    'lighttpd -tt -f /etc/lighttpd/lighttpd.conf',
    'systemctl reload lighttpd',
  ],
  deactivate: () => ['lighty-disable-mod portico'],
  check: ['lighttpd', '-tt', '-f', '/etc/lighttpd/lighttpd.conf'],
  instance,
  args: (file) => ['-D', '-f', file],
  quirks: [
    {
      versions: 'every version, application at /',
      symptom: 'lighttpd takes the first segment of the path for SCRIPT_NAME',
      remedy: '`"fix-root-scriptname" => "enable"`',
    },
    {
      versions: 'every version',
      symptom: 'a response arrives all at once at its end',
      remedy: '`server.stream-response-body = 1` sends each chunk at once',
    },
    {
      versions: '1.4.69 and others, CGI',
      symptom: 'a script gets SIGTERM when it has sent Content-Length bytes',
      remedy: 'Portico closes the response before it exits',
    },
    {
      versions: 'every version, FastCGI',
      symptom: 'lighttpd can start the application itself',
      remedy:
        '`"bin-path" => "/srv/app/app.mjs", "max-procs" => 1` after the socket; the program gets the socket as descriptor 0',
    },
  ],
}

const MODULES = { cgi: 'mod_cgi', fastcgi: 'mod_fastcgi', scgi: 'mod_scgi', http: 'mod_proxy' }

function modules(sites: readonly Site[], operator: '=' | '+=', more: string[] = []): string {
  const names = sites.flatMap((site) => [
    // lighttpd wants it before a module that responds.
    ...(site.auth ? ['mod_auth', 'mod_authn_file'] : []),
    ...(site.gateway === 'cgi' || site.files ? ['mod_alias'] : []),
    MODULES[site.gateway],
    ...(site.tls ? ['mod_openssl'] : []),
  ])
  const unique = [...new Set([...more, ...names])]
  return `server.modules ${operator} ( ${unique.map((name) => `"${name}"`).join(', ')} )`
}

/** Sockets beside the one of port 80, which lighttpd.conf has. */
function sockets({ listen, tls }: Site): string {
  if (listen === '80' && !tls) return ''
  const addresses = listen.includes(':') ? [listen] : [`:${listen}`, `[::]:${listen}`]
  return addresses
    .map((address) => `$SERVER["socket"] == "${address}" {\n${indent(lines(tls && ssl(tls)))}}\n`)
    .join('')
}

function ssl({ certificate, key }: NonNullable<Site['tls']>): string {
  return `ssl.engine = "enable"
ssl.pemfile = "${certificate}"
ssl.privkey = "${key}"
`
}

function configuration(sites: readonly [Site, ...Site[]], additions?: string): string {
  const { maxBody, streaming, files, hostname } = sites[0]
  const text = lines(
    '# The largest request body, in KiB.',
    `server.max-request-size = ${maxBody * 1024}`,
    streaming && '# Sends each part of a response at once. The default waits for all of it.',
    streaming && 'server.stream-response-body = 1',
    files && `alias.url += ( "${files.at}/" => "${files.directory}/" )`,
    additions,
    sites.some(({ auth }) => auth) && authentication(sites),
    ...sites.filter(({ gateway }) => gateway === 'cgi').map(cgi),
    ...BACKENDS.map((gateway) => backends(sites, gateway)),
  )
  return hostname === '_'
    ? text
    : `$HTTP["host"] =~ "^${quoteRegExp(hostname)}(:|$)" {\n${indent(text)}\n}`
}

function authentication(sites: readonly Site[]): string {
  const protectedOnes = sites.flatMap(({ auth, mount }) => (auth ? [{ auth, mount }] : []))
  return `auth.backend = "htpasswd"
auth.backend.htpasswd.userfile = "${protectedOnes[0]?.auth.file ?? ''}"
auth.require = ( ${protectedOnes
    .map(
      ({ auth, mount }) => `"${mount || '/'}" => (
    "method" => "basic", "realm" => "${auth.realm}", "require" => "valid-user"
)`,
    )
    .join(', ')} )`
}

function cgi({ mount, program }: Site): string {
  if (mount !== '') {
    return `$HTTP["url"] =~ "^${quoteRegExp(mount)}(/|$)" {
    alias.url += ( "${mount}" => "${program}" )
    cgi.assign = ( "" => "" )
}`
  }
  return `alias.url += ( "/" => "${program}/" )
cgi.assign = ( "" => "" )`
}

const BACKENDS = ['fastcgi', 'scgi', 'http'] as const

const DIRECTIVES = { fastcgi: 'fastcgi.server', scgi: 'scgi.server', http: 'proxy.server' }

/** The directive of a gateway, with every application that lighttpd reaches by it. */
function backends(sites: readonly Site[], gateway: (typeof BACKENDS)[number]): string {
  const own = sites.filter((site) => site.gateway === gateway)
  if (own.length === 0) return ''
  const body = `${DIRECTIVES[gateway]} = ( ${own.map(backend).join(', ')} )`
  const files = own[0]?.files
  return files ? `$HTTP["url"] !~ "^${quoteRegExp(files.at)}/" {\n${indent(body)}\n}` : body
}

function backend({ gateway, mount, to }: Site): string {
  const socket = unixPath(to)
  const { host, port } = hostAndPort(to)
  const address =
    socket === undefined
      ? `"host" => "${withoutBrackets(host)}", "port" => ${port}`
      : `"${gateway === 'http' ? 'host' : 'socket'}" => "${socket}"`
  const settings = [
    address,
    gateway !== 'http' && '# Requests are for the application, not for files of the same name.',
    gateway !== 'http' && '"check-local" => "disable"',
    gateway !== 'http' &&
      mount === '' &&
      '# Otherwise the first segment of the path would be taken for the script.\n"fix-root-scriptname" => "enable"',
  ]
  return `"${mount || '/'}" => ((
${indent(commas(settings))}
))`
}

/** Puts a comma after each setting but the last; comments get none. */
function commas(settings: readonly (string | false)[]): string {
  const texts = settings.filter((text) => text !== false)
  const last = texts.findLastIndex((text) => !text.startsWith('# ') || text.includes('\n'))
  return texts
    .map((text, index) =>
      index === last || (text.startsWith('# ') && !text.includes('\n')) ? text : `${text},`,
    )
    .join('\n')
}

/** Modules that Debian has loaded, and that additions may use. */
const EXTRA_MODULES = ['mod_redirect', 'mod_alias', 'mod_setenv']

function instance(
  sites: readonly [Site, ...Site[]],
  { directory, listen, user, additions }: InstanceSettings,
): string {
  const { host, port } = hostAndPort(listen)
  const { tls } = sites[0]
  return `${modules(sites, '=', EXTRA_MODULES)}
server.bind = "${host}"
server.port = ${port}
server.document-root = "${directory}"
server.upload-dirs = ( "${directory}" )
server.errorlog = "${directory}/error.log"
${user === undefined ? '' : `server.username = "${user}"\nserver.groupname = "${user}"`}
${lines(tls && ssl(tls))}
${configuration(sites, additions)}
`
}
