/** One SCGI connection: reads the one request on it, runs it, and writes the response. */
import type { Buffer } from 'node:buffer'
import type { Socket } from 'node:net'
import { environFromHeaders } from '../from-params.ts'
import { PeerError, type PeerFault } from '../../errors.ts'
import { OPTIONS } from '../../options/table.ts'
import { joinParts, type Part } from '../../protocol/part.ts'
import { HEADERS_TOO_LARGE, refusalText } from '../../protocol/refusal.ts'
import { RequestReader, type SCGIEvent, type SCGIFault } from '../../protocol/scgi.ts'
import { BodyQueue, type BodyOwner } from '../../request/body-queue.ts'
import type { Application, Environ } from '../../types.ts'
import { abortConnection, closeAfterResponse } from '../closing.ts'
import { coarseTime, HEADERS_TIMEOUT, HIGH_WATER_MARK, MAX_PROBE_FACTOR } from '../deadlines.ts'
import type { Give } from '../connection.ts'
import type { ServerOptions } from '../gateway-server.ts'
import { heldRequest, type HeldRequest } from '../held-request.ts'
import { drained, writeParts } from '../socket-writer.ts'
import { endUnsent } from './stalled-request.ts'
import { logFault } from '../wrong-protocol.ts'

/** The request on a connection, as a handler runs it. */
export interface SCGIRequest {
  readonly environ: Environ | null
  readonly input: BodyQueue | null
  readonly headersSent: boolean
  start(application: Application): void
  abort(): void
  disconnected(reason?: Error): void
  fail(error: Error): Promise<void>
  /** Resolves when the application has stopped reading the body; null if it has not begun. */
  readsOn(): Promise<void> | null
}

/** What the connections of one server share. */
export interface SCGIContext<Options extends ServerOptions = ServerOptions> {
  readonly application: Application
  readonly options: Options
  /** Runs a request; `send` and `endRequest` of the connection take its response. */
  readonly requestHandler: new (
    connection: SCGIConnection,
    environ: Environ,
    input: BodyQueue | null,
    options: Options,
  ) => SCGIRequest
}

/**
 * The responses to faults that a client can cause. Any other fault is the web server's. Then the
 * connection is closed without a response, which becomes a 502; a 400 would blame the client.
 */
const REFUSALS: Readonly<Partial<Record<PeerFault, string>>> = {
  PORTICO_BAD_REQUEST: '400 Bad Request',
  PORTICO_TOO_LARGE: HEADERS_TOO_LARGE,
}

/** One socket, and the request on it. */
export class SCGIConnection implements BodyOwner {
  readonly socket: Socket
  /** When to close the connection if the head of the request is not complete. */
  deadline: number
  readonly #context: SCGIContext
  readonly #reader: RequestReader
  #request: SCGIRequest | null = null
  /** The request body; null without one, or if an empty CONTENT_LENGTH hides it. */
  #input: BodyQueue | null = null
  /** The whole request has arrived. */
  #complete = false
  #responded = false
  /** The response has been sent, and the application goes on reading the body. */
  #readsOn = false
  /** Whether the memory of the latest chunk will be reused, so that kept bytes must be copied. */
  #borrowed = false

