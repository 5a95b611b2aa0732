/**
 * The application's side of a FastCGI connection (sections 3.3, 4, 5 and 6), without a socket: bytes
 * from the web server go in, events come out, and `stdout`, `stderr` and `end` return bytes to send.
 *
 * `fastcgi-states.ts` says what each record may do to a request.
 */
import { Buffer } from 'node:buffer'
import {
  encodeStream,
  endRequestText,
  FCGI_ABORT_REQUEST,
  FCGI_BEGIN_REQUEST,
  FCGI_HEADER_LEN,
  FCGI_NULL_REQUEST_ID,
  FCGI_PARAMS,
  FCGI_REQUEST_COMPLETE,
  FCGI_STDERR,
  FCGI_STDIN,
  FCGI_STDOUT,
  FCGI_UNKNOWN_TYPE,
  headerText,
  refusedParamsText,
} from './fastcgi.ts'
import { BEGIN_SIZE, beginRequest, refusalOf } from './fastcgi-begin.ts'
import type { AbortCause, ApplicationEvent, ApplicationOptions } from './fastcgi-events.ts'
import { encodeLog } from './fastcgi-log.ts'
import { replyToManagement, unknownType, type ManagementValues } from './fastcgi-management.ts'
import { MAX_PARAMS_BYTES } from './fastcgi-pairs.ts'
import { RecordReader } from './fastcgi-records.ts'
import {
  ABORT,
  ABORTED,
  type ActiveRequest,
  anyInParams,
  END_OF_PARAMS,
  END_OF_STDIN,
  findRequest,
  IN_PARAMS,
  IN_STDIN,
  PARAMS,
  STDIN,
  takeRequest,
} from './fastcgi-states.ts'
import { NO_PARTS, type Part } from './part.ts'
import { HEADERS_TOO_LARGE } from './refusal.ts'

/** Requests in flight on one connection: each may hold PARAMS up to its limit. */
export const MAX_ACTIVE = 64

/**
 * Call `receive()` with a chunk, then `next()` until it returns null. Write what `stdout`, `stderr`,
 * `end` and `refuse` return in the order of the calls. After each reply, and after each end of a
 * request, `closing` says whether to close the connection once everything is written.
 *
 * A chunk is only borrowed, and so is what the events hold of it: its memory may be used again when
 * `next()` has returned null.
 */
export class ApplicationConnection {
  readonly #reader = new RecordReader()
  /** The active requests, usually one. Searching an array is cheaper than a Map. */
  readonly #requests: ActiveRequest[] = []
  /** The request whose PARAMS are still in the chunk that is being read. */
  #unsaved: ActiveRequest | null = null
  readonly #values: ManagementValues
  readonly #maxActive: number
  readonly #maxParamsBytes: number

  /** A request without KEEP_CONN has ended: the connection ends when none is in flight. */
  #last = false
  #eof = false
  /** The remaining events, once nothing more is read. */
  #farewell: ApplicationEvent[] | null = null
  #broken = false

  constructor(options: ApplicationOptions = {}) {
    const { multiplex = true, maxConns, maxReqs } = options
    this.#values = { multiplex, maxConns, maxReqs }
    this.#maxActive = options.maxActive ?? MAX_ACTIVE
    this.#maxParamsBytes = options.maxParamsBytes ?? MAX_PARAMS_BYTES
  }

  /** The ids between BEGIN_REQUEST and END_REQUEST. */
  get active(): number[] {
    return this.#requests.map(({ id }) => id)
  }

  /**
   * Whether the head of a request has begun and is not complete. A time limit applies to it, but not
   * to a slow body.
   */
  get awaitingHead(): boolean {
    return this.#requests.length === 0 ? this.#reader.insideRecord : anyInParams(this.#requests)
  }

  /** Whether to close the connection once everything is written: nothing can follow on it. */
  get closing(): boolean {
    return this.#broken || (this.#requests.length === 0 && (this.#last || this.#farewell !== null))
  }

