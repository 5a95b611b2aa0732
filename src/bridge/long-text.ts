/** Long texts in an answer, from the side of the bridges, before the gateway sees them. */
import { Buffer } from 'node:buffer'
import type { Chunk } from '../types.ts'

/** Up to here a text costs less if the gateway sends it as one together with its own. */
const LONG_TEXT = 16_384

/**
 * A chunk that is no long text. The gateway asks more than once for the length of a text, and makes
 * bytes of a long one anyway.
 */
export function bytesOfLong(chunk: Chunk): Chunk {
  if (typeof chunk !== 'string' || chunk.length <= LONG_TEXT) return chunk
  // Most are ASCII, which as Latin-1 is copied in a fraction of the time.
  const isAscii = Buffer.byteLength(chunk) === chunk.length
  return Buffer.from(chunk, isAscii ? 'latin1' : 'utf8')
}
