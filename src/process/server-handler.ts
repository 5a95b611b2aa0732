/** Creates the handler of a gateway that is a server. */
import type { Runnable } from '../application/to-application.ts'
import { GATEWAYS, type ServerGateway } from '../gateways.ts'
import type { GatewayServer } from '../server/gateway-server.ts'

/** What the handlers of all servers have in common. */
interface ServerHandler {
  run(application: Runnable): Promise<GatewayServer>
}

/** Loads the module of the gateway. */
export async function createHandler(
  gateway: ServerGateway,
  options: object,
): Promise<ServerHandler> {
  return (await GATEWAYS[gateway].load(options)) as ServerHandler
}