  /** Takes the first `size` bytes of `chunk`. */
  receive(chunk: Buffer, size = chunk.length): void {
    if (this.#farewell === null) this.#reader.receive(chunk, size)
  }

  /**
   * The web server will send no more. `next()` returns what it did send, then an abort for every
   * request in flight. It may still read, so responses are still sent.
   */
  receiveEof(): void {
    this.#eof = true
  }

  next(): ApplicationEvent | null {
    while (this.#farewell === null && this.#reader.read()) {
      const event = this.#handleRecord()
      if (event !== null) return event
    }
    this.#save()
    if (this.#farewell === null && this.#reader.fault !== null) this.#fail(this.#reader.fault)
    if (this.#farewell === null && this.#eof) this.#handleEof()
    return this.#farewell?.shift() ?? null
  }

  /** A web server may close inside a body: the client is gone, or the response came before its end. */
  #handleEof(): void {
    const inHead = this.#requests.length > 0 || this.#reader.type !== FCGI_STDIN
    if (!this.awaitingHead || !inHead) this.#farewell = this.#abortAll('disconnected')
    else this.#fail('The connection ended inside the head of a request')
  }

  #handleRecord(): ApplicationEvent | null {
    const { type, id } = this.#reader
    if (id === FCGI_NULL_REQUEST_ID) return this.#handleManagement(type)
    if (type === FCGI_BEGIN_REQUEST) this.stopReading(id)
    const request = findRequest(this.#requests, id)
    if (request === undefined) return type === FCGI_BEGIN_REQUEST ? this.#begin(id) : null
    const empty = this.#reader.start === this.#reader.end
    switch (type) {
      case FCGI_PARAMS:
        return this.#handleParams(request, empty)
      case FCGI_STDIN:
        return this.#handleStdin(request, empty)
      case FCGI_ABORT_REQUEST:
        return this.#handleAbort(request)
      default:
        // A second BEGIN_REQUEST may be part of a body (HAProxy's mux-fcgi once truncated lengths to 16
        // bits), and must not run. DATA is for the role Filter. Only an application sends the others.
        return type < FCGI_BEGIN_REQUEST || type > FCGI_UNKNOWN_TYPE
          ? this.#reply(unknownType(type))
          : this.#fail(`Record of type ${type} for request ${id}, which is active`)
    }
  }

  #advance(request: ActiveRequest, step: number): boolean {
    const fault = request.advance(step)
    if (fault !== null) this.#fail(fault)
    return fault === null
  }

  #begin(id: number): ApplicationEvent | null {
    const { bytes, start, end } = this.#reader
    if (end - start !== BEGIN_SIZE) return this.#fail(`BEGIN_REQUEST of ${end - start} bytes`)
    const request = beginRequest(id, bytes, start)
    const refusal = refusalOf(request, this.#requests, this.#values.multiplex, this.#maxActive)
    if (refusal !== null) return this.#refuse(id, request.keepConn, refusal)
    this.#requests.push(request)
    return null
  }

  #handleParams(request: ActiveRequest, empty: boolean): ApplicationEvent | null {
    const { id, state } = request
    if (!this.#advance(request, empty ? END_OF_PARAMS : PARAMS) || state === ABORTED) return null
    if (empty) return this.#announce(request)
    const { bytes, start, end } = this.#reader
    // Headers count as well, so that a flood of tiny records reaches the limit.
    request.paramsBytes += FCGI_HEADER_LEN + end - start
    if (request.paramsBytes > this.#maxParamsBytes) {
      this.#finish(id, request.keepConn)
      const refused = `The PARAMS of request ${id} have more than ${this.#maxParamsBytes} bytes`
      return {
        ...this.#reply(Buffer.from(refusedParamsText(id, HEADERS_TOO_LARGE), 'latin1')),
        refused,
      }
    }
    // Only one request at a time may have PARAMS that are not copied.
    if (this.#unsaved !== request) this.#save()
    if (request.addParams(bytes, start, end)) this.#unsaved = request
    else this.#unsaved = null
    return null
  }

  /** Copies the PARAMS that are borrowed, if there are any. */
  #save(): void {
    this.#unsaved?.saveParams()
    this.#unsaved = null
  }

  /** The PARAMS of `request` are complete. */
  #announce(request: ActiveRequest): ApplicationEvent {
    const { id, role, keepConn } = request
    if (request === this.#unsaved) this.#unsaved = null
    const { block, start, end } = request.takeParams()
    return { type: 'request', id, role, keepConn, block, start, end }
  }

  #handleStdin(request: ActiveRequest, empty: boolean): ApplicationEvent | null {
    const { id, state } = request
    if (!this.#advance(request, empty ? END_OF_STDIN : STDIN) || state === ABORTED) return null
    if (empty) {
      this.stopReading(id)
      return { type: 'stdin-end', id }
    }
    const { bytes, start, end } = this.#reader
    return { type: 'stdin', id, data: bytes.subarray(start, end) }
  }

  #handleAbort(request: ActiveRequest): ApplicationEvent | null {
    const { id, state, keepConn } = request
    if (!this.#advance(request, ABORT) || state === ABORTED) return null
    // The application does not know a request without complete PARAMS, so it cannot end it.
    if (state === IN_PARAMS) return this.#refuse(id, keepConn, FCGI_REQUEST_COMPLETE)
    return { type: 'abort', id, cause: 'abort-request' }
  }

  #handleManagement(type: number): ApplicationEvent | null {
    const { bytes, start, end } = this.#reader
    const reply = replyToManagement(type, bytes.subarray(start, end), this.#values)
    return reply === null ? this.#fail('Malformed GET_VALUES') : this.#reply(reply)
  }

  /** Ends a request that the application does not know. Later records for its id are ignored. */
  #refuse(id: number, keepConn: boolean, protocolStatus: number): ApplicationEvent {
    this.#finish(id, keepConn)
    return this.#reply(Buffer.from(endRequestText(id, 0, protocolStatus), 'latin1'))
  }

