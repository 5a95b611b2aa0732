/** Decodes byte strings: one character from U+0000 to U+00FF for each byte, as in the environ. */
import { Buffer } from 'node:buffer'
import { TextDecoder } from 'node:util'

/** Decodes a byte string in one charset. Invalid bytes become U+FFFD. */
export type Decode = (bytes: string) => string

/** ISO 8859-1 itself, as in Python; in the Encoding Standard these labels mean windows-1252. */
const LATIN_1 = new Set(['iso-8859-1', 'iso8859-1', 'iso_8859-1', 'latin1', 'latin-1', 'l1'])

/** The name of a charset that `decoderFor` knows: the same for all its labels. */
export function charsetName(label: string): string {
  const name = label.trim().toLowerCase()
  return LATIN_1.has(name) ? 'iso-8859-1' : new TextDecoder(name).encoding
}

/** Returns the decoder for a charset's label, or undefined if the charset is unknown. */
export function decoderFor(label: string): Decode | undefined {
  const name = label.trim().toLowerCase()
  if (LATIN_1.has(name)) return (bytes) => bytes
  let decoder: TextDecoder
  try {
    // A BOM is data in a form (Encoding Standard, "UTF-8 decode without BOM").
    decoder = new TextDecoder(name, { ignoreBOM: true })
  } catch {
    return undefined
  }
  const isUtf8 = decoder.encoding === 'utf-8'
  return (bytes) => {
    if (isUtf8 && !/[\x80-\xff]/.test(bytes)) return bytes
    // Node 20 decodes windows-1252 as ISO 8859-1, unless the text is decoded as a stream.
    return decoder.decode(Buffer.from(bytes, 'latin1'), { stream: true }) + decoder.decode()
  }
}
