/**
 * From bytes to text.
 *
 * Bytes are byte strings here, one character (U+0000 to U+00FF) per byte, as in the environ.
 */
import { Buffer } from 'node:buffer'
import { TextDecoder } from 'node:util'

/** Reads a byte string in one charset; what is invalid becomes U+FFFD. */
export type Decode = (bytes: string) => string

/** The true ISO 8859-1, as Python has it: WHATWG reads the label as windows-1252. */
const LATIN_1 = new Set(['iso-8859-1', 'iso8859-1', 'iso_8859-1', 'latin1', 'latin-1', 'l1'])

/** The decoder for a charset's label, or undefined if there is no such charset. */
export function decoderFor(label: string): Decode | undefined {
  const name = label.trim().toLowerCase()
  if (LATIN_1.has(name)) return (bytes) => bytes
  let decoder: TextDecoder
  try {
    // A BOM is data in a form: WHATWG's "UTF-8 decode without BOM".
    decoder = new TextDecoder(name, { ignoreBOM: true })
  } catch {
    return undefined
  }
  const isUtf8 = decoder.encoding === 'utf-8'
  return (bytes) => {
    if (isUtf8 && !/[\x80-\xff]/.test(bytes)) return bytes
    // Whole texts of windows-1252 Node 20 decodes as ISO 8859-1; pieces of a stream it gets right.
    return decoder.decode(Buffer.from(bytes, 'latin1'), { stream: true }) + decoder.decode()
  }
}
