/**
 * An environ as the `http.IncomingMessage` that a framework expects, from the framework's side a
 * request like any other: Express replaces its prototype, so all that is ours is in the instance.
 */
import { IncomingMessage } from 'node:http'
import type { Buffer } from 'node:buffer'
import type { Environ } from '../types.ts'
import type { GatewaySocket } from './gateway-socket.ts'
import { targetOf } from './target.ts'

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

/** What is known of the request's body before the application asks for it. */
export interface RequestBody {
  /** The body in pieces; null if there is none. */
  readonly chunks: AsyncIterator<Buffer> | null
}

export function createRequest(
  environ: Environ,
  socket: GatewaySocket,
  { chunks }: RequestBody,
): NodeRequest {
  const request = new IncomingMessage(socket as never) as NodeRequest & Internals
  const { base, url, original } = targetOf(environ)
  request.method = environ.REQUEST_METHOD
  request.url = url
  request.baseUrl = base
  request.originalUrl = original
  request.environ = environ
  setVersion(request, environ.SERVER_PROTOCOL)
  const lines = headerLines(environ, chunks !== null)
  request._addHeaderLines(lines, lines.length)
  if (chunks === null) {
    request.complete = true
    request.push(null)
  } else {
    request._read = (size) => {
      prototype._read.call(request, size) // Keeps the books of its own.
      void pull(request, chunks)
    }
  }
  return request
}

async function pull(request: NodeRequest, chunks: AsyncIterator<Buffer>): Promise<void> {
  try {
    const { done, value } = await chunks.next()
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
 * Whether there is a body, and where it is. Without CONTENT_LENGTH a request may still have one
 * that was sent chunked: either the header says so, or (HTTPHandler, which takes that header away)
 * the first byte does. A GET is not looked into, so that the common case need not wait.
 */
export async function openBody(environ: Environ): Promise<RequestBody> {
  const chunks = environ['wsgi.input'].chunks()
  const first = await chunks.next()
  if (first.done) return { chunks: null }
  let begun = false
  return {
    chunks: {
      next: async () => {
        if (begun) return chunks.next()
        begun = true
        return first
      },
    },
  }
}

/** The same where it can be told without waiting; null where `openBody` has to look. */
export function knownBody(environ: Environ): RequestBody | null {
  const length = environ['CONTENT_LENGTH']
  if (length === undefined && environ['wsgi.input_terminated']) {
    if (environ['HTTP_TRANSFER_ENCODING'] !== undefined) {
      return { chunks: environ['wsgi.input'].chunks() }
    }
    if (!NO_BODY_USUAL.test(environ.REQUEST_METHOD)) return null
  }
  return { chunks: Number(length ?? 0) > 0 ? environ['wsgi.input'].chunks() : null }
}

const NO_BODY_USUAL = /^(?:GET|HEAD|OPTIONS|TRACE)$/

/**
 * HTTP/2 and 3 are shown as 1.1: this is a message of node:http, and a framework that reads a 2
 * takes it for one of node:http2, which has no reason phrase and refuses some headers.
 */
function setVersion(request: IncomingMessage, protocol: string): void {
  request.httpVersionMajor = 1
  request.httpVersionMinor = protocol === 'HTTP/1.0' ? 0 : 1
  request.httpVersion = `1.${request.httpVersionMinor}`
}

/** Names and values in turns, as in `rawHeaders`: HTTP_X_FORWARDED_FOR is X-Forwarded-For. */
function headerLines(environ: Environ, hasBody: boolean): string[] {
  const lines: string[] = []
  for (const name in environ) {
    if (!name.startsWith('HTTP_') || name === 'HTTP_TRANSFER_ENCODING') continue
    lines.push(headerName(name), String(environ[name]))
  }
  const { CONTENT_TYPE, CONTENT_LENGTH } = environ as Record<string, string | undefined>
  if (CONTENT_TYPE !== undefined) lines.push('Content-Type', CONTENT_TYPE)
  // Frameworks look at one of the two to know whether there is a body (RFC 9112, section 6.3).
  if (CONTENT_LENGTH !== undefined) lines.push('Content-Length', CONTENT_LENGTH)
  else if (hasBody) lines.push('Transfer-Encoding', 'chunked')
  return lines
}

/** Made once for each name; clients choose names, so no more are kept than ordinary ones. */
const names = new Map<string, string>()
const MAX_NAMES = 1_000

function headerName(variable: string): string {
  const known = names.get(variable)
  if (known !== undefined) return known
  const name = variable
    .slice('HTTP_'.length)
    .toLowerCase()
    .replace(/(^|_)([a-z])?/g, (_, dash: string, letter = '') => {
      return (dash && '-') + String(letter).toUpperCase()
    })
  if (names.size < MAX_NAMES) names.set(variable, name)
  return name
}
