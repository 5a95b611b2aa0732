/**
 * An environ as the `http.IncomingMessage` that a framework expects, from the framework's side a
 * request like any other: Express replaces its prototype, so all that is ours is in the instance.
 */
import { IncomingMessage } from 'node:http'
import type { Buffer } from 'node:buffer'
import type { Environ } from '../types.ts'
import type { GatewaySocket } from './gateway-socket.ts'
import { headerLines } from './request-headers.ts'
import type { RequestBody } from './request-body.ts'
import { targetOf } from './request-target.ts'

/** A request as applications behind `fromNode` see it. */
export interface NodeRequest extends IncomingMessage {
  /** Everything that the gateway knows: REMOTE_USER, AUTH_TYPE, `portico.signal` … */
  environ: Environ
  /** SCRIPT_NAME as it stands in the URL; Express adds the mount points of its routers to it. */
  baseUrl: string
  /** The target with the mount point, which `url` leaves out. */
  originalUrl: string
}

/**
 * What Node's parser calls and sets. `_addHeaderLines` fills `rawHeaders` so that `headers` is made
 * when it is asked for, with Node's own rules.
 */
interface Internals {
  _addHeaderLines(lines: string[], count: number): void
  _read(size: number): void
}

const prototype = IncomingMessage.prototype as unknown as Internals

export function createRequest(
  environ: Environ,
  socket: GatewaySocket,
  body: RequestBody,
): NodeRequest {
  const request = new IncomingMessage(socket as never) as NodeRequest & Internals
  const { chunks } = body
  const { base, url, original } = targetOf(environ)
  request.method = environ.REQUEST_METHOD
  request.url = url
  request.baseUrl = base
  request.originalUrl = original
  request.environ = environ
  setVersion(request, environ.SERVER_PROTOCOL)
  const lines = headerLines(environ, body)
  request._addHeaderLines(lines, lines.length)
  if (chunks === null) {
    request.complete = true
    request.push(null)
  } else {
    request._read = (size) => {
      prototype._read.call(request, size) // Keeps the books of its own.
      void pull(request, chunks, socket)
    }
  }
  return request
}

async function pull(
  request: NodeRequest,
  chunks: AsyncIterator<Buffer>,
  socket: GatewaySocket,
): Promise<void> {
  try {
    const { done, value } = await chunks.next()
    socket.active()
    if (request.complete) return // It has been ended, since nobody wants any more.
    if (!done) {
      request.push(value)
      return
    }
    request.complete = true
    request.push(null)
  } catch (error) {
    request.destroy(error as Error)
  }
}

/**
 * HTTP/2 and 3 are shown as 1.1: this is a message of node:http, and a framework that reads a 2
 * takes it for one of node:http2, which has no reason phrase and refuses some headers.
 */
function setVersion(request: IncomingMessage, protocol: string): void {
  request.httpVersionMajor = 1
  request.httpVersionMinor = protocol === 'HTTP/1.0' ? 0 : 1
  request.httpVersion = `1.${request.httpVersionMinor}`
}
