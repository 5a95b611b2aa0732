/** The listener of a node:http application: Express, Koa, Fastify, an `http.Server`. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { NodeOrigin } from '../application/adapted.ts'
import { ConfigurationError } from '../errors.ts'

/** What `http.createServer` takes. */
export type NodeListener = (request: IncomingMessage, response: ServerResponse) => unknown

/** A Koa application, or another object that creates a listener. */
export interface ListenerFactory {
  callback(): NodeListener
}

/** A Fastify instance. */
export interface ReadyRouter {
  ready(): PromiseLike<unknown>
  routing(request: IncomingMessage, response: ServerResponse): unknown
  readonly server?: unknown
}

/** What `fromNode` takes. An Express application is a listener. */
export type NodeApplication = NodeListener | Server | ListenerFactory | ReadyRouter

/** @throws {ConfigurationError} if `source` is something else, or a server without a listener. */
export function originFrom(source: NodeApplication): NodeOrigin {
  if (typeof source === 'function') return { listener: source, server: null }
  if (typeof source === 'object' && source !== null) {
    if ('maxHeadersCount' in source) return { listener: serverListener(source), server: source }
    if ('callback' in source && typeof source.callback === 'function') {
      return { listener: source.callback(), server: null }
    }
    if ('routing' in source && typeof source.routing === 'function') {
      const { server } = source
      return { listener: routerListener(source), server: isServer(server) ? server : null }
    }
  }
  throw new ConfigurationError(
    'fromNode() takes a listener (request, response), an http.Server, or an Express, Koa or ' +
      'Fastify application',
  )
}

function isServer(value: unknown): value is Server {
  return typeof value === 'object' && value !== null && 'maxHeadersCount' in value
}

/** Emits the event that the server would emit, depending on the Expect header. */
function serverListener(server: Server): NodeListener {
  if (server.listenerCount('request') === 0) {
    throw new ConfigurationError('fromNode(): this http.Server has no listener for requests')
  }
  return (request, response) => {
    const { expect } = request.headers
    const check = expect?.toLowerCase() === '100-continue' ? 'checkContinue' : 'checkExpectation'
    const isChecked = expect !== undefined && server.listenerCount(check) > 0
    server.emit(isChecked ? check : 'request', request, response)
  }
}

/** Fastify loads its plugins before the first request. */
function routerListener(router: ReadyRouter): NodeListener {
  let ready = false
  return (request, response) => {
    if (ready) return router.routing(request, response)
    return router.ready().then(() => {
      ready = true
      return router.routing(request, response)
    })
  }
}
