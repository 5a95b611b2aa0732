/**
 * One FastCGI connection: reads requests from its socket, runs them, and writes the responses.
 *
 * `src/protocol/fastcgi-application.ts` has the protocol, without a socket. This file decides when to
 * read, when to write and when to close.
 */
import { Buffer } from 'node:buffer'
import type { Socket } from 'node:net'
import { environFromPairs } from '../from-params.ts'
import { PeerError } from '../../errors.ts'
import { logEntry } from '../../log.ts'
import { OPTIONS } from '../../options/table.ts'
import { ApplicationConnection } from '../../protocol/fastcgi-application.ts'
import type { ApplicationEvent } from '../../protocol/fastcgi-events.ts'
import { FCGI_AUTHORIZER, FCGI_STDERR, headerText } from '../../protocol/fastcgi.ts'
import { NO_PARTS, type Part } from '../../protocol/part.ts'
import { BodyQueue, type BodyOwner } from '../../request/body-queue.ts'
import { closeAfterResponse } from '../closing.ts'
import type { Give } from '../connection.ts'
import { coarseTime, HIGH_WATER_MARK, MAX_PROBE_FACTOR } from '../deadlines.ts'
import { heldRequest, type HeldRequest } from '../held-request.ts'
import { drained, writeParts } from '../socket-writer.ts'
import { BatchedWriter } from '../write-batch.ts'
import { logFault } from '../wrong-protocol.ts'
import type { FastCGIContext, FastCGIRequest, FastCGITransport } from './fastcgi-request.ts'
import { ReadDeadline } from './read-deadline.ts'
import {
  endAborted,
  endClosed,
  endUnread,
  endUnsent,
  multiplexedMark,
  unreadBytes,
} from './stalled-request.ts'

const NO_REQUESTS: FastCGIRequest[] = []

/** One socket, and the requests on it. */
export class FastCGIConnection implements BodyOwner, FastCGITransport {
  readonly socket: Socket
  readonly #protocol: ApplicationConnection
  readonly #context: FastCGIContext
  readonly #deadline: ReadDeadline
  /** An array, because there is usually one. */
  #requests = NO_REQUESTS
  #served = 0
  #ending = false
  /** Set by `retire`: called when the connection is at rest. */
  #give: Give | null = null
  /** Writes the ends of responses together. */
  readonly #ends: BatchedWriter
  /** Whether the memory of the latest chunk will be reused, so that kept bytes must be copied. */
  #borrowed = false
  /** Whether every request has been read to its end, so that no more of them can arrive. */
  #exhausted = true
  /** Reading is paused because the peer sends requests faster than it reads responses. */
  #throttled = false

  constructor(socket: Socket, context: FastCGIContext) {
    this.socket = socket
    this.#context = context
    this.#protocol = new ApplicationConnection(context.protocol)
    this.#deadline = new ReadDeadline(context.options)
    this.#ends = new BatchedWriter(socket, context.batch, () => this.#closeIfDone())
  }

  receive(memory: Buffer, size: number, borrowed: boolean): void {
    // The last response has been sent; another request on a closing socket would truncate it.
    if (this.socket.writableEnded) return
    this.#borrowed = borrowed
    this.#protocol.receive(memory, size)
    this.#pump(memory, size)
  }

  receiveEof(): void {
    this.#protocol.receiveEof()
    this.#pump()
  }

  closed(): void {
    const requests = this.#requests
    this.#requests = NO_REQUESTS
    for (const request of requests) endClosed(request)
  }

  get receivesBody(): boolean {
    return this.#requests.some(({ input }) => input.expected)
  }

  get keepsBody(): boolean {
    return this.#requests.some(({ input }) => !input.ended && !input.gathers)
  }

  end(): void {
    this.#ending = true
    this.#closeIfDone()
  }

  endAfterNext(): void {
    this.#ending = true
  }

  retire(give: Give): void {
    this.#give = give
    this.#closeIfDone()
  }

