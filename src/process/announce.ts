/** Logs where a server listens when it has started. */
import { logEntry } from '../log.ts'
import type { GatewayServer } from '../server/gateway-server.ts'
import { describeRights } from '../server/unix-socket.ts'

/**
 * Logs the address of the server, and the permissions of a Unix socket. `what` describes the
 * application, such as 'an Express application over FastCGI'. For an inherited socket it logs on a
 * terminal only: a web server starts many processes, and knows where they listen.
 */
export function announce(server: GatewayServer, what: string): void {
  const { address, url } = server
  if (address.kind === 'fd' && !process.stderr.isTTY) return
  const rights = address.kind === 'unix' ? ` (${describeRights(address.path)})` : ''
  logEntry(`Serving ${what} on ${url}${rights}`)
}
