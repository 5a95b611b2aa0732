/** What the web servers of CGI scripts do with a request body. */
import { contentLength } from './environ.ts'
import { PeerError } from '../errors.ts'
import type { Environ } from '../types.ts'

/**
 * The length of the body; Infinity if it ends with stdin.
 *
 * @throws {PeerError} 411 for a chunked body from any server but Apache and nginx.
 */
export function lengthOfBody(environ: Environ): number {
  return contentLength(environ) ?? (isChunked(environ) ? Infinity : 0)
}

/**
 * Apache decodes a chunked body and closes stdin after it, and so does fcgiwrap behind nginx. busybox
 * and uWSGI pass on the chunks undecoded and leave stdin open. Other servers pass no body.
 */
function isChunked(environ: Environ): boolean {
  if (environ['HTTP_TRANSFER_ENCODING'] === undefined) return false
  if (/^(?:Apache|nginx)\b/.test(environ['SERVER_SOFTWARE'] ?? '')) return true
  const message = 'The request body is chunked, and this web server does not decode it'
  throw new PeerError('PORTICO_BAD_REQUEST', message, '411 Length Required')
}

/**
 * Whether the web server receives the response while it sends the body. Apache's mod_cgi and mod_cgid
 * (2.4) send all of the body first: if the script wrote more than fits into the pipe meanwhile, each
 * would wait for the other until Apache's Timeout.
 */
export function isFullDuplex(environ: Environ): boolean {
  return /^(?:nginx|lighttpd)\b/.test(environ['SERVER_SOFTWARE'] ?? '')
}
