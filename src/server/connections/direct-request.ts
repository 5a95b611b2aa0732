/**
 * `DirectRequest`: a request of node:http that is passed to the application directly. Express, Koa
 * and Fastify need no bridge on an HTTP server, so upgrades, trailers and `rawHeaders` work.
 */
import { createServer, IncomingMessage, type Server, ServerResponse } from '../../node-http.ts'
import type { Socket } from 'node:net'
import { isGone, isOrdinary } from '../../environ/from-http.ts'
import { PeerError } from '../../errors.ts'
import { isTraced, RequestTrace } from '../../request/trace.ts'
import { isPromise } from '../../response/body.ts'
import type { Environ } from '../../types.ts'
import { connectionOf, type HTTPExchange } from './http.ts'
import { readAhead } from './unread-body.ts'

/** The part of `HTTPRequestHandler` that serves a direct request. */
export interface EnvironHandler {
  environ: Environ | null
  headersSent: boolean
  setupEnviron(): void
  disconnected(reason?: Error): void
  fail(error: unknown): Promise<void>
  logException(error: unknown): void
  trace: RequestTrace | null
}

/** An application of node:http, and the server that it belongs to. */
interface NodeOrigin {
  readonly listener: (request: IncomingMessage, response: ServerResponse) => unknown
  readonly server: Server | null
}

export interface DirectOptions {
  readonly maxHeaders: number
  readonly highWaterMark: number
  readonly responseTimeout: number
  /** Whether `req.url` may differ from the request target, because the application is mounted. */
  readonly mounted: boolean
  /** What a mounted application sees of the target. */
  readonly targetOf: (environ: Environ) => { base: string; url: string; original: string }
  readonly newHandler: (request: IncomingMessage, response: ServerResponse) => EnvironHandler
}

/** The key under which a request has its `DirectRequest`, shared with other copies of this file. */
const DIRECT = Symbol.for('portico.direct')

type Message = IncomingMessage & {
  [DIRECT]?: DirectRequest
}

export class DirectRequest implements HTTPExchange {
  readonly request: Message
  readonly response: ServerResponse
  readonly #listener: NodeOrigin['listener']
  readonly #options: DirectOptions
  #handler: EnvironHandler | null = null
  #environ: Environ | null = null
  #timer: NodeJS.Timeout | null = null
  #aborted = false
  /** What `node:diagnostics_channel` gets; null without a subscriber. */
  #trace: RequestTrace | null = null

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    listener: NodeOrigin['listener'],
    options: DirectOptions,
  ) {
    this.request = request
    this.response = response
    this.#listener = listener
    this.#options = options
    this.request[DIRECT] = this
  }

  /** `req.environ`, built on first use. */
  get environ(): Environ {
    if (this.#environ !== null) return this.#environ
    const handler = this.#getHandler()
    handler.setupEnviron()
    return (this.#environ = handler.environ!)
  }

  #getHandler(): EnvironHandler {
    if (this.#handler === null) {
      this.#handler = this.#options.newHandler(this.request, this.response)
      if (this.#aborted) this.#handler.disconnected()
    }
    return this.#handler
  }

  begin(): void {
    const { responseTimeout } = this.#options
    if (responseTimeout > 0) this.#startTimer(responseTimeout)
    try {
      this.check()
      const listener = this.#listener
      const result = isTraced()
        ? this.#startTrace().run(() => listener(this.request, this.response))
        : listener(this.request, this.response)
      if (isPromise(result)) result.then(undefined, (error: unknown) => this.#fail(error))
    } catch (error) {
      void this.#fail(error)
    }
  }

  /**
   * Checks a request that may be ambiguous by building its environ, and sets the URLs of a mounted
   * application.
   *
   * @throws {PeerError} if it cannot be served.
   */
  check(): void {
    const { request } = this
    const { mounted, maxHeaders } = this.#options
    if (!mounted && isOrdinary(request, maxHeaders) && !isGone(request.socket)) return
    const { environ } = this
    if (!mounted) return
    const { base, url, original } = this.#options.targetOf(environ)
    request.url = url
    Object.assign(request, { baseUrl: base }, base === '' ? {} : { originalUrl: original })
  }

  #startTimer(time: number): void {
    this.#timer = setTimeout(() => {
      const message = `The response was not complete after ${time} ms`
      const error = new PeerError('PORTICO_TIMEOUT', message, '504 Gateway Timeout')
      void this.#fail(error)
      this.#getHandler().disconnected(error)
    }, time)
  }

  #startTrace(): RequestTrace {
    const { response } = this
    const trace = (this.#trace = new RequestTrace(this.environ))
    const sentBefore = response.socket?.bytesWritten ?? 0
    response.once('close', () => {
      const { headersSent, socket, statusCode, statusMessage, writableFinished } = response
      const status = headersSent ? `${statusCode} ${statusMessage}` : null
      trace.end(status, (socket?.bytesWritten ?? sentBefore) - sentBefore, writableFinished)
    })
    return trace
  }

  /** Logs the error, and sends the error page if the head is unsent. */
  async #fail(error: unknown): Promise<void> {
    const { response } = this
    const handler = this.#getHandler()
    handler.trace = this.#trace
    if (response.writableEnded || response.destroyed) {
      this.#trace?.fail(error)
      this.#prepareLog()
      handler.logException(error)
      return
    }
    this.#prepareLog()
    handler.headersSent = response.headersSent
    if (!response.headersSent) {
      for (const name of response.getHeaderNames()) response.removeHeader(name)
    }
    try {
      await handler.fail(error)
    } catch (second) {
      handler.logException(second)
      response.destroy()
    }
  }

  /** Notes the method and the path, with which a log line begins. */
  #prepareLog(): void {
    try {
      void this.environ
    } catch {
      // The request is refused for the same reason anyway.
    }
  }

  disconnected(): void {
    this.#aborted = true
    this.#handler?.disconnected()
  }

  abort(): void {
    this.disconnected()
  }

  finished(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
  }

  probePeer(): void {
    readAhead(this.request, this.#options.highWaterMark)
  }
}

