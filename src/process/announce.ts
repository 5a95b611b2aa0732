/** The line with which a server that has started says where it is. */
import { logEntry } from '../log.ts'
import type { GatewayServer } from '../server/gateway-server.ts'
import { describeRights } from '../server/unix-socket.ts'

/**
 * Logs where the server can be reached, and who may connect to a Unix socket; `what` is such as
 * 'an Express application over FastCGI'. On an inherited socket it does so on a terminal only: a web
 * server starts many processes, and knows where they listen.
 */
export function announce(server: GatewayServer, what: string): void {
  const { address, url } = server
  if (address.kind === 'fd' && !process.stderr.isTTY) return
  const rights = address.kind === 'unix' ? ` (${describeRights(address.path)})` : ''
  logEntry(`Serving ${what} on ${url}${rights}`)
}
