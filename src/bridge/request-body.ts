/**
 * Whether a request has a body. A framework has to know before it reads, but not every gateway
 * says, and a body that does not exist must not be announced.
 */
import type { Buffer } from 'node:buffer'
import type { Environ } from '../types.ts'

/** What is known of a request's body before the application reads it. */
export interface RequestBody {
  /** The chunks of the body; null if it has none. */
  readonly chunks: AsyncIterator<Buffer> | null
  /** The header that announces it (RFC 9112, section 6.3): without one, frameworks do not read. */
  readonly framing: readonly [name: string, value: string] | null
}

const NO_BODY: RequestBody = { chunks: null, framing: null }
const EMPTY_BODY: RequestBody = { chunks: null, framing: ['Content-Length', '0'] }
const CHUNKED = ['Transfer-Encoding', 'chunked'] as const

/** Methods whose requests have a body only if a header announces it. */
const BODILESS = /^(?:GET|HEAD|OPTIONS|TRACE)$/

/**
 * What the environ says of the body; null if only a read shows whether there is one: without CONTENT_LENGTH and
 * Transfer-Encoding, a FastCGI request may have a body or not.
 */
export function knownBody(environ: Environ): RequestBody | null {
  const length = environ['CONTENT_LENGTH']
  if (length !== undefined) {
    const chunks = Number(length) > 0 ? environ['wsgi.input'].chunks() : null
    return { chunks, framing: ['Content-Length', length] }
  }
  if (!environ['wsgi.input_terminated']) return NO_BODY
  if (environ['HTTP_TRANSFER_ENCODING'] !== undefined) return chunkedBody(environ)
  if (environ['portico.gateway'] === 'http') {
    // HTTPHandler hides Transfer-Encoding, since it has decoded the body. Its input has 0 bytes left
    // if the request has no body, and no limit if the body is chunked.
    const { unread } = environ['wsgi.input'] as { readonly unread?: number }
    if (unread === Infinity) return chunkedBody(environ)
    return unread === 0 ? emptyBody(environ) : null
  }
  return BODILESS.test(environ.REQUEST_METHOD) ? NO_BODY : null
}

/** Waits for the first chunk to find out whether there is one. */
export async function openBody(environ: Environ): Promise<RequestBody> {
  const chunks = environ['wsgi.input'].chunks()
  const first = await chunks.next()
  if (first.done) return emptyBody(environ)
  let unread = true
  return {
    framing: CHUNKED,
    chunks: {
      next() {
        if (!unread) return chunks.next()
        unread = false
        return Promise.resolve(first)
      },
    },
  }
}

function chunkedBody(environ: Environ): RequestBody {
  return { chunks: environ['wsgi.input'].chunks(), framing: CHUNKED }
}

/** A Content-Type implies a body, even an empty one: `express.json()` then makes an object of it. */
function emptyBody(environ: Environ): RequestBody {
  return environ['CONTENT_TYPE'] === undefined ? NO_BODY : EMPTY_BODY
}