  bodyStalled(error: PeerError): void {
    endUnsent(this.#requests, error)
  }

  destroy(): void {
    this.#ends.write() // A response that is complete is not lost.
    this.socket.destroy()
  }

  get idle(): boolean {
    return this.#requests.length === 0
  }

  get active(): number {
    return this.#requests.length
  }

  held(): HeldRequest[] {
    return this.#requests.map((request) => heldRequest(request, this.socket, request.input))
  }

  get requests(): number {
    return this.#served
  }

  get deadline(): number {
    return this.#deadline.at
  }

  probePeer(): void {
    const { socket } = this
    if (socket.writableLength > 0) this.#deadline.postpone()
    if (!socket.isPaused() || this.#throttled) return
    endUnread(this.#requests)
    if (unreadBytes(this.#requests) < MAX_PROBE_FACTOR * this.#highWaterMark()) socket.resume()
  }

  send(id: number, parts: readonly Part[], log: string): void | Promise<void> {
    writeParts(this.socket, this.#withLog(id, log, this.#protocol.stdout(id, parts)))
    return drained(this.socket)
  }

  endRequest(
    request: FastCGIRequest,
    parts: readonly Part[],
    log: string,
    complete: boolean,
  ): void {
    if (!request.input.sealed) this.#exhausted = false
    const stopped = complete && !request.input.ended ? request.readsOn() : null
    const truncated = !complete && request.headersSent && !request.refused
    // Closing would truncate the responses to other requests as well.
    if (truncated && this.#requests.length === 1) {
      this.#endTruncated(request, parts, log)
    } else {
      // In this order, because the id is inactive after its end.
      const logged = log === '' ? NO_PARTS : this.#protocol.stderr(request.id, log)
      const status = complete ? 0 : 1
      const end = this.#protocol.end(request.id, parts, status, undefined, stopped !== null)
      this.#ends.add(logged.length === 0 ? end : [...logged, ...end], this.#protocol.closing)
    }
    if (stopped === null) this.#forget(request)
    else void stopped.then(() => this.#forget(request))
  }

  /**
   * Ends a response that is shorter than its head says. Closing without END_REQUEST is the only way
   * that web servers notice: nginx and Apache take any END_REQUEST for the end of a complete response,
   * whatever its appStatus.
   */
  #endTruncated(request: FastCGIRequest, parts: readonly Part[], log: string): void {
    this.#ends.write()
    const records = this.#protocol.stdout(request.id, parts)
    // Ends STDERR, because HAProxy crashes on a STDERR record without another one after it.
    if (log !== '') records.unshift(headerText(FCGI_STDERR, request.id, 0))
    writeParts(this.socket, this.#withLog(request.id, log, records))
    // Apache still writes the end of STDIN. If that fails, it discards the head that it has received
    // and responds with a 503.
    closeAfterResponse(this.socket, this.#exhausted)
  }

  #withLog(id: number, log: string, records: Part[]): Part[] {
    return log === '' ? records : [...this.#protocol.stderr(id, log), ...records]
  }

  /** The request has ended, and its body is not read any more. */
  #forget(request: FastCGIRequest): void {
    const requests = this.#requests
    if (!requests.includes(request)) return
    request.input.discard()
    this.#protocol.stopReading(request.id)
    if (requests.at(-1) === request) requests.pop()
    else this.#requests = requests.filter((other) => other !== request)
    this.#deadline.requestEnded()
    this.#updateDeadline()
    this.#readOn()
    this.#closeIfDone()
  }

  /** Handles all events. The latest bytes are the first `size` of `memory`. */
  #pump(memory?: Buffer, size = 0): void {
    let begun = NO_REQUESTS
    let replied = false
    for (let event; (event = this.#protocol.next()) !== null;) {
      switch (event.type) {
        case 'request': {
          const request = this.#begin(event)
          if (request !== null) begun = begun === NO_REQUESTS ? [request] : [...begun, request]
          break
        }
        case 'stdin':
          this.#find(event.id)?.input.push(event.data, this.#borrowed)
          break
        case 'stdin-end':
          this.#find(event.id)?.input.end()
          break
        case 'abort': {
          const request = this.#find(event.id)
          if (request !== undefined) endAborted(request, event.cause)
          break
        }
        case 'reply':
          this.socket.write(event.data)
          if (event.refused !== undefined) this.#logRefusal(event.refused)
          replied = true
          break
        case 'error':
          this.#closeOnFault(event.message, memory?.subarray(0, size))
      }
    }
    // Started only now, after all bytes of this chunk: a request whose body is there already costs less.
    for (const request of begun) {
      // Unless the same chunk contained an ABORT_REQUEST.
      if (this.#requests.includes(request)) request.start(this.#context.application)
    }
    if (unreadBytes(this.#requests) > this.#highWaterMark()) this.socket.pause()
    const asked = replied || begun.length > 0
    if (asked && this.socket.writableLength > this.#highWaterMark()) void this.#throttle()
    this.#updateDeadline()
    this.#closeIfDone()
  }

  /** Makes the request, unless its PARAMS are refused. */
  #begin(event: ApplicationEvent & { type: 'request' }): FastCGIRequest | null {
    const { id, role, block, start, end } = event
    const { options, requestHandler } = this.#context
    const maxHeaders = options.maxHeaders ?? OPTIONS.maxHeaders.default.fastcgi
    let environ
    try {
      environ = environFromPairs(block, start, end, maxHeaders)
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      if (error.code === 'PORTICO_PROTOCOL') return this.#protocol.rejectParams(id)
      writeParts(this.socket, [this.#protocol.refuse(id, error.status)])
      this.#logRefusal(`Request ${id}: ${error.message}`)
      return null
    }
    // As in libfcgi, for an application that serves both roles.
    if (role === FCGI_AUTHORIZER) environ['FCGI_ROLE'] = 'AUTHORIZER'
    const input = new BodyQueue(this, Number(environ['CONTENT_LENGTH']))
    input.lastRead = coarseTime()
    if (role === FCGI_AUTHORIZER) input.end() // It gets no STDIN (section 6.3).
    const ended = this.#find(id)
    const request = new requestHandler(this, id, environ, input, options)
    if (this.#requests === NO_REQUESTS) this.#requests = [request]
    else this.#requests.push(request)
    if (++this.#served === options.maxRequestsPerConnection) this.#ending = true
    if (ended !== undefined) this.#forget(ended) // No more of its body can arrive.
    return request
  }

  /** A request was refused before all of it has arrived. */
  #logRefusal(message: string): void {
    this.#exhausted = false
    logEntry(`FastCGI: ${message}`)
  }

  /** Closes the connection because the peer broke the protocol. */
  #closeOnFault(message: string, chunk: Buffer | undefined): void {
    logFault('fastcgi', this.socket, chunk, message)
    this.#ends.write()
    this.socket.destroySoon()
  }

  bodyTaken(input: BodyQueue): void {
    input.lastRead = coarseTime()
    this.#readOn()
  }

  /** Resumes reading if it was paused for an unread body and enough of that has been read. */
  #readOn(): void {
    if (this.#throttled || !this.socket.isPaused()) return
    if (unreadBytes(this.#requests) < this.#highWaterMark()) this.socket.resume()
  }

  #highWaterMark(): number {
    const { highWaterMark = HIGH_WATER_MARK } = this.#context.options
    return this.#requests.length > 1 ? multiplexedMark(highWaterMark) : highWaterMark
  }

  /**
   * Stops reading until the peer has read the waiting responses, because a response may be a thousand
   * times as long as its request. Only for peers that send new requests: a body is still read, because
   * its sender may read the response only after sending it.
   */
  async #throttle(): Promise<void> {
    if (this.#throttled) return
    this.#throttled = true
    this.socket.pause()
    await drained(this.socket)
    this.#throttled = false
    this.#readOn()
  }

  #updateDeadline(): void {
    this.#deadline.expect(this.#protocol.awaitingHead ? 'head' : this.idle ? 'request' : 'nothing')
  }

  #find(id: number): FastCGIRequest | undefined {
    return this.#requests.find((request) => request.id === id)
  }

  #closeIfDone(): void {
    if (this.#ends.pending) return // It calls this again.
    const { awaitingHead, closing } = this.#protocol
    const atRest = this.idle && !awaitingHead
    const done = closing || (this.#ending && atRest)
    if (this.socket.writableEnded) return
    if (done) closeAfterResponse(this.socket, this.#exhausted && !this.#throttled)
    else if (atRest && this.#give !== null) this.#giveAway(this.#give)
  }

  /** Records for ended requests may follow; the other process ignores them as well. */
  #giveAway(give: Give): void {
    this.#give = null
    if (this.socket.writableLength === 0) give(this.socket)
    // The peer may begin a request meanwhile, so this looks again.
    else this.socket.write('', () => this.retire(give))
  }
}
