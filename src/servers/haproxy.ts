/** HAProxy: FastCGI and HTTP. */
import {
  indent,
  lines,
  makeSocketDirectory,
  type InstanceSettings,
  quoteRegExp,
  type ServerDescription,
  type Site,
  unixPath,
  usersOf,
} from './site.ts'

export const haproxy: ServerDescription = {
  name: 'haproxy',
  title: 'HAProxy',
  gateways: ['fastcgi', 'http'],
  needsScriptName: ['http', 'fastcgi'],
  takes: ['tls', 'auth'],
  program: 'haproxy',
  packages: ['haproxy'],
  configure: (site) => [
    {
      path: '/etc/haproxy/haproxy.cfg',
      text: `# One application behind HAProxy.
global
    log /dev/log local0
    user haproxy
    group haproxy
    daemon

${configuration([site], bind(site))}`,
    },
  ],
  activate: (site) => [
    ...makeSocketDirectory(site),
    ...(site.tls ? [`install -m 600 ${site.tls.key} ${site.tls.certificate}.key`] : []),
    'haproxy -c -f /etc/haproxy/haproxy.cfg',
    'systemctl reload haproxy',
  ],
  check: ['haproxy', '-c', '-f', '/etc/haproxy/haproxy.cfg'],
  instance: (sites, { listen, user, additions }) => `global
    log stderr format raw daemon
    maxconn 256
${user === undefined ? '' : `    user ${user}\n    group ${user}\n`}
${configuration(sites, `bind ${listen}${certificate(sites[0])}`, additions)}`,
  // -db: neither daemon nor master, and so one process.
  args: (file: string, _settings: InstanceSettings) => ['-db', '-f', file],
  quirks: [
    {
      versions: '2.6',
      symptom:
        'REMOTE_USER is the name in the Authorization header, whose password has not been checked',
      remedy: 'the `set-param` lines replace it with variables that are not set',
    },
    {
      versions: '2.6',
      symptom: 'SERVER_NAME is copied from Host, port included',
      remedy: 'Portico removes the port',
    },
    {
      versions: '2.6',
      symptom: 'it crashes on a STDERR record that arrives without another record',
      remedy: 'Portico sends the log together with output',
    },
    {
      versions: '2.6',
      symptom: 'a request for the mount point itself does not show where the mount point is',
      remedy: "set the application's `scriptName` to the mount point",
    },
    {
      versions: '2.6, over FastCGI',
      symptom: 'if the response is complete before the request body is, the connection hangs',
      remedy: 'Portico ends the request after the body',
    },
    {
      versions: '2.6',
      symptom: 'a chunked request body is a 400',
      remedy: 'clients must send Content-Length',
    },
  ],
}

/** Without an address: every one, IPv4 and IPv6. */
function bind(site: Site): string {
  const { listen } = site
  return `bind ${listen.includes(':') ? listen : `:::${listen} v4v6`}${certificate(site)}`
}

function certificate({ tls }: Site): string {
  return tls ? ` ssl crt ${tls.certificate}` : ''
}

function nameOf(index: number): string {
  return index === 0 ? 'portico' : `portico${index + 1}`
}

function configuration(
  sites: readonly [Site, ...Site[]],
  bindLine: string,
  additions?: string,
): string {
  const { timeout, maxBody, tls } = sites[0]
  return `defaults
    mode http
    log global
    option httplog
    option dontlognull
    timeout connect 5s
    timeout client 60s
    timeout server ${timeout}s

${sites.map(userlist).join('')}frontend web
${indent(
  lines(
    tls && `# HAProxy reads the key from the same file, or from ${tls.certificate}.key.`,
    bindLine,
    additions,
    '# The largest request body, in bytes.',
    `http-request deny deny_status 413 if { req.hdr_val(content-length) gt ${maxBody * 1024 * 1024} }`,
    ...sites.map(authentication),
    ...sites.map((site, index) => `use_backend ${nameOf(index)} if ${condition(site)}`),
  ),
)}

${sites.map(backend).join('\n')}`
}

/** Whether a request is for the site, as an anonymous ACL. */
function condition({ mount, hostname }: Site): string {
  const path = `{ path -m reg ^${quoteRegExp(mount)}(/|$) }`
  return hostname === '_' ? path : `{ req.hdr(host),field(1,:) -i ${hostname} } ${path}`
}

function userlist({ auth }: Site, index: number): string {
  if (!auth) return ''
  const users = usersOf(auth, 'HAProxy', /^\$[2567y]/, 'B')
  return `# HAProxy keeps users in its configuration: these are from ${auth.file}.
userlist ${nameOf(index)}
${indent(lines(...users.map(({ name, hash }) => `user ${name} password ${hash}`)))}

`
}

function authentication(site: Site, index: number): string {
  if (!site.auth) return ''
  const checked = `{ http_auth(${nameOf(index)}) }`
  const here = condition(site)
  return `http-request auth realm ${site.auth.realm} if ${here} !${checked}
http-request set-var(txn.user) http_auth_user if ${here}
http-request set-var(txn.auth) str(Basic) if ${here}`
}

function backend(site: Site, index: number): string {
  const { to, gateway, keepAlive, mount } = site
  const name = nameOf(index)
  const socket = unixPath(to)
  const server = `server app ${socket === undefined ? to : `unix@${socket}`}`
  if (gateway === 'http') {
    return `backend ${name}
    option forwardfor
    http-request set-header X-Forwarded-Proto https if { ssl_fc }
    http-request set-header X-Forwarded-Proto http unless { ssl_fc }
    ${server}
`
  }
  return `backend ${name}
    use-fcgi-app ${name}
    ${server} proto fcgi

fcgi-app ${name}
    docroot /srv
    # Puts what the application logs into HAProxy's log.
    log-stderr global
    ${keepAlive > 0 ? 'option keep-conn' : 'no option keep-conn'}
    pass-header Authorization
    # HAProxy takes REMOTE_USER from the Authorization header without a check of the password. These
    # replace it by variables that only \`http-request auth\` in the frontend sets.
    set-param REMOTE_USER %[var(txn.user)]
    set-param AUTH_TYPE %[var(txn.auth)]
    path-info ^(${quoteRegExp(mount)})(/.*)?$
`
}
