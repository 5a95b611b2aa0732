/**
 * What a Response of Node's own was made of, from the side of whoever has to send it.
 *
 * A text or bytes are there when the Response is made, but can only be read from its stream. With
 * what its objects leave to the garbage collector that costs a short answer a quarter more, and one
 * of 64 KiB half as much again (Node 20). Node 20 and 22 (undici 6) have what it was made of in a
 * property whose name is a symbol. Node 24 has private fields: there, as for a polyfill's Response,
 * the stream is read.
 */
import { ApplicationError } from '../errors.ts'
import type { Chunk } from '../types.ts'

interface State {
  readonly body?: { readonly source?: unknown; readonly stream?: unknown } | null
}

/** In a Response whose source has been taken, which its stream does not tell. */
const SENT = Symbol('portico.sent')

type Sent = Response & { [SENT]?: true }

/**
 * The text or bytes of a body that nobody has begun to read; else null.
 *
 * @throws {ApplicationError} if they have been taken before: as a stream they could not be read again.
 */
export function takeSource(response: Response, body: ReadableStream): Chunk | null {
  const source = sourceOf(response, body)
  if (source === null || body.locked || response.bodyUsed) return null
  // To lock the stream would cost a short answer a sixth more.
  if (SENT in response) throw new ApplicationError('This Response has been sent already')
  ;(response as Sent)[SENT] = true
  return source
}

function sourceOf(response: Response, body: ReadableStream): Chunk | null {
  for (const key of Object.getOwnPropertySymbols(response)) {
    const state = (response as unknown as Record<symbol, State | null | undefined>)[key]
    if (state?.body?.stream !== body) continue
    const { source } = state.body
    return typeof source === 'string' || source instanceof Uint8Array ? source : null
  }
  return null
}
