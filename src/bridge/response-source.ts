/**
 * What a Response of Node's own was made of, from the side of whoever has to send it.
 *
 * A text or bytes are there when the Response is made, but can only be read from its stream, which
 * for 64 KiB costs as much as all else together: some objects for each read, which in Node 20 keep
 * the bytes for longer, so that more memory is in use. Node 20 and 22 (undici 6) have what it was
 * made of in a property whose name is a symbol. Node 24 has private fields: there, as for a
 * polyfill's Response, the stream is read.
 */
import { ApplicationError } from '../errors.ts'
import type { Chunk } from '../types.ts'

interface State {
  readonly body?: { readonly source?: unknown; readonly stream?: unknown } | null
}

/** The symbol; null if there is none, and undefined if nobody has looked. */
let stateKey: symbol | null | undefined

/** In a Response whose source has been taken, which its stream does not tell. */
const SENT = Symbol('portico.sent')

type Sent = Response & { [SENT]?: true }

/**
 * The text or bytes of a body that nobody has begun to read; else null.
 *
 * @throws {ApplicationError} if they have been taken before: as a stream they could not be read again.
 */
export function takeSource(response: Response, body: ReadableStream): Chunk | null {
  if (stateKey === undefined) stateKey = findStateKey()
  if (stateKey === null) return null
  const state = (response as unknown as Record<symbol, State | undefined>)[stateKey]
  const { source, stream } = state?.body ?? {}
  if (stream !== body || body.locked || response.bodyUsed) return null
  if (typeof source !== 'string' && !(source instanceof Uint8Array)) return null
  // To lock the stream would cost a short answer a sixth more.
  if (SENT in response) throw new ApplicationError('This Response has been sent already')
  ;(response as Sent)[SENT] = true
  return source
}

function findStateKey(): symbol | null {
  const text = 'text'
  // A subclass: `installLightFetch` leaves these alone.
  const sample = new (class extends Response {})(text)
  for (const key of Object.getOwnPropertySymbols(sample)) {
    const state = (sample as unknown as Record<symbol, State | null>)[key]
    if (state?.body?.source === text && state.body.stream === sample.body) return key
  }
  return null
}
