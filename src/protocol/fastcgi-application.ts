/**
 * The application side of a FastCGI connection (sections 3.3, 4, 5 and 6), without a socket: what
 * the web server sends goes in, events come out, and the verbs of sending return bytes to write.
 *
 * What a record may do to a request stands in `fastcgi-states.ts`.
 */
import { Buffer } from 'node:buffer'
import {
  FCGI_ABORT_REQUEST,
  FCGI_AUTHORIZER,
  FCGI_BEGIN_REQUEST,
  FCGI_CANT_MPX_CONN,
  FCGI_GET_VALUES,
  FCGI_GET_VALUES_RESULT,
  FCGI_HEADER_LEN,
  FCGI_KEEP_CONN,
  FCGI_MAX_CONNS,
  FCGI_MAX_REQS,
  FCGI_MPXS_CONNS,
  FCGI_NULL_REQUEST_ID,
  FCGI_OVERLOADED,
  FCGI_PARAMS,
  FCGI_REQUEST_COMPLETE,
  FCGI_RESPONDER,
  FCGI_STDERR,
  FCGI_STDIN,
  FCGI_STDOUT,
  FCGI_UNKNOWN_ROLE,
  FCGI_UNKNOWN_TYPE,
  MAX_CONTENT,
  MAX_PARAMS,
  MAX_PARAMS_BYTES,
  decodePairs,
  encodeEndRequest,
  encodePairs,
  encodeRecord,
  encodeStream,
  endText,
  headerText,
  type PairsFault,
  type Part,
} from './fastcgi.ts'
import { RecordReader } from './fastcgi-records.ts'
import {
  ABORT,
  ABORTED,
  ActiveRequest,
  END_OF_PARAMS,
  END_OF_STDIN,
  IN_PARAMS,
  PARAMS,
  STDIN,
} from './fastcgi-states.ts'

/** Requests in flight on one connection: each may hold PARAMS up to its limit. */
export const MAX_ACTIVE = 64

/** Reads a complete block of PARAMS, the pairs between `start` and `end`. */
export type DecodeParams<Params> = (
  block: Buffer,
  start: number,
  end: number,
  maxPairs: number,
) => Params | PairsFault

export interface ApplicationOptions<Params = string[]> {
  /** Makes the `params` of the 'request' event. Default: `decodePairs`, `[name, value, …]`. */
  readonly decodeParams?: DecodeParams<Params> | undefined
  /** False refuses a second request while one is active, with CANT_MPX_CONN. Default: true. */
  readonly multiplex?: boolean | undefined
  /** Requests in flight on this connection; one more is refused with OVERLOADED. Default: 64. */
  readonly maxActive?: number | undefined
  /** Bytes of PARAMS records of a request, headers included; more: OVERLOADED. Default: 1 MiB. */
  readonly maxParamsBytes?: number | undefined
  /** Pairs in the PARAMS of a request; more: OVERLOADED. Default: 10,000. */
  readonly maxParams?: number | undefined
  /** The answer to FCGI_MAX_CONNS; left unanswered if not set. */
  readonly maxConns?: number | undefined
  /** The answer to FCGI_MAX_REQS; left unanswered if not set. */
  readonly maxReqs?: number | undefined
}

/** Why a request was aborted: by ABORT_REQUEST, by the end of the connection, by a fault on it. */
export type AbortCause = 'abort-request' | 'disconnected' | 'protocol-error'

export type ApplicationEvent<Params = string[]> =
  /** PARAMS are complete. */
  | {
      readonly type: 'request'
      readonly id: number
      readonly role: number
      readonly keepConn: boolean
      readonly params: Params
    }
  /** A piece of the body, a view of the chunk it came in. */
  | { readonly type: 'stdin'; readonly id: number; readonly data: Buffer }
  | { readonly type: 'stdin-end'; readonly id: number }
  /** Given once for a request that was announced; it stays active until `end()` or `answer()`. */
  | { readonly type: 'abort'; readonly id: number; readonly cause: AbortCause }
  /** Bytes to send that need no application; `close` is `closing` as it is after them. */
  | { readonly type: 'reply'; readonly data: Buffer; readonly close: boolean }
  /** The peer broke the protocol: the last event of all, the connection has to be closed. */
  | { readonly type: 'error'; readonly message: string }

const listOfPairs: DecodeParams<string[]> = (block, start, end, maxPairs) =>
  decodePairs(block.subarray(start, end), maxPairs)

