/**
 * An `http.ServerResponse` whose head and body go to a gateway instead of a connection.
 *
 * Express replaces the prototype of a response, and middleware wraps the documented methods. So
 * Portico replaces the three internal methods below those, in the instance. Node has had them since
 * 0.12.
 */
import type { Buffer } from 'node:buffer'
import type { OutgoingHttpHeaders } from 'node:http'
import {
  type IncomingMessage,
  ServerResponse,
  validateHeaderName,
  validateHeaderValue,
} from '../node-http.ts'
import type { HeaderList } from '../types.ts'
import { isForGateway } from '../response/head.ts'

/** Called when a write is done or has failed. */
export type Done = (error?: Error | null) => void

/** What a response writes its body to. */
export interface ResponseSink {
  readonly destroyed: boolean
  readonly writableEnded: boolean
  readonly writableNeedDrain: boolean
  write(chunk: Buffer | string, encoding: BufferEncoding, callback?: Done | null): boolean
}

/** The head of a response. */
export interface ResponseHead {
  /** The status line without its version. */
  readonly status: string
  readonly headers: HeaderList
  /** The application has set Transfer-Encoding or removed Content-Length: none must be added. */
  readonly hidesLength: boolean
}

interface Internals {
  _header: string | null
  _headerSent: boolean
  _contentLength: number | null
  _hasBody: boolean
  _removedContLen: boolean
  _storeHeader(firstLine: string, headers: OutgoingHttpHeaders | unknown[] | undefined): void
  _send(data: string | Buffer, encoding?: BufferEncoding | null, callback?: Done | null): boolean
  _writeRaw(data: string, encoding?: unknown, callback?: () => void): boolean
  chunkedEncoding: boolean
  /** Documented, but missing in @types/node 20. */
  getRawHeaderNames(): string[]
}

/** The key of the sink. `response.socket` may be replaced by the application. */
const SINK = Symbol('portico.sink')
const HEAD = Symbol('portico.head')

type GatewayResponse = ServerResponse &
  Internals & { [SINK]: ResponseSink; [HEAD]: ResponseHead | null }

const prototype = ServerResponse.prototype as ServerResponse & Internals

/** Creates the response to `request`. */
export function createResponse(request: IncomingMessage, sink: ResponseSink): ServerResponse {
  const response = new ServerResponse(request) as GatewayResponse
  // Makes Node announce the length of a body that ends at once, to HTTP/1.0 clients as well.
  response.useChunkedEncodingByDefault = true
  response.sendDate = false // An origin server adds Date.
  // The same functions and the same order for every response: V8 makes fast code for objects with
  // the same hidden class. `Object.defineProperty` would be ten times as expensive.
  response[SINK] = sink
  response[HEAD] = null
  response._storeHeader = storeHeader
  response._send = send
  response._writeRaw = writeRaw
  response.assignSocket(sink as never)
  return response
}

/** The head that a response has sent, if it has. */
export function headOf(response: ServerResponse): ResponseHead | null {
  return (response as GatewayResponse)[HEAD]
}

/**
 * Notes the head instead of writing it as text. `headers` is what `writeHead` got, unless the response
 * has headers of its own: Node has then merged them into those, which it has checked.
 */
function storeHeader(
  this: GatewayResponse,
  firstLine: string,
  headers: OutgoingHttpHeaders | unknown[] | null | undefined,
): void {
  const head = new NotedHead(firstLine.slice('HTTP/1.1 '.length, -2), this._removedContLen)
  const names = prototype.getRawHeaderNames.call(this)
  if (names.length > 0) {
    for (const name of names) head.add(name, prototype.getHeader.call(this, name))
  } else if (headers) {
    addUnchecked(headers, head)
  }
  if (head.length === null && !head.hidesLength && this._hasBody && this._contentLength !== null) {
    head.add('Content-Length', this._contentLength)
  }
  if (head.length !== null) this._contentLength = Number(head.length)
  this[HEAD] = head
  this._header = `${firstLine}\r\n`
  this._headerSent = false
}

class NotedHead implements ResponseHead {
  readonly status: string
  readonly headers: HeaderList = []
  length: unknown = null
  /** The application has set Transfer-Encoding, although the body is never written in chunks. */
  #coded: boolean

  constructor(status: string, hidesLength: boolean) {
    this.status = status
    this.#coded = hidesLength
  }

  get hidesLength(): boolean {
    return this.#coded && this.length === null
  }

  /**
   * Adds a header, or several of one name. Those about the connection are dropped, because the
   * gateway decides them (RFC 9110, section 7.6.1), and so are Trailer, which no gateway can send, and
   * Status, which would replace the status.
   */
  add(name: string, value: unknown): void {
    if (name.length === 14 && name.toLowerCase() === 'content-length') this.length = value
    if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') this.#coded = true
    if (isForGateway(name)) return
    if (!Array.isArray(value)) this.headers.push([name, String(value)])
    else for (const each of value) this.headers.push([name, String(each)])
  }
}

/** Headers that were given to `writeHead` only, which nothing has checked. */
function addUnchecked(headers: OutgoingHttpHeaders | unknown[], head: NotedHead): void {
  const add = (name: unknown, value: unknown): void => {
    validateHeaderName(name as string)
    for (const each of Array.isArray(value) ? value : [value]) {
      validateHeaderValue(name as string, each as string)
    }
    head.add(name as string, value)
  }
  if (!Array.isArray(headers)) {
    for (const name of Object.keys(headers)) add(name, headers[name])
  } else if (Array.isArray(headers[0])) {
    for (const [name, value] of headers as unknown[][]) add(name, value)
  } else {
    for (let i = 0; i < headers.length; i += 2) add(headers[i], headers[i + 1])
  }
}

function send(
  this: GatewayResponse,
  data: string | Buffer,
  encoding?: BufferEncoding | null,
  callback?: Done | null,
): boolean {
  const sink = this[SINK]
  this._headerSent = true
  if (sink.destroyed || sink.writableEnded) return false
  if (sink.write(data, encoding ?? 'utf8', callback)) return true
  // Waits for the next tick, because this write may have been the end of the response.
  process.nextTick(showNeedDrain, this)
  return false
}

/** 1xx responses do not go through `_send`. No gateway can send them. */
function writeRaw(
  this: GatewayResponse,
  _data: string,
  encoding?: unknown,
  callback?: () => void,
): boolean {
  const done = typeof encoding === 'function' ? (encoding as () => void) : callback
  if (typeof done === 'function') process.nextTick(done)
  return true
}

/** Node's own `writableNeedDrain` is reset only by its HTTP server. */
function showNeedDrain(response: GatewayResponse): void {
  if (response.writableEnded || Object.hasOwn(response, 'writableNeedDrain')) return
  Object.defineProperty(response, 'writableNeedDrain', NEED_DRAIN)
}

/** One descriptor for all, so that the responses keep the same hidden class. */
const NEED_DRAIN: PropertyDescriptor & ThisType<GatewayResponse> = {
  configurable: true,
  get() {
    return !this.destroyed && !this.writableEnded && this[SINK].writableNeedDrain
  },
}
