/**
 * `fromNode`: an application of node:http (Express, Koa, Fastify, a plain listener) as an
 * application. The framework gets a real `IncomingMessage` and `ServerResponse`.
 */
import { applicationOf, linkNodeOrigin } from '../application/adapted.ts'
import type { Application, Body, Environ, StartResponse } from '../types.ts'
import { NodeExchange } from './node-exchange.ts'
import { originFrom, type NodeApplication } from './node-origin.ts'

export type { ListenerFactory, NodeApplication, NodeListener, ReadyRouter } from './node-origin.ts'
export type { NodeRequest } from './node-request.ts'

/**
 * Adapts an application of node:http. `req.environ` is the environ; `req.url` is the path below the
 * mount point, `req.originalUrl` the whole one.
 *
 * @throws {ConfigurationError} if `source` is something else, or a server without a listener.
 */
export function fromNode(source: NodeApplication): Application {
  const made = applicationOf(source)
  if (made !== undefined) return made // It came from a bridge.
  const origin = originFrom(source)
  const application: Application = (environ, startResponse) =>
    isWebSocket(environ)
      ? refuseUpgrade(startResponse)
      : new NodeExchange(environ, startResponse, origin).run()
  linkNodeOrigin(application, origin)
  return application
}

/** A gateway cannot pass on the connection, so the client gets an error before it sends frames. */
function isWebSocket(environ: Environ): boolean {
  const upgrade = environ['HTTP_UPGRADE']
  return upgrade !== undefined && /\bwebsocket\b/i.test(upgrade)
}

function refuseUpgrade(startResponse: StartResponse): Body {
  startResponse('501 Not Implemented', [['Content-Type', 'text/plain; charset=utf-8']])
  return ['WebSockets cannot pass through this gateway.\n']
}
