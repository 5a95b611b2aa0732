/** Caddy: FastCGI and HTTP. */
import {
  type Authentication,
  hostAndPort,
  indent,
  lines,
  makeSocketDirectory,
  type ServerDescription,
  type Site,
  unixPath,
  usersOf,
  withoutBrackets,
} from './site.ts'

export const caddy: ServerDescription = {
  name: 'caddy',
  title: 'Caddy',
  gateways: ['fastcgi', 'http'],
  needsScriptName: ['http'],
  program: 'caddy',
  packages: ['caddy'],
  configure: (site) => [
    {
      path: '/etc/caddy/Caddyfile',
      text: `# One application behind Caddy. With a public host name and no port Caddy gets a certificate by itself.\n${address(site)} {\n${body([site], bind(site))}\n}\n`,
    },
  ],
  activate: (site) => [
    ...makeSocketDirectory(site),
    'caddy validate --config /etc/caddy/Caddyfile --adapter caddyfile',
    'systemctl reload caddy',
  ],
  check: ['caddy', 'validate', '--config', '/etc/caddy/Caddyfile', '--adapter', 'caddyfile'],
  instance: (sites, { directory, listen, additions }) => `{
	admin off
	auto_https off
	storage file_system ${directory}
}
${sites[0].tls ? 'https' : 'http'}://${listen} {
${body(sites, additions)}
}
`,
  args: (file) => ['run', '--config', file, '--adapter', 'caddyfile'],
  quirks: [
    {
      versions: '2.6',
      symptom: 'CONTENT_LENGTH is -1 for a chunked request',
      remedy: 'Portico reads such a body to its end',
    },
    {
      versions: 'every version',
      symptom: 'text for the log is discarded',
      remedy: '`capture_stderr` writes it to the log of Caddy',
    },
    {
      versions: 'every version',
      symptom: '`php_fastcgi` sends SCRIPT_NAME=/index.php',
      remedy: "the application's `scriptName: ''` and `pathInfo: 'from-uri'`, or `reverse_proxy`",
    },
    {
      versions: 'every version',
      symptom: 'small chunks of a response may wait',
      remedy: '`flush_interval -1` sends each at once',
    },
  ],
}

/** A name for which a public authority issues certificates; Caddy makes its own for the others. */
const PUBLIC = /^(?!.*\.(?:localhost|local|internal|home\.arpa|test|example|invalid)$)[^:]*\.[a-z]/i

/** Without a scheme, Caddy serves HTTPS and gets a certificate for the name. */
function address({ hostname, listen, tls, hasPort }: Site): string {
  const { port } = hostAndPort(listen)
  const name = hostname === '_' ? '' : hostname
  const isSecure = tls !== undefined || (PUBLIC.test(name) && (hasPort !== true || port === '443'))
  const isUsual = name !== '' && (port === '443' || port === '80')
  if (isSecure && isUsual) return name
  return `${isSecure ? 'https' : 'http'}://${name}${isUsual && port === '80' ? '' : `:${port}`}`
}

function bind({ listen }: Site): string {
  return listen.includes(':') ? `bind ${withoutBrackets(hostAndPort(listen).host)}` : ''
}

function body(sites: readonly [Site, ...Site[]], additions?: string): string {
  const { tls, maxBody, files } = sites[0]
  const proxies = lines(...sites.map(application))
  return indent(
    lines(
      additions,
      tls && `tls ${tls.certificate} ${tls.key}`,
      `request_body {\n\tmax_size ${maxBody}MiB\n}`,
      files && `handle_path ${files.at}/* {\n\troot * ${files.directory}\n\tfile_server\n}`,
      files ? `handle {\n${indent(proxies, '\t')}\n}` : proxies,
    ),
    '\t',
  )
}

function application(site: Site, index: number): string {
  const { mount, to, gateway, streaming, auth } = site
  const matcher = index === 0 ? '@portico' : `@portico${index + 1}`
  const socket = unixPath(to)
  return lines(
    mount !== '' && '# `/app*` would match /apple, too.',
    `${matcher} path ${mount === '' ? '/*' : `${mount} ${mount}/*`}`,
    auth && authentication(auth, matcher),
    `reverse_proxy ${matcher} ${socket === undefined ? to : `unix/${socket}`} {`,
    indent(
      lines(
        gateway === 'fastcgi' && transport(site),
        streaming && '# Sends each part of a response at once.',
        streaming && 'flush_interval -1',
      ),
      '\t',
    ),
    '}',
  )
}

function transport({ mount, timeout }: Site): string {
  return `transport fastcgi {
${indent(
  lines(
    mount !== '' && '# SCRIPT_NAME ends here.',
    mount !== '' && `split ${mount}`,
    "# Puts what the application logs into Caddy's log.",
    'capture_stderr',
    `read_timeout ${timeout}s`,
  ),
  '\t',
)}
}`
}

/** Caddy keeps users in its configuration, and knows bcrypt only. */
function authentication(auth: Authentication, matcher: string): string {
  const users = usersOf(auth, 'Caddy', /^\$2/, 'B')
  const { file, realm } = auth
  return `# The users of ${file}. Caddy 2.8 and newer call the directive basic_auth, too.
basicauth ${matcher} bcrypt ${realm} {
${indent(lines(...users.map(({ name, hash }) => `${name} ${hash}`)), '\t')}
}`
}