  #reply(data: Buffer): ApplicationEvent & { type: 'reply' } {
    return { type: 'reply', data, close: this.closing }
  }

  /** Frees the id. Without KEEP_CONN, the connection takes no further request (section 5.1). */
  #finish(id: number, keepConn: boolean): void {
    this.#remove(id)
    if (!keepConn) this.#last = true
    // If other requests are in flight, it closes after the last of them.
    if (this.#last && this.#requests.length === 0) this.#farewell ??= []
  }

  /** The PARAMS of request `id` are malformed: `next()` returns aborts and an error. */
  rejectParams(id: number): null {
    this.#remove(id)
    return this.#fail(`Malformed PARAMS of request ${id}`)
  }

  /** Ends request `id`, whose PARAMS the caller does not accept. Returns the bytes to send. */
  refuse(id: number, status: string): Part {
    this.#finish(id, this.#announced(id).keepConn)
    return refusedParamsText(id, status)
  }

  #fail(message: string): null {
    this.#broken = true
    this.#farewell = [...this.#abortAll('protocol-error'), { type: 'error', message }]
    return null
  }

  #abortAll(cause: AbortCause): ApplicationEvent[] {
    const aborts: ApplicationEvent[] = []
    for (const request of this.#requests.slice()) {
      if (request.state === IN_PARAMS) {
        this.#remove(request.id)
      } else if (request.state !== ABORTED) {
        request.state = ABORTED
        aborts.push({ type: 'abort', id: request.id, cause })
      }
    }
    return aborts
  }

  /** A part of the response, head or body (see `encodeStream`). An empty one sends nothing. */
  stdout(id: number, parts: readonly Part[]): Part[] {
    this.#announced(id)
    return encodeStream(FCGI_STDOUT, id, parts)
  }

  /** Text for the web server's error log, sent as UTF-8. */
  stderr(id: number, text: string): Part[] {
    const request = this.#announced(id)
    request.usedStderr ||= text !== ''
    return encodeLog(id, text)
  }

  /**
   * The last part of the response, the ends of the streams and END_REQUEST. The web server may use
   * the id again at once.
   *
   * @param appStatus what a CGI program would exit with (section 6.2)
   * @param readsOn whether `next()` still returns what arrives of the body, until `stopReading()`
   */
  end(
    id: number,
    parts: readonly Part[] = NO_PARTS,
    appStatus = 0,
    protocolStatus = FCGI_REQUEST_COMPLETE,
    readsOn = false,
  ): Part[] {
    const request = this.#announced(id)
    request.responded = readsOn && request.state === IN_STDIN
    if (!request.responded) this.#finish(id, request.keepConn)
    const endOfStderr = request.usedStderr ? headerText(FCGI_STDERR, id, 0) : ''
    // The end of STDOUT is sent even if nothing was written on it (section 6.1).
    const endOfStdout = headerText(FCGI_STDOUT, id, 0)
    const ends = endOfStderr + endOfStdout + endRequestText(id, appStatus, protocolStatus)
    return encodeStream(FCGI_STDOUT, id, parts, ends)
  }

  /** The rest of the body of a request that has ended is ignored. */
  stopReading(id: number): void {
    const request = findRequest(this.#requests, id)
    if (!request?.responded) return
    this.#remove(id)
    this.#last ||= !request.keepConn
  }

  #remove(id: number): void {
    const request = takeRequest(this.#requests, id)
    if (request !== null && request === this.#unsaved) this.#unsaved = null
  }

  /** A request that the application may respond to. Any other id is a mistake of the caller. */
  #announced(id: number): ActiveRequest {
    const request = findRequest(this.#requests, id)
    if (request === undefined || request.state === IN_PARAMS) {
      throw new Error(`FastCGI request ${id} is not active`)
    }
    return request
  }
}
