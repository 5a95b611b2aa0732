/**
 * Whether a request has a body, from the side of a framework that has to know before it reads: a
 * gateway need not say so, and a body that is not there must not be announced.
 */
import type { Buffer } from 'node:buffer'
import type { Environ } from '../types.ts'

/** What is known of a request's body before the application asks for it. */
export interface RequestBody {
  /** The body in pieces; null if there is none. */
  readonly chunks: AsyncIterator<Buffer> | null
  /** The header that announces it (RFC 9112, section 6.3): frameworks read nothing without. */
  readonly framing: readonly [name: string, value: string] | null
}

const NO_BODY: RequestBody = { chunks: null, framing: null }
const EMPTY_BODY: RequestBody = { chunks: null, framing: ['Content-Length', '0'] }
const CHUNKED = ['Transfer-Encoding', 'chunked'] as const

/** Requests that have no body save when they say so, and so are not looked into. */
const BODILESS = /^(?:GET|HEAD|OPTIONS|TRACE)$/

/**
 * What the environ tells of the body; null where only its first byte would. That is so without
 * CONTENT_LENGTH: the body was sent chunked, but HTTPHandler, which takes the chunks apart, takes
 * away the header that says so as well.
 */
export function knownBody(environ: Environ): RequestBody | null {
  const length = environ['CONTENT_LENGTH']
  if (length !== undefined) {
    const chunks = Number(length) > 0 ? environ['wsgi.input'].chunks() : null
    return { chunks, framing: ['Content-Length', length] }
  }
  if (!environ['wsgi.input_terminated']) return NO_BODY
  if (environ['HTTP_TRANSFER_ENCODING'] !== undefined) {
    return { chunks: environ['wsgi.input'].chunks(), framing: CHUNKED }
  }
  return BODILESS.test(environ.REQUEST_METHOD) ? NO_BODY : null
}

/** Waits for the first bytes to know whether there are any. */
export async function openBody(environ: Environ): Promise<RequestBody> {
  const chunks = environ['wsgi.input'].chunks()
  const first = await chunks.next()
  // Who names a type has sent a body, if an empty one: `express.json()` makes an object of it.
  if (first.done) return environ['CONTENT_TYPE'] === undefined ? NO_BODY : EMPTY_BODY
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
