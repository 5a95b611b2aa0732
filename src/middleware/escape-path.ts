/** A path on its way into a header or a log. */

import { percentEncode } from '../text.ts'

/** Percent-encodes a byte string, save what stands in every path as it is. */
export function escapePath(bytes: string): string {
  return percentEncode(bytes, /[^\w.~/-]/g)
}
