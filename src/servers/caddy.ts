/** Caddy: FastCGI and HTTP. */
import { indent, lines, type ServerDescription, type Site, unixPath } from './site.ts'
import { ConfigurationError } from '../errors.ts'

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
      text: `# One application behind Caddy. With a host name Caddy gets a certificate by itself.\n${address(site)} {\n${body(site)}\n}\n`,
    },
  ],
  activate: () => [
    'caddy validate --config /etc/caddy/Caddyfile --adapter caddyfile',
    'systemctl reload caddy',
  ],
  check: ['caddy', 'validate', '--config', '/etc/caddy/Caddyfile', '--adapter', 'caddyfile'],
  instance: (site, place) => `{
	admin off
	auto_https off
	storage file_system ${place.directory}
}
http://127.0.0.1:${place.port} {
${body(site)}
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
      remedy: '`capture_stderr` puts it into the log of Caddy',
    },
    {
      versions: 'every version',
      symptom: 'small parts of a response may wait',
      remedy: '`flush_interval -1` sends each at once',
    },
  ],
}

function address({ hostname, listen, tls }: Site): string {
  const port = listen.includes(':') ? listen.slice(listen.lastIndexOf(':') + 1) : listen
  if (hostname === '_') return `${tls ? 'https' : 'http'}://:${port}`
  return port === '80' || port === '443' ? hostname : `${hostname}:${port}`
}

function body(site: Site): string {
  if (site.auth) {
    throw new ConfigurationError(
      '--auth: Caddy keeps passwords in its configuration; add basic_auth with `caddy hash-password`',
    )
  }
  const { mount, to, gateway, files, tls } = site
  const socket = unixPath(to)
  const target = socket === undefined ? to : `unix/${socket}`
  const transport = `transport fastcgi {
${indent(
  lines(
    mount !== '' && '# SCRIPT_NAME ends here.',
    mount !== '' && `split ${mount}`,
    "# Puts what the application logs into Caddy's log.",
    'capture_stderr',
    `read_timeout ${site.timeout}s`,
  ),
  '\t',
)}
}`
  const proxy = `reverse_proxy @portico ${target} {
${indent(
  lines(
    gateway === 'fastcgi' && transport,
    site.streaming && '# Sends each part of a response at once.',
    site.streaming && 'flush_interval -1',
  ),
  '\t',
)}
}`
  return indent(
    lines(
      tls && `tls ${tls.certificate} ${tls.key}`,
      `request_body {\n\tmax_size ${site.maxBody}MiB\n}`,
      files && `handle_path ${files.at}/* {\n\troot * ${files.directory}\n\tfile_server\n}`,
      mount !== '' && '# `/app*` would match /apple, too.',
      `@portico path ${mount === '' ? '/*' : `${mount} ${mount}/*`}`,
      files ? `handle {\n${indent(proxy, '\t')}\n}` : proxy,
    ),
    '\t',
  )
}
