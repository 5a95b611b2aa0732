/**
 * One FastCGI connection, from the application's side: between its socket and the protocol, which
 * has none, with the requests that are running on it. When to read, when to write, when to close.
 */
import { Buffer } from 'node:buffer'
import type { Socket } from 'node:net'
import { logEntry } from '../../log.ts'
import { PeerError } from '../../errors.ts'
import {
  ApplicationConnection,
  type AbortCause,
  type ApplicationOptions,
} from '../../protocol/fastcgi-application.ts'
import { FCGI_AUTHORIZER, type Part } from '../../protocol/fastcgi.ts'
import type { Application, Environ } from '../../types.ts'
import type { ServerOptions } from '../gateway-server.ts'
import {
  coarseTime,
  HEADERS_TIMEOUT,
  HIGH_WATER_MARK,
  IDLE_TIMEOUT,
  MAX_PROBE_FACTOR,
} from '../deadlines.ts'
import type { BodyQueue } from '../../request/body-queue.ts'
import { logWrongProtocol } from '../wrong-protocol.ts'
import { closeAfterResponse, drained, flushLater, MAX_HELD, writeParts } from '../socket-writer.ts'

/**
 * The high-water mark while several requests share the connection: pausing for the one that does
 * not read would stop the others, so more is held, and only then do all wait for the slowest.
 */
const MULTIPLEXED_HIGH_WATER_MARK = 16 * 1024 * 1024

/** How long, in ms, a request with such a body may hold up the others without reading any of it. */
const MAX_STALL = 10_000

/** Where nothing is yet; never pushed to. */
export const NOTHING: never[] = []

/** A request on a connection, as the handler runs it. */
export interface ConnectionRequest {
  readonly id: number
  readonly input: BodyQueue
  /** When the application took some of the body last, by `coarseTime`. */
  readonly lastRead: number
  /** Set when the web server has said that it does not want the answer. */
  refused: boolean
  start(application: Application): void
  abort(): void
  disconnected(reason?: Error): void
  fail(error: Error): Promise<void>
  /** Writes what there is of the answer. */
  send(): void
  /** What is logged and not sent. */
  remainingLog(): Part[]
}

/** What a connection asks of the options, and how it makes a request. */
export interface ConnectionOptions extends ServerOptions {
  readonly newRequest: (
    connection: FastCGIConnection,
    id: number,
    environ: Environ,
  ) => ConnectionRequest
}

/** One socket, and the requests on it. */
export class FastCGIConnection {
  readonly socket: Socket
  readonly protocol: ApplicationConnection<Environ>
  readonly #application: Application
  readonly #options: ConnectionOptions

  get requests(): number {
    return this.#served
  }

  /** A list, for there is mostly one. */
  #requests: ConnectionRequest[] = []
  /** When this connection is given up: what it is waiting for has not come. */
  deadline = Infinity
  #waitingFor: 'request' | 'head' | 'nothing' = 'nothing'
  #served = 0
  #queued = 0
  #ending = false
  /** The ends of answers that are not written yet. */
  #held: Part[] = NOTHING
  /** What has come has to be copied to be kept. */
  #borrowed = false
  /** Every request has been read to its end, so that nothing is left to come. */
  #exhausted = true
  /** The peer asks for more than it reads; until it has read, what it sends waits. */
  #choked = false

  constructor(
    socket: Socket,
    application: Application,
    options: ConnectionOptions,
    protocolOptions: ApplicationOptions<Environ>,
  ) {
    this.socket = socket
    this.protocol = new ApplicationConnection(protocolOptions)
    this.#application = application
    this.#options = options
    this.#setDeadline()
  }

  receiveEof(): void {
    this.protocol.receiveEof()
    this.#pump()
  }

  closed(): void {
    const requests = this.#requests
    this.#requests = []
    for (const request of requests) request.abort()
  }

  receive(memory: Buffer, size: number, borrowed: boolean): void {
    // Behind the last answer. One more, on a socket that is ending, would break that one off.
    if (this.socket.writableEnded) return
    this.#borrowed = borrowed
    this.protocol.receive(memory, size)
    this.#pump(memory, size)
  }

