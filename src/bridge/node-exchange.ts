/** `NodeExchange`: one request to a listener of node:http, and its response. */
import { Buffer } from 'node:buffer'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { NodeOrigin } from '../application/adapted.ts'
import { ApplicationError, PeerError } from '../errors.ts'
import { createResponse, headOf } from '../node-internals/server-response.ts'
import { show } from '../text.ts'
import { isPromise } from '../response/body.ts'
import type { Body, Chunk, Environ, StartResponse, Write } from '../types.ts'
import { disconnected, GatewaySocket, type SocketOwner } from './gateway-socket.ts'
import type { Input } from '../request/input.ts'
import { unwrapInput } from '../environ/wrapped-input.ts'
import { createNodeRequest, type NodeRequest } from './node-request.ts'
import { knownBody, openBody, type RequestBody } from './request-body.ts'

/** A complete response of at most so many bytes is one list of chunks. */
const MAX_WHOLE = 65_536

/** How long, in ms, a body may be read after the response: `requestTimeout` of node:http. */
const MAX_READ_TIME = 300_000

/**
 * The states are: running (the listener has not responded), streaming (`#write` is set), settled
 * (the application's result is known). An error before `settled` goes to the handler, a later one
 * to the log.
 */
export class NodeExchange implements SocketOwner {
  readonly #environ: Environ
  readonly #startResponse: StartResponse
  readonly #origin: NodeOrigin
  readonly #socket: GatewaySocket
  #request!: NodeRequest
  #response!: ServerResponse
  /** Whether the handler has sent a response that was complete at once; null for other responses. */
  #isBodyClosed: boolean | null = null
  /** Sends a chunk; null until the head has been sent. */
  #write: Write | null = null
  /** The signal that `#abort` listens to. */
  #signal: AbortSignal | null = null
  #settled = false
  #aborted = false
  /** The result, until someone waits for it. */
  #result: Body | null = null
  #failure: unknown
  /** They settle the promise of `run`, if there is one. */
  #resolve: ((body: Body) => void) | null = null
  #reject: ((error: unknown) => void) | null = null

  constructor(environ: Environ, startResponse: StartResponse, origin: NodeOrigin) {
    this.#environ = environ
    this.#startResponse = startResponse
    this.#origin = origin
    this.#socket = new GatewaySocket(environ, this)
  }

