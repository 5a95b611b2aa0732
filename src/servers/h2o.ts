/** H2O: FastCGI and HTTP. */
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

export const h2o: ServerDescription = {
  name: 'h2o',
  title: 'H2O',
  gateways: ['fastcgi', 'http'],
  needsScriptName: ['http', 'fastcgi'],
  program: 'h2o',
  packages: ['h2o'],
  configure: (site) => [
    {
      path: '/etc/h2o/h2o.conf',
      text: `# One application, through H2O.
user: www-data
access-log: /var/log/h2o/access.log
error-log: /var/log/h2o/error.log
${configuration([site], site.listen)}`,
    },
  ],
  activate: (site) => [
    ...makeSocketDirectory(site),
    'h2o -t -c /etc/h2o/h2o.conf',
    'systemctl reload h2o',
  ],
  check: ['h2o', '-t', '-c', '/etc/h2o/h2o.conf'],
  instance: (
    sites,
    { directory, listen, user, additions },
  ) => `${user === undefined ? '' : `user: ${user}\n`}pid-file: ${directory}/h2o.pid
error-log: ${directory}/error.log
temp-buffer-path: ${directory}
${configuration(sites, listen, additions)}`,
  args: (file) => ['-c', file],
  quirks: [
    {
      versions: '2.2',
      symptom: 'a space follows the value of a header that the client sent without one',
      remedy: 'none is needed: RFC 9110 does not count it',
    },
    {
      versions: '2.2, prefix',
      symptom: 'SCRIPT_NAME and PATH_INFO are not divided at the mount point',
      remedy: "set the application's `scriptName` to the mount point",
    },
  ],
}

function configuration(
  sites: readonly [Site, ...Site[]],
  listen: string,
  additions?: string,
): string {
  const { maxBody, tls, hostname, files } = sites[0]
  const { host, port } = hostAndPort(listen)
  return `limit-request-body: ${maxBody * 1024 * 1024}
listen:
${indent(lines(host !== '' && `host: "${withoutBrackets(host)}"`, `port: ${port}`, tls && `ssl:\n  certificate-file: ${tls.certificate}\n  key-file: ${tls.key}`), '  ')}
hosts:
  "${hostname === '_' ? 'default' : hostname}":
    paths:
${indent(lines(additions, files && `"${files.at}":\n  file.dir: ${files.directory}`, ...sites.map(application)), '      ')}
`
}

function application({ to, gateway, mount, timeout, auth }: Site): string {
  const socket = unixPath(to)
  const { host, port } = hostAndPort(to)
  const address =
    socket === undefined
      ? `host: "${withoutBrackets(host)}"\nport: ${port}`
      : `port: ${socket}\ntype: unix`
  const target =
    gateway === 'fastcgi'
      ? `fastcgi.connect:\n${indent(address, '  ')}\nfastcgi.timeout.io: ${timeout * 1000}`
      : `proxy.preserve-host: ON\nproxy.timeout.io: ${timeout * 1000}\nproxy.reverse.url: "http://${socket === undefined ? to : `[unix:${socket}]`}${mount || '/'}"`
  return `"${mount || '/'}":\n${indent(lines(auth && authentication(auth), target), '  ')}`
}

/** The handler comes with H2O; it sets REMOTE_USER. */
function authentication(auth: Authentication): string {
  usersOf(auth, 'H2O', /^\{SHA\}/, 's')
  const { file, realm } = auth
  return `mruby.handler: |
  require "htpasswd.rb"
  Htpasswd.new("${file}", "${realm}")`
}
