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
import { isHopByHop } from '../util.ts'
import type { GatewaySocket } from './gateway-socket.ts'

interface Internals {
  _header: string | null
  _headerSent: boolean
  chunkedEncoding: boolean
  _storeHeader(firstLine: string, headers: unknown): void
  _send(
    data: string | Buffer,
    encoding?: BufferEncoding,
    callback?: (error?: Error | null) => void,
  ): boolean
  _writeRaw(data: string, encoding?: unknown, callback?: () => void): boolean
}

const prototype = ServerResponse.prototype as unknown as Internals

/** A response as it is in here. */
type GatewayResponse = ServerResponse & Internals & { readonly [SOCKET]: GatewaySocket }

/** Where the replaced methods find the socket, whatever becomes of `response.socket`. */
const SOCKET = Symbol('portico.socket')

/**
 * What every response gets. Functions of `this`, the same for all of them: with a getter of its own
 * each response would be an object of a shape of its own, which makes all code that touches it slow.
 */
const OWN: PropertyDescriptorMap & ThisType<GatewayResponse> = {
  _storeHeader: hidden(function (firstLine: string, headers: unknown): void {
    prototype._storeHeader.call(this, firstLine, headers)
    // A Transfer-Encoding may be set and read; the body stays what it is.
    this.chunkedEncoding = false
  }),
  _send: hidden(function (
    data: string | Buffer,
    encoding?: BufferEncoding,
    callback?: (error?: Error | null) => void,
  ): boolean {
    const socket = this[SOCKET]
    this._headerSent = true
    if (socket.destroyed || socket.writableEnded) return false
    return socket.write(data, encoding ?? 'utf8', callback)
  }),
  /** What goes around `_send`: the 1xx answers, which no gateway can pass on. */
  _writeRaw: hidden(function (_data: string, encoding?: unknown, callback?: () => void): boolean {
    const done = typeof encoding === 'function' ? (encoding as () => void) : callback
    if (typeof done === 'function') process.nextTick(done)
    return true
  }),
  // Node's own flag is reset by its HTTP server only, which forwards 'drain' as well.
  writableNeedDrain: {
    configurable: true,
    get(): boolean {
      return !this.destroyed && !this.writableEnded && this[SOCKET].writableNeedDrain
    },
  },
}

/** A method in an instance such that nobody who lists its properties meets it. */
function hidden(value: (this: GatewayResponse, ...args: never[]) => unknown): PropertyDescriptor {
  return { configurable: true, writable: true, value }
}

/** The response to `request`, on its socket. */
export function createResponse(request: IncomingMessage, socket: GatewaySocket): ServerResponse {
  const response = new ServerResponse(request)
  // With it Node announces the length wherever it knows it, even to an HTTP/1.0 client.
  response.useChunkedEncodingByDefault = true
  response.sendDate = false // An origin server adds it, and knows whether there is one.
  Object.defineProperty(response, SOCKET, { value: socket })
  Object.defineProperties(response, OWN)
  socket.on('drain', () => {
    if (!response.writableEnded) response.emit('drain')
  })
  response.assignSocket(socket as never)
  return response
}

/**
 * The head that a response has stored, as `startResponse` takes it. What concerns the connection is
 * left out: the gateway decides that (RFC 9110, section 7.6.1). So is Trailer, since no gateway has
 * a place for trailers.
 */
export function headOf(response: ServerResponse): [status: string, headers: HeaderList] {
  const [first = '', ...lines] = (response as ServerResponse & Internals)._header!.split('\r\n')
  const headers: HeaderList = []
  for (const line of lines) {
    const colon = line.indexOf(': ')
    const name = line.slice(0, colon)
    if (colon <= 0 || isHopByHop(name) || /^trailer$/i.test(name)) continue
    headers.push([name, line.slice(colon + 2)])
  }
  return [first.slice('HTTP/1.1 '.length), headers]
}