  /** The rest of the response body, when the response has ended; at once if the listener has. */
  run(): Body | Promise<Body> {
    const body = knownBody(this.#environ)
    if (body !== null) return this.#begin(body)
    return openBody(this.#environ).then((opened) => this.#begin(opened))
  }

  #begin(body: RequestBody): Body | Promise<Body> {
    const socket = this.#socket
    const { listener, server } = this.#origin
    const request = (this.#request = createNodeRequest(this.#environ, socket, body))
    const response = (this.#response = createResponse(request, socket))
    if (server !== null && server.timeout > 0) socket.setTimeout(server.timeout)
    response.on('finish', () => this.#finish())
    response.on('error', (error) => this.#mistake(error))
    try {
      const result = listener(request, response)
      if (isPromise(result)) result.then(undefined, (error: unknown) => this.#mistake(error))
    } catch (error) {
      this.#mistake(error)
    }
    if (!this.#settled && response.writableEnded && socket.isWaiting) this.#respond()
    if (this.#settled) return this.#settledResult()
    // A response that has ended has no one to notify, and the signal is expensive.
    if (!response.writableEnded || isBeingRead(request)) this.#watchClient()
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      if (this.#settled) this.#fulfil()
    })
  }

  #settledResult(): Body {
    if (this.#result === null) throw this.#failure
    return this.#result
  }

  #watchClient(): void {
    this.#signal = this.#environ['portico.signal']
    if (this.#signal.aborted) this.#abort()
    else this.#signal.addEventListener('abort', this.#abort)
  }

  /**
   * The client disconnected. As in node:http, the socket is destroyed before the request, and has an
   * error if the request body is incomplete.
   */
  readonly #abort = () => {
    this.#aborted = true
    this.#socket.destroy(isTruncated(this.#environ) ? disconnected() : null)
    this.#request.destroy(disconnected())
  }

  /**
   * Runs in the async context of the write, and so do the callbacks and 'finish', as in node:http:
   * what is logged there finds its request in an AsyncLocalStorage.
   */
  flush(): void {
    const socket = this.#socket
    if (socket.corked > 0 && !socket.writableEnded && !this.#response.writableEnded) return
    if (socket.isWaiting) this.#respond()
    if (this.#isBodyClosed === null) return
    if (this.#isBodyClosed) this.#sent()
    else void whenClosed(this.#result!).then(() => this.#sent())
  }

  /** Passes on what was written; the head before the first of it. */
  #respond(): void {
    const isFirst = this.#write === null
    const socket = this.#socket
    try {
      this.#write ??= this.#sendHead()
    } catch (error) {
      this.#fail(error)
      return
    }
    const size = socket.queuedSize
    const chunks = socket.take()
    if (isFirst && size <= MAX_WHOLE && this.#isWhole()) {
      const body: WholeBody = chunks
      this.#isBodyClosed = false
      this.#readOn()
      body.exchange = this
      body.close = closeWhole
      this.#settle(body)
    } else if (isFirst || size > 0) {
      void this.#send(this.#write, size > MAX_WHOLE ? chunks : [joined(chunks)])
    } else {
      this.#sent()
    }
  }

  /** Whether the response is complete, and the handler may announce its length. */
  #isWhole(): boolean {
    const response = this.#response
    return response.writableEnded && !headOf(response)!.hidesLength
  }

  /** The handler has sent a response that was complete at once. */
  bodyClosed(): void {
    this.#isBodyClosed = true
  }

  #sendHead(): Write {
    const head = headOf(this.#response)
    if (head === null) {
      throw new ApplicationError(
        'The application wrote to req.socket before the head of its response. Behind a gateway ' +
          'there is no raw connection: use the methods of the response',
      )
    }
    return this.#startResponse(head.status, head.headers)
  }

  async #send(write: Write, chunks: readonly Chunk[]): Promise<void> {
    try {
      for (const chunk of chunks) await write(chunk)
    } catch (error) {
      this.#fail(error)
      return
    }
    this.#sent()
  }

  /** Calls back those who wrote. An error that one of them throws is the application's. */
  #sent(): void {
    try {
      this.#socket.done()
    } catch (error) {
      this.#fail(error)
    }
  }

  get hasEnded(): boolean {
    return this.#response.writableEnded
  }

  drained(): void {
    if (!this.#response.writableEnded) this.#response.emit('drain')
  }

  /** As node:http: the connection is closed unless one of these listens. */
  timedOut(): void {
    const socket = this.#socket
    const request = this.#request
    const heard = [
      !request.complete && request.emit('timeout', socket),
      this.#response.emit('timeout', socket),
      this.#origin.server?.emit('timeout', socket) ?? false,
    ]
    if (!heard.includes(true)) socket.destroy()
    socket.emit('timeout')
  }

  /** The response has been passed on completely. */
  #finish(): void {
    if (!this.#settled) {
      this.#readOn()
      this.#settle([])
    }
    if (!isBeingRead(this.#request)) leave(this.#request)
    this.#socket.destroy()
  }

  /** A listener that responds early (202, say) may still be reading the body. */
  #readOn(): void {
    const request = this.#request
    if (!isBeingRead(request)) return
    const closed = new Promise<void>((resolve) => request.once('close', resolve))
    const timer = setTimeout(() => request.destroy(), MAX_READ_TIME).unref()
    void closed.then(() => clearTimeout(timer))
    const input = unwrapInput(this.#environ['wsgi.input']) as { hold?: Input['hold'] }
    input.hold?.(closed)
  }

  closed(): void {
    if (this.#settled) return
    if (this.#aborted) {
      this.#fail(new PeerError('PORTICO_DISCONNECTED', 'The client disconnected'))
    } else {
      const error = new ApplicationError(
        'The application destroyed its response',
        'PORTICO_NO_RESPONSE',
      )
      this.#fail(this.#socket.errored ?? error)
    }
  }

  #settle(body: Body): void {
    if (this.#settled) return
    this.#end()
    this.#result = body
    this.#fulfil()
  }

  /** An error of the application. As on node:http, one after `end()` does not stop the response. */
  #mistake(error: unknown): void {
    if (this.#response.writableEnded && !this.#socket.destroyed) this.#log(error)
    else this.#fail(error)
  }

  #log(error: unknown): void {
    this.#environ['wsgi.errors'].write(`${show(error)}\n`)
  }

  /** An error page, or the end of an incomplete response: the handler decides. */
  #fail(error: unknown): void {
    const isComplete = this.#result !== null && !this.#aborted
    if (!this.#settled) {
      this.#end()
      this.#failure = error
      this.#fulfil()
    } else if (!this.#aborted) {
      this.#log(error)
    }
    this.#socket.destroy()
    // A mistake after the response, such as a write, does not concern the request.
    if (!isComplete) this.#request.destroy(disconnected())
    else if (!isBeingRead(this.#request)) leave(this.#request)
  }

  #end(): void {
    this.#settled = true
    this.#signal?.removeEventListener('abort', this.#abort)
  }

  #fulfil(): void {
    if (this.#result === null) this.#reject?.(this.#failure)
    else this.#resolve?.(this.#result)
  }
}

/** Whether the client disconnected in the middle of the request body. */
function isTruncated(environ: Environ): boolean {
  return (environ['wsgi.input'] as { readonly truncated?: boolean }).truncated === true
}

/** Whether the application is reading the request body, and there may be more of it. */
function isBeingRead(request: IncomingMessage): boolean {
  if (request.complete || request.destroyed) return false
  // A pipe pauses the request while its destination is full.
  return (
    request.readableFlowing === true ||
    request.listenerCount('data') > 0 ||
    request.listenerCount('readable') > 0
  )
}

/** Ends a request whose response is complete. The gateway discards the rest of the body. */
function leave(request: NodeRequest): void {
  if (request.readableDidRead && !request.complete) {
    request.destroy() // The application stopped reading in the middle.
    return
  }
  // In node:http, too, a body that was never read is not an abort.
  if (!request.complete) {
    request.complete = true
    request.push(null)
  }
  request.resume()
}

/** A response that was complete at once: a list of chunks. */
interface WholeBody extends Array<Chunk> {
  exchange?: NodeExchange
  close?: () => unknown
}

/**
 * One function for all bodies. With a closure for each of them, V8 (Node 20 to 26) keeps exchanges
 * that have ended until a full collection: the heap of a busy server grows to 250 MiB, and the
 * collector takes a quarter of its time.
 */
function closeWhole(this: WholeBody): void {
  this.exchange?.bodyClosed()
}

/** Resolves when the handler has sent a body. */
function whenClosed(body: Body): Promise<void> {
  return new Promise((resolve) => {
    body.close = resolve
  })
}

function joined(chunks: readonly Chunk[]): Chunk {
  if (chunks.length < 2) return chunks[0] ?? ''
  return Buffer.concat(chunks.map((it) => (typeof it === 'string' ? Buffer.from(it) : it)))
}