/**
 * `receive()` a chunk, then `next()` until it gives null; what the sending verbs return is written
 * in the order of the calls. After each reply, and after each end of a request, `closing` tells
 * whether the connection has to be closed once everything is written.
 *
 * A chunk is only borrowed: its memory may be used again when `next()` has returned null, unless
 * it came back as the data of a 'stdin' event.
 */
export class ApplicationConnection<Params = string[]> {
  readonly #reader = new RecordReader()
  /** Those that are active. A list, for there is mostly one: a Map costs more than looking. */
  readonly #requests: ActiveRequest[] = []
  readonly #decodeParams: DecodeParams<Params>
  /** The request whose PARAMS are still where they came, in the chunk that is being read. */
  #unsaved: ActiveRequest | null = null
  readonly #multiplex: boolean
  readonly #maxActive: number
  readonly #maxParamsBytes: number
  readonly #maxParams: number
  readonly #maxConns: number | undefined
  readonly #maxReqs: number | undefined

  /** A request without KEEP_CONN has ended: the connection ends when none is in flight. */
  #last = false
  #eof = false
  /** The events left to give out once nothing more is read. */
  #farewell: ApplicationEvent<Params>[] | null = null
  #broken = false

  constructor(options: ApplicationOptions<Params> = {}) {
    this.#decodeParams = options.decodeParams ?? (listOfPairs as DecodeParams<never>)
    this.#multiplex = options.multiplex ?? true
    this.#maxActive = options.maxActive ?? MAX_ACTIVE
    this.#maxParamsBytes = options.maxParamsBytes ?? MAX_PARAMS_BYTES
    this.#maxParams = options.maxParams ?? MAX_PARAMS
    this.#maxConns = options.maxConns
    this.#maxReqs = options.maxReqs
  }

  /** The ids between BEGIN_REQUEST and END_REQUEST. */
  get active(): number[] {
    return this.#requests.map(({ id }) => id)
  }

  /**
   * Whether the head of a request has begun and is not complete, which is what a time limit is for.
   * A body that comes slowly does not count.
   */
  get awaitingHead(): boolean {
    const requests = this.#requests
    if (requests.length === 0) return this.#reader.insideRecord
    for (let i = 0; i < requests.length; i++) if (requests[i]!.state === IN_PARAMS) return true
    return false
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
   * The web server will send no more: an abort for every request in flight, behind what it did
   * send. It may still read, so that answers are worth sending.
   */
  receiveEof(): void {
    this.#eof = true
  }

  /** No 'stdin' or 'stdin-end' events any more for this request. */
  discardInput(id: number): void {
    this.#announced(id).wantsInput = false
  }

  next(): ApplicationEvent<Params> | null {
    while (this.#farewell === null && this.#reader.read()) {
      const event = this.#handleRecord()
      if (event !== null) return event
    }
    this.#save()
    if (this.#farewell === null && this.#reader.fault !== null) this.#fail(this.#reader.fault)
    if (this.#farewell === null && this.#eof) this.#handleEof()
    return this.#farewell?.shift() ?? null
  }

  #handleEof(): void {
    if (this.#reader.insideRecord || this.awaitingHead) {
      this.#fail('The connection ended inside a record or the PARAMS of a request')
    } else {
      this.#farewell = this.#abortAll('disconnected')
    }
  }

  #handleRecord(): ApplicationEvent<Params> | null {
    const { type, id } = this.#reader
    if (id === FCGI_NULL_REQUEST_ID) return this.#handleManagement(type)
    const request = this.#find(id)
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
        // A second BEGIN_REQUEST may be a body read as records by mistake (HAProxy's mux-fcgi once
        // cut lengths to 16 bits) and must not run. DATA is a Filter's; the rest only we may send.
        return type < FCGI_BEGIN_REQUEST || type > FCGI_UNKNOWN_TYPE
          ? this.#unknownType(type)
          : this.#fail(`Record of type ${type} for request ${id}, which is active`)
    }
  }

