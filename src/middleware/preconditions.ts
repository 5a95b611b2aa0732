/** Preconditions of GET and HEAD (RFC 9110, section 13). */
import type { Headers } from '../response/headers.ts'
import type { Environ } from '../types.ts'
import { parseHttpDate } from './http-date.ts'

/** The effect of a request's preconditions on a 200: none, a 304 or a 412. */
export type Precondition = 'met' | 'not-modified' | 'failed'

/**
 * Evaluates If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since in the order of
 * section 13.2.2, against the ETag and Last-Modified in `headers`.
 */
export function evaluatePreconditions(environ: Environ, headers: Headers): Precondition {
  const { REQUEST_METHOD: method } = environ
  if (method !== 'GET' && method !== 'HEAD') return 'met'
  if (!isIntended(environ, headers)) return 'failed'
  return isFresh(environ, headers) ? 'not-modified' : 'met'
}

/** Whether this is the version that If-Match or If-Unmodified-Since asks for. */
export function isIntended(environ: Environ, headers: Headers): boolean {
  const tags = environ['HTTP_IF_MATCH']
  // An empty field is invalid and asks for nothing: web servers send what they are configured to send.
  if (tags) {
    // If-Match compares strongly: a weak tag never matches (section 13.1.1).
    return matches(tags, headers.get('ETag'), (tag) => tag)
  }
  const since = parseHttpDate(environ['HTTP_IF_UNMODIFIED_SINCE'])
  const modified = parseHttpDate(headers.get('Last-Modified'))
  return since === undefined || modified === undefined || modified <= since
}

/** Whether the client's copy is current, by If-None-Match or else by If-Modified-Since. */
function isFresh(environ: Environ, headers: Headers): boolean {
  const tags = environ['HTTP_IF_NONE_MATCH']
  if (tags) {
    // If-None-Match compares weakly: `W/` makes no difference (section 13.1.2).
    const etag = headers.get('ETag')
    return etag !== null && matches(tags, etag, (tag) => tag.replace(/^W\//, ''))
  }
  const since = parseHttpDate(environ['HTTP_IF_MODIFIED_SINCE'])
  const modified = parseHttpDate(headers.get('Last-Modified'))
  return since !== undefined && modified !== undefined && modified <= since
}

/** Whether a list of entity tags, or `*`, contains `etag`. A tag that is weak after `normal` never matches. */
function matches(list: string, etag: string | null, normal: (tag: string) => string): boolean {
  if (list.trim() === '*') return true
  const wanted = normal(etag ?? 'W/')
  if (wanted.startsWith('W/')) return false
  return [...list.matchAll(/(?:W\/)?"[^"]*"/g)].some(([tag]) => normal(tag) === wanted)
}

/** Deletes the headers that a 304 does not repeat (section 15.4.5). */
export function deleteDescription(headers: Headers): void {
  for (const name of DESCRIPTION) headers.delete(name)
}

const DESCRIPTION = [
  'Content-Encoding',
  'Content-Language',
  'Content-Length',
  'Content-Range',
  'Content-Type',
]
