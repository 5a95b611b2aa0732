/** Caddy, with the configuration of src/servers/caddy.ts and additions of tests. */
import { caddy } from '../../src/servers/caddy.ts'
import { type ServerOptions, startSites, type TestServer } from './mount.ts'
import type { WebServer } from './process.ts'

export const caddyServer: TestServer = {
  description: caddy,
  program: 'caddy',
  unused: 'http',
  redirect: (path) => `redir ${path} / 307`,
}

export async function startCaddy(options: ServerOptions = {}): Promise<WebServer> {
  return startSites(caddyServer, options)
}