/**
 * Makes `server` pass its requests to a node:http application. If that belongs to an `http.Server`,
 * events about connections are passed to that server while it has listeners for them.
 */
export function serveDirectly(server: Server, origin: NodeOrigin, options: DirectOptions): void {
  const { listener, server: own } = origin
  defineEnviron()
  function begin(request: IncomingMessage, response: ServerResponse): void {
    if (!request.socket.writable) return // The last response of the connection has been sent.
    connectionOf(request.socket)?.begin(new DirectRequest(request, response, listener, options))
  }
  server.on('request', begin)
  if (own === null) return
  applyTimeouts(server, own)
  const upgrade = (event: string): Listener => {
    return (request: IncomingMessage, socket: Socket, head: Buffer) => {
      const direct = new DirectRequest(request, new ServerResponse(request), listener, options)
      try {
        direct.check()
      } catch (error) {
        const status = error instanceof PeerError ? error.status : '500 Internal Server Error'
        socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`)
        return
      }
      connectionOf(socket)?.upgrade(direct)
      own.emit(event, request, socket, head)
    }
  }
  forward(server, own, {
    // `listener` emits these two on the server, as 'request'.
    checkContinue: begin,
    checkExpectation: begin,
    timeout: (socket) => own.emit('timeout', socket),
    clientError: (error, socket) => own.emit('clientError', error, socket),
    upgrade: upgrade('upgrade'),
    connect: upgrade('connect'),
  })
}

type Listener = (...args: any[]) => void

/** Replaces the listeners of `server` for an event while `own` has listeners for it. */
function forward(server: Server, own: Server, listeners: Readonly<Record<string, Listener>>): void {
  const names = Object.keys(listeners)
  const others = new Map(names.map((name) => [name, server.listeners(name) as Listener[]]))
  const attach = (name: string | symbol) => {
    if (typeof name !== 'string' || !others.has(name)) return
    server.removeAllListeners(name)
    server.on(name, listeners[name]!)
  }
  const detach = (name: string | symbol) => {
    if (typeof name !== 'string' || !others.has(name) || own.listenerCount(name) > 0) return
    server.removeAllListeners(name)
    for (const other of others.get(name)!) server.on(name, other)
  }
  for (const name of names) if (own.listenerCount(name) > 0) attach(name)
  own.on('newListener', attach)
  own.on('removeListener', detach)
  server.once('close', () => {
    own.off('newListener', attach)
    own.off('removeListener', detach)
  })
}

/** Applies the time limits of an `http.Server` that differ from Node's defaults. */
function applyTimeouts(server: Server, own: Server): void {
  const defaults = createServer()
  for (const name of LIMITS) {
    if (own[name] !== defaults[name]) Object.assign(server, { [name]: own[name] })
  }
}

const LIMITS = [
  'headersTimeout',
  'keepAliveTimeout',
  'maxRequestsPerSocket',
  'requestTimeout',
  'timeout',
] as const

/**
 * Gives requests `req.environ`. The accessor is on Node's prototype, because Express replaces the
 * prototype of a request, and a property in each request would cost it a microsecond.
 */
function defineEnviron(): void {
  if (Object.hasOwn(IncomingMessage.prototype, 'environ')) return
  Object.defineProperty(IncomingMessage.prototype, 'environ', {
    configurable: true,
    get(this: Message): Environ | undefined {
      return this[DIRECT]?.environ
    },
    set(this: Message, value: unknown) {
      const own = { configurable: true, enumerable: true, writable: true, value }
      Object.defineProperty(this, 'environ', own)
    },
  })
}
