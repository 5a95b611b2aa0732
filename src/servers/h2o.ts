/** H2O: FastCGI and HTTP. */
import { ConfigurationError } from '../errors.ts'
import { indent, lines, type ServerDescription, type Site, hostAndPort, unixPath } from './site.ts'

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
${configuration(site, site.listen.includes(':') ? hostAndPort(site.listen).host : undefined, site.listen)}`,
    },
  ],
  activate: () => ['h2o -t -c /etc/h2o/h2o.conf', 'systemctl reload h2o'],
  check: ['h2o', '-t', '-c', '/etc/h2o/h2o.conf'],
  instance: (
    site,
    { directory, port, user },
  ) => `${user === undefined ? '' : `user: ${user}\n`}pid-file: ${directory}/h2o.pid
error-log: ${directory}/error.log
temp-buffer-path: ${directory}
${configuration(site, '127.0.0.1', String(port))}`,
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

function configuration(site: Site, host: string | undefined, listen: string): string {
  if (site.auth) {
    throw new ConfigurationError(
      '--auth: H2O has Basic authentication only through mruby; let another web server authenticate',
    )
  }
  const port = listen.includes(':') ? hostAndPort(listen).port : listen
  const socket = unixPath(site.to)
  const address =
    socket === undefined
      ? `host: ${hostAndPort(site.to).host}\nport: ${hostAndPort(site.to).port}`
      : `port: ${socket}\ntype: unix`
  const target =
    site.gateway === 'fastcgi'
      ? `fastcgi.connect:\n${indent(address, '  ')}\nfastcgi.timeout.io: ${site.timeout * 1000}`
      : `proxy.preserve-host: ON\nproxy.reverse.url: "http://${socket === undefined ? site.to : `[unix:${socket}]`}${site.mount || '/'}"`
  return `limit-request-body: ${site.maxBody * 1024 * 1024}
listen:
${indent(lines(host !== undefined && `host: ${host}`, `port: ${port}`, site.tls && `ssl:\n  certificate-file: ${site.tls.certificate}\n  key-file: ${site.tls.key}`), '  ')}
hosts:
  "${site.hostname === '_' ? 'default' : site.hostname}":
    paths:
${indent(lines(site.files && `"${site.files.at}":\n  file.dir: ${site.files.directory}`, `"${site.mount || '/'}":\n${indent(target, '  ')}`), '      ')}
`
}