  constructor(socket: Socket, context: SCGIContext) {
    this.socket = socket
    this.#context = context
    this.#reader = new RequestReader(
      context.options.maxHeaderBytes ?? OPTIONS.maxHeaderBytes.default.scgi,
    )
    this.deadline = coarseTime() + (context.options.headersTimeout ?? HEADERS_TIMEOUT)
  }

  receive(memory: Buffer, size: number, borrowed: boolean): void {
    if (this.#responded && !this.#readsOn) return
    this.#borrowed = borrowed
    const chunk = memory.subarray(0, size)
    this.#reader.receive(chunk)
    this.#pump(chunk)
  }

  receiveEof(): void {
    if (this.#responded && !this.#readsOn) return
    this.#reader.receiveEof()
    this.#pump()
    // A web server that closed its half may still read the response.
    if (this.#request !== null) this.#request.disconnected()
    else if (!this.#responded) this.socket.destroy()
  }

  closed(): void {
    if (this.#responded && !this.#readsOn) return
    this.#input?.fail(new PeerError('PORTICO_DISCONNECTED', 'The web server closed the connection'))
    this.#request?.abort()
  }

  get idle(): boolean {
    return this.#request === null && !this.#responded
  }

  get requests(): number {
    return this.#request !== null || this.#responded ? 1 : 0
  }

  get receivesBody(): boolean {
    return this.#input !== null && !this.#complete
  }

  get keepsBody(): boolean {
    return this.receivesBody && !this.#input!.gathers
  }

  /** A request that has begun closes the connection when it is done. */
  end(): void {
    if (this.#reader.untouched) this.socket.destroy()
  }

  /** A request that has begun closes the connection when it is done. */
  retire(give: Give): void {
    if (this.#reader.untouched) give(this.socket)
  }

  get active(): number {
    return this.#request === null ? 0 : 1
  }

  held(): HeldRequest[] {
    const request = this.#request
    return request === null ? [] : [heldRequest(request, this.socket, this.#input)]
  }

  bodyStalled(error: PeerError): void {
    if (this.#request === null) this.destroy()
    else endUnsent([this.#request], error)
  }

  destroy(): void {
    this.socket.destroy()
  }

  probePeer(): void {
    if (this.#input === null || !this.socket.isPaused()) return
    if (this.#input.queued < MAX_PROBE_FACTOR * this.#highWaterMark()) this.socket.resume()
  }

  bodyTaken(input: BodyQueue): void {
    if (this.socket.isPaused() && input.queued < this.#highWaterMark()) this.socket.resume()
  }

  /** Sends part of the response. */
  send(parts: readonly Part[]): void | Promise<void> {
    // Only for responses in several parts: otherwise each part would wait until the peer has
    // acknowledged the one before (RFC 9293, section 3.7.4).
    this.socket.setNoDelay(true)
    writeParts(this.socket, joinParts(parts))
    return drained(this.socket)
  }

  /**
   * Sends the end of the response.
   *
   * @param complete false if the response is shorter than its head says, or was aborted
   */
  endRequest(parts: readonly Part[], complete: boolean): void {
    writeParts(this.socket, joinParts(parts))
    const stopped = complete && !this.#complete ? (this.#request?.readsOn() ?? null) : null
    this.#responded = true
    this.#request = null
    if (stopped === null) this.#input?.discard()
    else void this.#readOn(stopped)
    if (complete) closeAfterResponse(this.socket, this.#complete)
    else abortConnection(this.socket)
  }

  /** Passes the body on to an application that goes on reading after its response. */
  async #readOn(stopped: Promise<void>): Promise<void> {
    this.#readsOn = true
    await stopped
    this.#readsOn = false
    this.#input!.discard()
    this.socket.resume()
  }

  /** Handles all events. `chunk` has the latest bytes. */
  #pump(chunk?: Buffer): void {
    let begun: SCGIRequest | null = null
    for (
      let event;
      (!this.#responded || this.#readsOn) && (event = this.#reader.next()) !== null;
    ) {
      switch (event.type) {
        case 'request':
          begun = this.#begin(event, chunk)
          break
        case 'body':
          this.#input?.push(event.data, this.#borrowed)
          break
        case 'body-end':
          this.#complete = true
          this.#input?.end()
          break
        case 'error':
          if (this.idle) this.#refuse(event, chunk)
          else this.#input?.fail(new PeerError(event.code, event.message))
      }
    }
    if (this.#input !== null && this.#input.queued > this.#highWaterMark()) this.socket.pause()
    // Started only now, after all bytes of this chunk: a request whose body is there already costs less.
    begun?.start(this.#context.application)
  }

  /** Makes the request, unless its headers are refused. */
  #begin(event: SCGIEvent & { type: 'request' }, chunk?: Buffer): SCGIRequest | null {
    const { block, start, end, contentLength } = event
    const { options, requestHandler } = this.#context
    this.deadline = Infinity
    const maxHeaders = options.maxHeaders ?? OPTIONS.maxHeaders.default.scgi
    let environ
    try {
      environ = environFromHeaders(block, start, end, maxHeaders)
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      this.#refuse(error, chunk)
      return null
    }
    const declared = environ['CONTENT_LENGTH']
    if (contentLength > 0 && declared !== undefined) {
      if (Number(declared) < contentLength) {
        environ['CONTENT_LENGTH'] = String(contentLength)
      }
      this.#input = new BodyQueue(this, contentLength)
    }
    this.#request = new requestHandler(this, environ, this.#input, options)
    return this.#request
  }

  #highWaterMark(): number {
    return this.#context.options.highWaterMark ?? HIGH_WATER_MARK
  }

  /** Responds to an SCGI request that cannot be served; closes on anything else. */
  #refuse({ code, message }: SCGIFault | PeerError, chunk?: Buffer): void {
    logFault('scgi', this.socket, chunk, message)
    const status = REFUSALS[code]
    this.#responded = true
    if (status === undefined) {
      this.socket.destroy()
      return
    }
    this.socket.write(refusalText(status))
    closeAfterResponse(this.socket, false)
  }
}
