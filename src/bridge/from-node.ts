/**
 * `fromNode`: an application of node:http (Express, Koa, Fastify, a plain listener) as an
 * application of ours. From the framework's side: real requests and responses, whose connection is
 * whatever gateway the application runs behind.
 */
import { Buffer } from 'node:buffer'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { inspect } from 'node:util'
import { applicationOf, linkNodeOrigin, type NodeOrigin } from '../application/adapted.ts'
import { isPromise } from '../response/body.ts'
import { ApplicationError, ConfigurationError, PeerError } from '../errors.ts'
import type { Application, Body, Chunk, Environ, StartResponse, Write } from '../types.ts'
import { GatewaySocket, type Done, type Peer } from './gateway-socket.ts'
import { createRequest, type NodeRequest } from './node-request.ts'
import { createResponse, headOf } from './node-response.ts'
import { knownBody, openBody, type RequestBody } from './request-body.ts'

export type { NodeRequest }

/** What `http.createServer` takes. */
export type NodeListener = (request: IncomingMessage, response: ServerResponse) => unknown

/** A Koa application, or anything else that makes a listener of itself. */
export interface ListenerFactory {
  callback(): NodeListener
}

/** A Fastify instance. */
export interface ReadyRouter {
  ready(): PromiseLike<unknown>
  routing(request: IncomingMessage, response: ServerResponse): unknown
  readonly server?: Server
}

/** What `fromNode` takes. An Express application is a listener. */
export type NodeApplication = NodeListener | Server | ListenerFactory | ReadyRouter

/** Up to here an answer that is all there goes out as one piece. */
const WHOLE_ANSWER = 65_536

/** How long, in ms, a body may be read behind the answer: `requestTimeout` of node:http. */
const READ_ON = 300_000

/**
 * Makes an application of ours. `req.environ` is the environ; `req.url` is the path below the mount
 * point, `req.originalUrl` the whole one.
 *
 * @throws {ConfigurationError} for what is none of the shapes, or a server without a listener.
 */
export function fromNode(source: NodeApplication): Application {
  const made = applicationOf(source)
  if (made !== undefined) return made // It came from a bridge.
  const origin = originFrom(source)
  const { listener } = origin
  const application: Application = (environ, startResponse) =>
    isWebSocket(environ)
      ? refuseUpgrade(startResponse)
      : new Exchange(environ, startResponse).run(listener)
  linkNodeOrigin(application, origin)
  return application
}

function originFrom(source: NodeApplication): NodeOrigin {
  if (typeof source === 'function') return { listener: source, server: null }
  if (typeof source === 'object' && source !== null) {
    if ('maxHeadersCount' in source) return { listener: serverListener(source), server: source }
    if ('callback' in source && typeof source.callback === 'function') {
      return { listener: source.callback(), server: null }
    }
    if ('routing' in source && typeof source.routing === 'function') {
      return { listener: routerListener(source), server: source.server ?? null }
    }
  }
  throw new ConfigurationError(
    'fromNode() takes a listener (request, response), an http.Server, or an Express, Koa or ' +
      'Fastify application',
  )
}

/**
 * All listeners of a server that need not listen, and its time limit. An expectation that nobody
 * asks for was the web server's to refuse; what else a server can be told concerns connections, and
 * those are the web server's, too.
 */
