/** nginx, with the configuration of src/servers/nginx.ts and additions of tests. */
import { nginx } from '../../src/servers/nginx.ts'
import { type Mount, replacing, type ServerOptions, startSites, type TestServer } from './mount.ts'
import type { WebServer } from './process.ts'

export interface NginxOptions extends ServerOptions {
  /** Idle connections that nginx keeps to each application; 0: a new one for each request. */
  keepalive?: number
}

export const nginxServer: TestServer = {
  description: nginx,
  program: 'nginx',
  redirect: (path) => `location = ${path} { return 307 /; }`,
  byHand,
  plain: replacing(['merge_slashes off;', ''], ['server_name _;', 'server_name localhost;']),
  unused: 'http',
}

export async function startNginx(options: NginxOptions = {}): Promise<WebServer> {
  const { keepalive: keepAlive = 8, mounts = [] } = options
  return startSites(nginxServer, {
    ...options,
    mounts: mounts.map((mount) => Object.assign({ keepAlive }, mount)),
  })
}

/** With the distribution's parameters. */
function byHand({ at, to, protocol = 'fastcgi', keepAlive, extra = '' }: Mount): string {
  const split =
    extra === ''
      ? ''
      : `fastcgi_split_path_info "(?s)^(${at === '/' ? '' : at})(/.*|)\\z";
      fastcgi_param PATH_INFO $fastcgi_path_info;`
  return `location ${at} {
      include /etc/nginx/${protocol}_params;
      ${protocol}_pass ${to};
      ${protocol === 'fastcgi' && keepAlive ? 'fastcgi_keep_conn on;' : ''}
      ${split}
      ${extra}
    }`
}
