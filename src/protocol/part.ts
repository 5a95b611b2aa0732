/** Bytes to send, as text or as Buffers, and how to join the short ones. */
import { Buffer } from 'node:buffer'

/**
 * Bytes to send. A string is a byte string (one character from U+0000 to U+00FF per byte), which
 * costs less than a Buffer for a few bytes.
 */
export type Part = string | Buffer

/** Nothing to send; never pushed to. */
export const NO_PARTS: readonly Part[] = []

/** Up to this many bytes, copying a Buffer into the text beside it costs less than a `writev`. */
export const COPIED = 16_384

/** Text is split here: V8 limits the length of a string, and Node copies the whole of it to write. */
const MAX_TEXT = 1024 * 1024

/** The same bytes in fewer parts. Long Buffers are not copied. */
export function joinParts(parts: readonly Part[]): Part[] {
  const joined: Part[] = []
  let text = ''
  for (const part of parts) {
    if (typeof part === 'string') {
      text += part
    } else if (part.length <= COPIED) {
      text += part.toString('latin1')
    } else {
      if (text !== '') joined.push(text)
      joined.push(part)
      text = ''
    }
    if (text.length >= MAX_TEXT) {
      joined.push(text)
      text = ''
    }
  }
  if (text !== '') joined.push(text)
  return joined
}

/** The parts as Buffers. */
export function buffersOf(parts: readonly Part[]): Buffer[] {
  return parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part))
}