function serverListener(server: Server): NodeListener {
  if (server.listenerCount('request') === 0) {
    throw new ConfigurationError('fromNode(): this http.Server has no listener for requests')
  }
  return (request, response) => {
    if (server.timeout > 0) request.socket.setTimeout(server.timeout)
    if (server.listenerCount('timeout') > 0) {
      request.socket.on('timeout', () => server.emit('timeout', request.socket))
    }
    const { expect } = request.headers
    const check = expect?.toLowerCase() === '100-continue' ? 'checkContinue' : 'checkExpectation'
    const asked = expect !== undefined && server.listenerCount(check) > 0
    server.emit(asked ? check : 'request', request, response)
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

/** No gateway hands its connection over, so the client is told before it waits for frames. */
function isWebSocket(environ: Environ): boolean {
  const upgrade = environ['HTTP_UPGRADE']
  return upgrade !== undefined && /\bwebsocket\b/i.test(upgrade)
}

function refuseUpgrade(startResponse: StartResponse): Body {
  startResponse('501 Not Implemented', [['Content-Type', 'text/plain; charset=utf-8']])
  return ['WebSockets cannot pass through this gateway.\n']
}

/** One request and its answer. */
class Exchange implements Peer {
  readonly #environ: Environ
  readonly #startResponse: StartResponse
  readonly #socket: GatewaySocket
  #request: NodeRequest | null = null
  #response: ServerResponse | null = null
  /** What sends, once the head is out. */
  #write: Write | null = null
  /** Where it is watched whether the client is still there. */
  #signal: AbortSignal | null = null
  #settled = false
  #aborted = false
  /** The answer is out, and the application reads the body still. */
  #readsOn: NodeJS.Timeout | null = null
  #resolve: (body: Body) => void = () => {}
  #reject: (error: unknown) => void = () => {}

  constructor(environ: Environ, startResponse: StartResponse) {
    this.#environ = environ
    this.#startResponse = startResponse
    this.#socket = new GatewaySocket(environ, this)
  }

  /** Resolves to what is left of the body when the response has ended. */
  run(listener: NodeListener): Promise<Body> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      const body = knownBody(this.#environ)
      if (body !== null) this.#begin(listener, body)
      else {
        openBody(this.#environ).then(
          (opened) => this.#begin(listener, opened),
          (error: unknown) => this.#fail(error),
        )
      }
    })
  }

  #begin(listener: NodeListener, body: RequestBody): void {
    const socket = this.#socket
    const request = (this.#request = createRequest(this.#environ, socket, body))
    const response = (this.#response = createResponse(request, socket))
    response.on('finish', () => this.#finish())
    response.on('error', (error) => this.#fail(error))
    socket.on('close', () => this.#closed())
    try {
      const result = listener(request, response)
      if (isPromise(result)) result.then(undefined, (error: unknown) => this.#fail(error))
    } catch (error) {
      this.#fail(error)
    }
    // An answer that is there already has nobody to tell, and the signal costs something.
    if ((response.writableEnded && !isBeingRead(request)) || this.#settled) return
    this.#signal = this.#environ['portico.signal']
    if (this.#signal.aborted) this.#abort()
    else this.#signal.addEventListener('abort', this.#abort)
  }

  /** The client went away: as from node:http, the socket is gone before the request hears of it. */
  readonly #abort = () => {
    this.#aborted = true
    this.#socket.destroy()
    this.#request?.destroy(disconnected())
  }

  take(chunks: Chunk[], size: number, done: Done): void {
    const inFlight = this.#socket.writableLength
    // In the next tick it is known whether the response ended with these.
    process.nextTick(() => {
      const last = this.#response!.writableEnded && this.#socket.writableLength === inFlight
      try {
        this.#deliver(chunks, size, last, done)
      } catch (error) {
        done(error as Error)
      }
    })
  }

  timedOut(): void {
    const socket = this.#socket
    const heard = [socket, this.#request!, this.#response!].map((each) =>
      each.emit('timeout', socket),
    )
    if (!heard.includes(true)) socket.destroy()
  }

  /** Passes on what was written; the head before the first of it. */
  #deliver(chunks: Chunk[], size: number, last: boolean, done: Done): void {
    const isFirst = this.#write === null
    // That of somebody who has been called back.
    const failed = (error: unknown): void => this.#fail(error)
    this.#write ??= this.#startResponse(...headOf(this.#response!))
    if (isFirst && last && size <= WHOLE_ANSWER && !isBeingRead(this.#request!)) {
      const body: Body = chunks
      whenClosed(body, done).catch(failed)
      this.#settle(body)
    } else if (isFirst || size > 0) {
      const pieces = size > WHOLE_ANSWER ? chunks : [joined(chunks)]
      sendAll(this.#write, pieces, done).catch(failed)
    } else {
      done()
    }
  }

  /** All has been handed over. */
  #finish(): void {
    const request = this.#request!
    if (!this.#settled && isBeingRead(request)) {
      // Who has answered "accepted" at once has not got all yet. The request ends when it has.
      const stop = () => request.destroy()
      this.#readsOn = setTimeout(stop, READ_ON).unref()
      request.once('close', () => this.#settle([]))
    } else {
      this.#settle([])
      leave(request)
    }
    // This comes from a write's callback, behind which a stream that is destroyed makes an error
    // for the writes it has not done, if there are any or not.
    process.nextTick(() => this.#socket.destroy())
  }

  #closed(): void {
    if (this.#settled || this.#readsOn !== null) return
    if (this.#aborted) {
      this.#fail(new PeerError('PORTICO_DISCONNECTED', 'The client went away'))
    } else {
      const error = new ApplicationError('The application destroyed its response')
      this.#fail(this.#socket.errored ?? error)
    }
  }

  #settle(body: Body): void {
    this.#end()
    this.#resolve(body)
  }

  #end(): void {
    this.#settled = true
    if (this.#readsOn !== null) clearTimeout(this.#readsOn)
    this.#signal?.removeEventListener('abort', this.#abort)
  }

  /** The handler answers with its error page, or breaks off what has begun. */
  #fail(error: unknown): void {
    if (!this.#settled && this.#readsOn === null) {
      this.#end()
      this.#reject(error)
    } else if (!this.#aborted) {
      this.#environ['wsgi.errors'].write(`${inspect(error)}\n`)
    }
    this.#socket.destroy()
    this.#request?.destroy(disconnected())
  }
}

/** What node:http tells a request whose connection is gone before its answer. */
function disconnected(): Error {
  return Object.assign(new Error('aborted'), { code: 'ECONNRESET' })
}

/** Whether more of the body is wanted and expected. */
function isBeingRead(request: IncomingMessage): boolean {
  if (request.complete || request.destroyed) return false
  return request.readableFlowing === true || request.listenerCount('readable') > 0
}

/** What the application has not read it will not: the gateway deals with the rest. */
function leave(request: NodeRequest): void {
  if (request.readableDidRead && !request.complete) {
    request.destroy() // It has stopped in the middle.
    return
  }
  // Nobody has asked for it, so that nobody misses it: to node:http this is no abort, either.
  if (!request.complete) {
    request.complete = true
    request.push(null)
  }
  request.resume()
}

async function sendAll(write: Write, chunks: readonly Chunk[], done: Done): Promise<void> {
  let failure: Error | null = null
  try {
    for (const chunk of chunks) await write(chunk)
  } catch (error) {
    failure = error as Error
  }
  done(failure)
}

/**
 * Calls back when the handler has sent a body, in the context of the write, as node:http does: what
 * is logged at 'finish' asks an AsyncLocalStorage which request it is.
 */
async function whenClosed(body: Body, done: Done): Promise<void> {
  await new Promise<void>((resolve) => {
    body.close = resolve
  })
  done()
}

function joined(chunks: readonly Chunk[]): Chunk {
  if (chunks.length < 2) return chunks[0] ?? ''
  return Buffer.concat(chunks.map((it) => (typeof it === 'string' ? Buffer.from(it) : it)))
}
