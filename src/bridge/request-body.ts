/**
 * Whether a request has a body. A framework has to know before it reads, but not every gateway
 * says, and a body that does not exist must not be announced.
 */
import type { Buffer } from 'node:buffer'
import { bodyFraming } from '../environ/environ.ts'
import { WholeBody, wasRead } from '../environ/wrapped-input.ts'
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

/** What the environ says of the body; null if only a read shows whether there is one. */
export function knownBody(environ: Environ): RequestBody | null {
  switch (bodyFraming(environ)) {
    case 'length': {
      const length = environ['CONTENT_LENGTH']!
      const chunks = Number(length) > 0 ? new WholeBody(environ['wsgi.input']) : null
      return { chunks, framing: ['Content-Length', length] }
    }
    case 'chunked':
      return { chunks: new WholeBody(environ['wsgi.input']), framing: CHUNKED }
    case 'none':
      return NO_BODY
    case 'empty':
      return emptyBody(environ)
    case 'unknown':
      return null
  }
}

/** Waits for the first chunk to find out whether there is one. */
export async function openBody(environ: Environ): Promise<RequestBody> {
  const chunks = new WholeBody(environ['wsgi.input'])
  // An application that does not read it needs no error.
  if (wasRead(environ['wsgi.input'])) return { chunks, framing: CHUNKED }
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

/** A Content-Type implies a body, even an empty one: `express.json()` then makes an object of it. */
function emptyBody(environ: Environ): RequestBody {
  return environ['CONTENT_TYPE'] === undefined ? NO_BODY : EMPTY_BODY
}
