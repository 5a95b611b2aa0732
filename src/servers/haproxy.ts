/** HAProxy: FastCGI and HTTP. */
import {
  indent,
  lines,
  type InstanceSettings,
  quoteRegExp,
  type ServerDescription,
  type Site,
  unixPath,
} from './site.ts'

export const haproxy: ServerDescription = {
  name: 'haproxy',
  title: 'HAProxy',
  gateways: ['fastcgi', 'http'],
  needsScriptName: ['http', 'fastcgi'],
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

${configuration(site, bind(site))}`,
    },
  ],
  activate: () => ['haproxy -c -f /etc/haproxy/haproxy.cfg', 'systemctl reload haproxy'],
  check: ['haproxy', '-c', '-f', '/etc/haproxy/haproxy.cfg'],
  instance: (site, { port, user }) => `global
    log stderr format raw daemon
    maxconn 256
${user === undefined ? '' : `    user ${user}\n    group ${user}\n`}
${configuration(site, `bind 127.0.0.1:${port}`)}`,
  // -db: neither daemon nor master, and so one process.
  args: (file: string, _place: InstanceSettings) => ['-db', '-f', file],
  quirks: [
    {
      versions: '2.6',
      symptom:
        'REMOTE_USER is the name in the Authorization header, whose password has not been checked',
      remedy: 'the `set-param` lines replace it by variables that are not set',
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
      symptom: 'a request for the mount point itself does not say where the mount point is',
      remedy: "set the application's `scriptName` to the mount point",
    },
    {
      versions: '2.6',
      symptom: 'a chunked request body is a 400',
      remedy: 'clients have to send Content-Length',
    },
  ],
}

function bind({ listen, tls }: Site): string {
  const address = listen.includes(':') ? listen : `:${listen}`
  // HAProxy wants the certificate and the key in one file, or the key beside it as FILE.key.
  return `bind ${address}${tls ? ` ssl crt ${tls.certificate}` : ''}`
}

function configuration(site: Site, bindLine: string): string {
  return `defaults
    mode http
    log global
    option httplog
    option dontlognull
    timeout connect 5s
    timeout client 60s
    timeout server ${site.timeout}s

${site.auth ? userlist(site.auth) : ''}frontend web
${indent(
  lines(
    bindLine,
    site.auth && authentication(site),
    `use_backend portico if { path -m reg ^${quoteRegExp(site.mount)}(/|$) }`,
  ),
)}

${backend(site)}`
}

function userlist({ file }: NonNullable<Site['auth']>): string {
  return `# HAProxy keeps users in its configuration. Copy the hashes of ${file} here.
userlist portico
    # user NAME password HASH

`
}

function authentication({ auth }: Site): string {
  return `acl authenticated http_auth(portico)
http-request auth realm "${auth?.realm ?? ''}" unless authenticated
http-request set-var(txn.user) http_auth_user if authenticated
http-request set-var(txn.auth) str(Basic) if authenticated`
}

function backend(site: Site): string {
  const socket = unixPath(site.to)
  const server = `server app ${socket === undefined ? site.to : `unix@${socket}`}`
  if (site.gateway === 'http') {
    return `backend portico
    option forwardfor
    http-request set-header X-Forwarded-Proto https if { ssl_fc }
    http-request set-header X-Forwarded-Proto http unless { ssl_fc }
    ${server}
`
  }
  return `backend portico
    use-fcgi-app portico
    ${server} proto fcgi

fcgi-app portico
    docroot /srv
    # Puts what the application logs into HAProxy's log.
    log-stderr global
    ${site.keepAlive > 0 ? 'option keep-conn' : 'no option keep-conn'}
    pass-header Authorization
    # HAProxy takes REMOTE_USER from the Authorization header without a check of the password. These
    # replace it by variables that only \`http-request auth\` in the frontend sets.
    set-param REMOTE_USER %[var(txn.user)]
    set-param AUTH_TYPE %[var(txn.auth)]
    path-info ^(${quoteRegExp(site.mount)})(/.*)?$
`
}
