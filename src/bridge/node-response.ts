/**
 * A `http.ServerResponse` whose bytes go to a gateway, from the framework's side a response like any
 * other. The head is taken before it becomes text among the body's bytes, and no framing is added.
 *
 * Express replaces the prototype and middleware wraps the methods that are documented, so the three
 * below them are replaced, in the instance. They have been the same since Node 0.12.
 */
import type { Buffer } from 'node:buffer'
import { ServerResponse, type IncomingMessage } from 'node:http'
import type { HeaderList } from '../types.ts'
import { isHopByHop } from '../wsgiref/util.ts'
import type { Done, GatewaySocket } from './gateway-socket.ts'

interface Internals {
  _header: string | null
  _headerSent: boolean
  _removedConnection: boolean
  chunkedEncoding: boolean
  _storeHeader(firstLine: string, headers: unknown): void
  _send(data: string | Buffer, encoding?: BufferEncoding, callback?: Done): boolean
  _writeRaw(data: string, encoding?: unknown, callback?: () => void): boolean
}

const prototype = ServerResponse.prototype as unknown as Internals

/** Where the replaced methods find the socket, whatever becomes of `response.socket`. */
const SOCKET = Symbol('portico.socket')

/** A response as it is in here. */
type GatewayResponse = ServerResponse & Internals & { [SOCKET]: GatewaySocket }

/** The response to `request`, on its socket. */
export function createResponse(request: IncomingMessage, socket: GatewaySocket): ServerResponse {
  const response = new ServerResponse(request) as GatewayResponse
  // With it Node announces the length wherever it knows it, even to an HTTP/1.0 client.
  response.useChunkedEncodingByDefault = true
  response.sendDate = false // An origin server adds it, and knows whether there is one.
  response._removedConnection = true // What `headOf` would leave out need not be written.
  // The same functions for all, and assigned: of objects that are all of one shape V8 makes fast
  // code, and to define a property costs it ten times as much.
  response[SOCKET] = socket
  response._storeHeader = storeHeader
  response._send = send
  response._writeRaw = writeRaw
  response.assignSocket(socket as never)
  return response
}

function storeHeader(this: GatewayResponse, firstLine: string, headers: unknown): void {
  prototype._storeHeader.call(this, firstLine, headers)
  // A Transfer-Encoding may be set and read; the body stays what it is.
  this.chunkedEncoding = false
}

function send(
  this: GatewayResponse,
  data: string | Buffer,
  encoding?: BufferEncoding,
  callback?: Done,
): boolean {
  const socket = this[SOCKET]
  this._headerSent = true
  if (socket.destroyed || socket.writableEnded) return false
  if (socket.write(data, encoding ?? 'utf8', callback)) return true
  // Later, since most often this was the end of the answer.
  process.nextTick(forwardDrain, this, socket)
  return false
}

/** What goes around `_send`: the 1xx answers, which no gateway can pass on. */
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

/** What Node's HTTP server does for its own; it resets the flag behind `writableNeedDrain` as well. */
function forwardDrain(response: GatewayResponse, socket: GatewaySocket): void {
  if (response.writableEnded || Object.hasOwn(response, 'writableNeedDrain')) return
  Object.defineProperty(response, 'writableNeedDrain', NEED_DRAIN)
  socket.on('drain', () => {
    if (!response.writableEnded) response.emit('drain')
  })
}

/** One for all: with a getter of its own each response would be an object of a shape of its own. */
const NEED_DRAIN: PropertyDescriptor & ThisType<GatewayResponse> = {
  configurable: true,
  get() {
    return !this.destroyed && !this.writableEnded && this[SOCKET].writableNeedDrain
  },
}

/**
 * The head that a response has stored, as `startResponse` takes it. What concerns the connection is
 * left out: the gateway decides that (RFC 9110, section 7.6.1). So is Trailer, since no gateway has
 * a place for trailers.
 */
export function headOf(response: ServerResponse): [status: string, headers: HeaderList] {
  const head = (response as GatewayResponse)._header!
  const headers: HeaderList = []
  const first = head.indexOf('\r\n')
  for (let end = first, start; (start = end + 2) < head.length;) {
    end = head.indexOf('\r\n', start)
    if (end === start) break // The empty line.
    const colon = head.indexOf(': ', start)
    const name = head.slice(start, colon)
    if (isHopByHop(name) || isTrailer(name)) continue
    headers.push([name, head.slice(colon + 2, end)])
  }
  return [head.slice('HTTP/1.1 '.length, first), headers]
}

function isTrailer(name: string): boolean {
  return name.length === 7 && name.toLowerCase() === 'trailer'
}