  get receivesBody(): boolean {
    for (const { input } of this.#requests) if (!input.ended) return true
    return false
  }

  end(): void {
    this.#ending = true
    this.#closeIfDone()
  }

  destroy(): void {
    this.socket.destroy()
  }

  look(): void {
    const { socket } = this
    if (this.#waitingFor !== 'nothing' && socket.writableLength > 0) this.#setDeadline(true)
    if (!socket.isPaused() || this.#choked) return
    this.#endStalled()
    if (this.#queued < MAX_PROBE_FACTOR * this.#highWaterMark()) socket.resume()
  }

  /** Ends the request with the most unread body, if it is not alone and has not read for long. */
  #endStalled(): void {
    const [most, second] = this.#requests.toSorted((a, b) => b.input.queued - a.input.queued)
    if (!most || !second || coarseTime() - most.lastRead < MAX_STALL) return
    const message = `The body was not read for ${MAX_STALL} ms, and held up other requests`
    const error = new PeerError('PORTICO_TIMEOUT', message, '503 Service Unavailable')
    most.disconnected(error)
    void most.fail(error)
  }

  /** The request is answered: nothing more is written for its id. */
  finished(request: ConnectionRequest): void {
    const requests = this.#requests
    if (requests.at(-1) === request) requests.pop()
    else this.#requests = requests.filter((other) => other !== request)
    this.consumed(request.input.queued)
    if (!request.input.ended) this.#exhausted = false
    this.#setDeadline()
    this.#closeIfDone()
  }

  /**
   * Ends an answer that is shorter than its head says, or was broken off behind its head, so that
   * the web server notices: by closing without END_REQUEST. nginx and Apache take any END_REQUEST
   * for the end of a good answer, whatever its appStatus. False if other requests share the
   * connection, which it would break off as well.
   */
  breakOff(request: ConnectionRequest): boolean {
    if (this.#requests.length > 1) return false
    this.#writeHeld()
    request.send()
    this.write(request.remainingLog())
    // Apache still writes the end of STDIN: if that failed it would forget the head that it has,
    // and answer with a 503.
    closeAfterResponse(this.socket, this.#exhausted && request.input.ended)
    return true
  }

  /** Input has left a queue. */
  consumed(bytes: number): void {
    this.#queued -= bytes
    if (this.#choked || !this.socket.isPaused()) return
    if (this.#queued < this.#highWaterMark()) this.socket.resume()
  }

  /** Several parts leave together. */
  write(parts: readonly Part[]): void {
    writeParts(this.socket, parts)
  }

  /** Sends the end of an answer together with those of other requests. */
  hold(part: Part): void {
    if (this.#held.length === 0) {
      this.#held = [part] // Mostly all; a push() would make room for seventeen.
      flushLater(this)
    } else if (this.#held.push(part) > MAX_HELD) {
      this.#writeHeld()
    }
  }

  flush(): void {
    this.#writeHeld()
    this.#closeIfDone()
  }

  #writeHeld(): void {
    const held = this.#held
    this.#held = NOTHING
    this.write(held)
  }

  /** Nothing, or a promise to wait for before more is written. */
  ready(): void | Promise<void> {
    return drained(this.socket)
  }

  /** What has come last is the first `size` bytes of `memory`. */
  #pump(memory?: Buffer, size?: number): void {
    const { socket } = this
    let begun: ConnectionRequest[] = NOTHING
    let replied = false
    for (let event; (event = this.protocol.next()) !== null;) {
      switch (event.type) {
        case 'request': {
          // As libfcgi does, for an application that serves in both roles.
          if (event.role === FCGI_AUTHORIZER) event.params['FCGI_ROLE'] = 'AUTHORIZER'
          const request = this.#options.newRequest(this, event.id, event.params)
          this.#requests.push(request)
          this.#served += 1
          if (this.#served === this.#options.maxRequestsPerConnection) this.#ending = true
          begun = begun === NOTHING ? [request] : [...begun, request]
          break
        }
        case 'stdin':
          this.#queued += event.data.length
          this.#find(event.id)?.input.push(this.#borrowed ? Buffer.from(event.data) : event.data)
          break
        case 'stdin-end':
          this.#find(event.id)?.input.end()
          break
        case 'abort':
          this.#abort(event.id, event.cause)
          break
        case 'reply':
          socket.write(event.data)
          replied = true
          break
        case 'error': {
          const first = memory !== undefined && socket.bytesRead === size
          if (!first || !logWrongProtocol('fastcgi', memory.subarray(0, size))) {
            logEntry(`FastCGI: ${event.message}`)
          }
          this.#writeHeld()
          socket.destroySoon()
        }
      }
    }
    // After all that came with it: a request that is there to its end is answered cheaper.
    for (const request of begun) {
      // Unless it has been aborted in the same breath.
      if (this.#requests.includes(request)) request.start(this.#application)
    }
    if (this.#queued > this.#highWaterMark()) socket.pause()
    const asked = replied || begun.length > 0
    if (asked && socket.writableLength > this.#highWaterMark()) void this.#choke()
    this.#setDeadline()
    this.#closeIfDone()
  }

  /**
   * Reads nothing until the peer has read what waits for it: an answer may be a thousand times as
   * long as its request. Only for who asks anew; a body goes on, for its sender may read behind it.
   */
  async #choke(): Promise<void> {
    if (this.#choked) return
    this.#choked = true
    this.socket.pause()
    await drained(this.socket)
    this.#choked = false
    this.consumed(0)
  }

  /**
   * Set when the waiting begins, so that a peer that sends a byte now and then gains nothing, and
   * `again` while it still reads what was sent: that may take longer than a next request.
   */
  #setDeadline(again = false): void {
    const { headersTimeout = HEADERS_TIMEOUT, idleTimeout = IDLE_TIMEOUT } = this.#options
    const running = this.#requests.length > 0
    const waitingFor = this.protocol.awaitingHead ? 'head' : running ? 'nothing' : 'request'
    if (waitingFor === this.#waitingFor && !again) return
    this.#waitingFor = waitingFor
    this.deadline =
      waitingFor === 'nothing'
        ? Infinity
        : coarseTime() + (waitingFor === 'head' ? headersTimeout : idleTimeout)
  }

  #abort(id: number, cause: AbortCause): void {
    const request = this.#find(id)
    if (request === undefined) return
    request.input.fail(new PeerError('PORTICO_DISCONNECTED', `The request was aborted (${cause})`))
    // A web server that closed its half may still read; one that says ABORT_REQUEST does not.
    if (cause === 'disconnected') {
      request.disconnected()
    } else {
      request.refused = true
      request.abort()
    }
  }

  #find(id: number): ConnectionRequest | undefined {
    return this.#requests.find((request) => request.id === id)
  }

  #highWaterMark(): number {
    const { highWaterMark = HIGH_WATER_MARK } = this.#options
    return this.#requests.length > 1
      ? Math.max(highWaterMark, MULTIPLEXED_HIGH_WATER_MARK)
      : highWaterMark
  }

  #closeIfDone(): void {
    if (this.#held.length > 0) return // Later.
    const { protocol, socket } = this
    const idle = this.#requests.length === 0 && !protocol.awaitingHead
    const done = protocol.closing || (this.#ending && idle)
    if (!done || socket.writableEnded) return
    closeAfterResponse(socket, this.#exhausted && !this.#choked)
  }
}
