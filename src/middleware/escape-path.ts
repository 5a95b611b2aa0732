/** Escapes paths for headers, cookies and logs. */
import { mountPointOf } from '../environ/request-target.ts'
import { percentEncode } from '../text.ts'
import type { Environ } from '../types.ts'

/** Percent-encodes all bytes that a path must not contain: all but pchar and '/' (RFC 3986, 3.3). */
export function escapePath(bytes: string): string {
  return percentEncode(bytes, /[^\w.~/!$&'()*+,;=:@-]/g)
}

/**
 * The Path attribute for a cookie of the application at SCRIPT_NAME. Browsers compare it with a path in
 * their own spelling (RFC 6265, section 5.1.4), so it is that of REQUEST_URI, else the URL Standard's.
 * A ';' would end the attribute, so a path that has one gives the directory above.
 */
export function cookiePath(environ: Environ): string {
  const path = mountPointOf(environ, (bytes) => percentEncode(bytes, /[^\w.~/!$&'()*+,;=:@[\]|-]/g))
  return path.replace(/\/[^/;]*;.*$/s, '') || '/'
}
