/** Escapes paths for headers, cookies and logs. */
import { percentEncode } from '../text.ts'

/** Percent-encodes all bytes that a path must not contain: all but pchar and '/' (RFC 3986, 3.3). */
export function escapePath(bytes: string): string {
  return percentEncode(bytes, /[^\w.~/!$&'()*+,;=:@-]/g)
}

/**
 * The Path attribute for a cookie below `bytes`. Browsers compare it with a path in their own
 * spelling (RFC 6265, section 5.1.4), which is the URL Standard's. A ';' would end the attribute, so
 * a path that has one gives the directory above.
 */
export function cookiePath(bytes: string): string {
  const path = bytes.includes(';') ? bytes.replace(/\/[^/;]*;.*$/s, '') : bytes
  return percentEncode(path, /[^\w.~/!$&'()*+,=:@[\]|-]/g) || '/'
}
