/** A path on its way into a header or a log. */

/** Percent-encodes a byte string, save what stands in every path as it is. */
export function escapePath(bytes: string): string {
  return bytes.replace(
    /[^\w.~/-]/g,
    (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  )
}
