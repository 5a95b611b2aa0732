/** HAProxy, with the configuration of src/servers/haproxy.ts and additions of tests. */
import { haproxy } from '../../src/servers/haproxy.ts'
import { type ServerOptions, startSites, type TestServer } from './mount.ts'
import type { WebServer } from './process.ts'

export const haproxyServer: TestServer = {
  description: haproxy,
  program: 'haproxy',
  unused: 'http',
  redirect: (path) => `http-request redirect location / code 307 if { path ${path} }`,
}

export async function startHaproxy(options: ServerOptions = {}): Promise<WebServer> {
  return startSites(haproxyServer, options)
}