  #advance(request: ActiveRequest, step: number): boolean {
    const fault = request.advance(step)
    if (fault !== null) this.#fail(fault)
    return fault === null
  }

  #begin(id: number): ApplicationEvent<Params> | null {
    const { bytes, start, end } = this.#reader
    if (end - start !== 8) return this.#fail(`BEGIN_REQUEST of ${end - start} bytes`)
    const role = (bytes[start]! << 8) | bytes[start + 1]!
    const keepConn = (bytes[start + 2]! & FCGI_KEEP_CONN) !== 0
    const active = this.#requests.length
    if (active > 0 && !this.#multiplex) return this.#refuse(id, keepConn, FCGI_CANT_MPX_CONN)
    if (active >= this.#maxActive) return this.#refuse(id, keepConn, FCGI_OVERLOADED)
    if (role !== FCGI_RESPONDER && role !== FCGI_AUTHORIZER) {
      return this.#refuse(id, keepConn, FCGI_UNKNOWN_ROLE)
    }
    this.#requests.push(new ActiveRequest(id, role, keepConn))
    return null
  }

  #handleParams(request: ActiveRequest, empty: boolean): ApplicationEvent<Params> | null {
    const { id, state } = request
    if (!this.#advance(request, empty ? END_OF_PARAMS : PARAMS) || state === ABORTED) return null
    if (empty) return this.#announce(request)
    const { bytes, start, end } = this.#reader
    // Headers count, so that a flood of tiny records meets the limit as well.
    request.paramsBytes += FCGI_HEADER_LEN + end - start
    if (request.paramsBytes > this.#maxParamsBytes) {
      return this.#refuse(id, request.keepConn, FCGI_OVERLOADED)
    }
    if (request.chunk === null && request.gathered === null) {
      // All of them are mostly one record in one chunk, which need not be copied.
      this.#save()
      this.#unsaved = request
      request.chunk = bytes
      request.start = start
      request.end = end
    } else {
      if (request === this.#unsaved) this.#save()
      request.gathered!.append(bytes, start, end)
    }
    return null
  }

  /** Copies the PARAMS that are borrowed, if any. */
  #save(): void {
    this.#unsaved?.saveParams()
    this.#unsaved = null
  }

  #announce(request: ActiveRequest): ApplicationEvent<Params> | null {
    const { id, role, keepConn } = request
    const params = this.#takeParams(request)
    if (params === 'malformed') {
      // Gone before the others are told: the application has not heard of this one.
      this.#remove(id)
      return this.#fail(`Malformed PARAMS of request ${id}`)
    }
    if (params === 'too many') return this.#refuse(id, keepConn, FCGI_OVERLOADED)
    return { type: 'request', id, role, keepConn, params }
  }

  #takeParams(request: ActiveRequest): Params | PairsFault {
    const { chunk, start, end, gathered } = request
    if (request === this.#unsaved) this.#unsaved = null
    request.chunk = request.gathered = null
    if (chunk !== null) return this.#decodeParams(chunk, start, end, this.#maxParams)
    const bytes = gathered?.bytes() ?? this.#reader.bytes
    return this.#decodeParams(bytes, 0, gathered?.length ?? 0, this.#maxParams)
  }

  #handleStdin(request: ActiveRequest, empty: boolean): ApplicationEvent<Params> | null {
    const { id, state, wantsInput } = request
    if (!this.#advance(request, empty ? END_OF_STDIN : STDIN)) return null
    if (state === ABORTED || !wantsInput) return null
    if (empty) return { type: 'stdin-end', id }
    const { bytes, start, end } = this.#reader
    return { type: 'stdin', id, data: bytes.subarray(start, end) }
  }

  #handleAbort(request: ActiveRequest): ApplicationEvent<Params> | null {
    const { id, state, keepConn } = request
    if (!this.#advance(request, ABORT) || state === ABORTED) return null
    // Nobody but us knows of a request without complete PARAMS: nobody else can end it.
    if (state === IN_PARAMS) return this.#refuse(id, keepConn, FCGI_REQUEST_COMPLETE)
    return { type: 'abort', id, cause: 'abort-request' }
  }

  #handleManagement(type: number): ApplicationEvent<Params> | null {
    // Also a BEGIN_REQUEST with id 0: there it is no application record (section 3.3).
    if (type !== FCGI_GET_VALUES) return this.#unknownType(type)
    const { bytes, start, end } = this.#reader
    const asked = decodePairs(bytes.subarray(start, end), MAX_CONTENT)
    if (typeof asked === 'string') return this.#fail('Malformed GET_VALUES')
    // Each name once, however often it was asked for: the answer is one record.
    const answered = new Map<string, string>()
    for (let i = 0; i < asked.length; i += 2) {
      const value = this.#valueOf(asked[i]!)
      if (value !== undefined) answered.set(asked[i]!, String(value))
    }
    return this.#reply(encodeRecord(FCGI_GET_VALUES_RESULT, 0, encodePairs(answered)))
  }

  #valueOf(name: string): number | undefined {
    switch (name) {
      case FCGI_MAX_CONNS:
        return this.#maxConns
      case FCGI_MAX_REQS:
        return this.#maxReqs
      case FCGI_MPXS_CONNS:
        return this.#multiplex ? 1 : 0
      default:
        return undefined
    }
  }

  #unknownType(type: number): ApplicationEvent<Params> {
    const content = Buffer.alloc(8)
    content[0] = type
    return this.#reply(encodeRecord(FCGI_UNKNOWN_TYPE, 0, content))
  }

  /** Ends a request of which the application has not heard; what follows for its id is ignored. */
  #refuse(id: number, keepConn: boolean, protocolStatus: number): ApplicationEvent<Params> {
    this.#finish(id, keepConn)
    return this.#reply(encodeEndRequest(id, 0, protocolStatus))
  }

  #reply(data: Buffer): ApplicationEvent<Params> {
    return { type: 'reply', data, close: this.closing }
  }

  /** The id is free again; without KEEP_CONN the connection is not (section 5.1). */
  #finish(id: number, keepConn: boolean): void {
    this.#remove(id)
    if (!keepConn) this.#last = true
    // With others still in flight it closes behind the last of them.
    if (this.#last && this.#requests.length === 0) this.#farewell ??= []
  }

  #fail(message: string): null {
    this.#broken = true
    this.#farewell = [...this.#abortAll('protocol-error'), { type: 'error', message }]
    return null
  }

  #abortAll(cause: AbortCause): ApplicationEvent<Params>[] {
    const aborts: ApplicationEvent<Params>[] = []
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

  /** Part of the answer (see `encodeStream`); no buffers for no bytes. */
  stdout(id: number, pieces: readonly Part[]): Part[] {
    this.#announced(id)
    return encodeStream(FCGI_STDOUT, id, pieces)
  }

  /** Text for the web server's error log, sent as UTF-8. */
  stderr(id: number, text: string): Part[] {
    const request = this.#announced(id)
    request.usedStderr ||= text !== ''
    return encodeStream(FCGI_STDERR, id, [Buffer.from(text)])
  }

  /**
   * Ends the answer: the ends of the streams and END_REQUEST. The id may be begun again at once.
   * `appStatus` is what a CGI program would exit with (section 6.2).
   */
  end(id: number, appStatus = 0, protocolStatus = FCGI_REQUEST_COMPLETE): Buffer {
    return Buffer.from(this.#end(id, appStatus, protocolStatus), 'latin1')
  }

  /** The last part of the answer, and what `end()` sends. */
  stdoutEnd(id: number, pieces: readonly Part[], appStatus = 0): Part[] {
    return encodeStream(FCGI_STDOUT, id, pieces, this.#end(id, appStatus, FCGI_REQUEST_COMPLETE))
  }

  /**
   * A whole small answer in one piece: STDOUT with `head` and `body`, then what `end()` sends. All
   * are byte strings, which for so few bytes cost less to put together than a Buffer. Throws a
   * RangeError if both are more than 65,535 bytes together.
   */
  answer(id: number, head: string, body: string, appStatus = 0): string {
    const length = head.length + body.length
    if (length > MAX_CONTENT) throw new RangeError(`${length} bytes are not a small answer`)
    const stdout = length === 0 ? '' : headerText(FCGI_STDOUT, id, length) + head + body
    return stdout + this.#end(id, appStatus, FCGI_REQUEST_COMPLETE)
  }

  #end(id: number, appStatus: number, protocolStatus: number): string {
    const { usedStderr, keepConn } = this.#announced(id)
    this.#finish(id, keepConn)
    const endOfStderr = usedStderr ? headerText(FCGI_STDERR, id, 0) : ''
    // The end of STDOUT is sent even when nothing was written on it (section 6.1).
    return endOfStderr + endText(id, appStatus, protocolStatus)
  }

  #find(id: number): ActiveRequest | undefined {
    const requests = this.#requests
    for (let i = 0; i < requests.length; i++) if (requests[i]!.id === id) return requests[i]
    return undefined
  }

  #remove(id: number): void {
    const requests = this.#requests
    for (let i = 0; i < requests.length; i++) {
      if (requests[i]!.id !== id) continue
      if (requests[i] === this.#unsaved) this.#unsaved = null
      if (i === requests.length - 1) requests.pop()
      else requests.splice(i, 1)
      return
    }
  }

  /** The request an application may answer; anything else is a mistake of the caller. */
  #announced(id: number): ActiveRequest {
    const request = this.#find(id)
    if (request === undefined || request.state === IN_PARAMS) {
      throw new Error(`FastCGI request ${id} is not active`)
    }
    return request
  }
}
