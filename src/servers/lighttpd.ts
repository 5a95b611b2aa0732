/** lighttpd: CGI, FastCGI, SCGI and HTTP. */
import {
  hostAndPort,
  indent,
  lines,
  type InstanceSettings,
  quoteRegExp,
  type ServerDescription,
  type Site,
  unixPath,
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
      text: `# One application behind lighttpd.\n${modules(site, '+=')}\n\n${configuration(site)}\n`,
    },
  ],
  activate: () => [
    'lighty-enable-mod portico',
    'lighttpd -tt -f /etc/lighttpd/lighttpd.conf',
    'systemctl reload lighttpd',
  ],
  check: ['lighttpd', '-tt', '-f', '/etc/lighttpd/lighttpd.conf'],
  instance,
  args: (file) => ['-D', '-f', file],
  quirks: [
    {
      versions: 'every version, application at /',
      symptom: 'the first segment of the path is taken for SCRIPT_NAME',
      remedy: '`"fix-root-scriptname" => "enable"`',
    },
    {
      versions: 'every version',
      symptom: 'a response arrives as a whole at its end',
      remedy: '`server.stream-response-body = 1` sends each part at once',
    },
    {
      versions: '1.4.69 and others, CGI',
      symptom: 'a script gets SIGTERM when it has sent Content-Length bytes',
      remedy: 'Portico closes the response before it exits',
    },
  ],
}

function modules(site: Site, operator: '=' | '+='): string {
  const own = { cgi: 'mod_cgi', fastcgi: 'mod_fastcgi', scgi: 'mod_scgi', http: 'mod_proxy' }
  const names = [
    own[site.gateway],
    ...(site.gateway === 'cgi' || site.files ? ['mod_alias'] : []),
    ...(site.auth ? ['mod_auth', 'mod_authn_file'] : []),
    ...(site.tls ? ['mod_openssl'] : []),
  ]
  return `server.modules ${operator} ( ${names.map((name) => `"${name}"`).join(', ')} )`
}

function configuration(site: Site): string {
  const text = lines(
    '# The largest request body, in KiB.',
    `server.max-request-size = ${site.maxBody * 1024}`,
    site.streaming && '# Sends each part of a response at once. The default waits for all of it.',
    site.streaming && 'server.stream-response-body = 1',
    site.files && `alias.url += ( "${site.files.at}/" => "${site.files.directory}/" )`,
    site.auth && authentication(site),
    site.gateway === 'cgi' ? cgi(site) : backend(site),
  )
  const host =
    site.hostname === '_'
      ? text
      : `$HTTP["host"] =~ "^${quoteRegExp(site.hostname)}(:|$)" {\n${indent(text)}\n}`
  if (!site.tls) return host
  return `$SERVER["socket"] == ":${site.listen}" {
    ssl.engine = "enable"
    ssl.pemfile = "${site.tls.certificate}"
    ssl.privkey = "${site.tls.key}"
}
${host}`
}

function authentication({ auth, mount }: Site): string {
  if (!auth) return ''
  return `auth.backend = "htpasswd"
auth.backend.htpasswd.userfile = "${auth.file}"
auth.require = ( "${mount || '/'}" => (
    "method" => "basic", "realm" => "${auth.realm}", "require" => "valid-user"
) )`
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

function backend(site: Site): string {
  const { gateway, mount, to, files } = site
  const socket = unixPath(to)
  const { host, port } = hostAndPort(to)
  const address =
    socket === undefined
      ? `"host" => "${host}", "port" => ${port}`
      : `"${gateway === 'http' ? 'host' : 'socket'}" => "${socket}"`
  const settings = [
    address,
    gateway !== 'http' && '# Requests are for the application, not for files of the same name.',
    gateway !== 'http' && '"check-local" => "disable"',
    gateway !== 'http' &&
      mount === '' &&
      '# Otherwise the first segment of the path would be taken for the script.\n"fix-root-scriptname" => "enable"',
  ]
  const directive = { fastcgi: 'fastcgi.server', scgi: 'scgi.server', http: 'proxy.server' }[
    gateway as 'fastcgi' | 'scgi' | 'http'
  ]
  const body = `${directive} = ( "${mount || '/'}" => ((
${indent(commas(settings))}
)) )`
  return files ? `$HTTP["url"] !~ "^${quoteRegExp(files.at)}/" {\n${indent(body)}\n}` : body
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

function instance(site: Site, { directory, port, user }: InstanceSettings): string {
  return `${modules(site, '=')}
server.bind = "127.0.0.1"
server.port = ${port}
server.document-root = "${directory}"
server.upload-dirs = ( "${directory}" )
server.errorlog = "${directory}/error.log"
${user === undefined ? '' : `server.username = "${user}"\nserver.groupname = "${user}"`}

${configuration(site)}
`
}
