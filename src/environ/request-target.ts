/**
 * The request target that an application below a mount point sees: PATH_INFO and QUERY_STRING, with
 * the client's own percent-encoding where REQUEST_URI has it.
 */
import { decodePath } from './decode-path.ts'
import { percentEncode } from '../text.ts'
import type { Environ } from '../types.ts'

export interface RequestTarget {
  /** SCRIPT_NAME, percent-encoded: '' or '/…'. */
  readonly base: string
  /** The path below the mount point and the query: '/…', or '*'. */
  readonly url: string
  /** The path with the mount point, and the query: what the client asked for. */
  readonly original: string
}

/** Computes the target of a request. All of it is printable ASCII. */
export function targetOf(environ: Environ): RequestTarget {
  const { SCRIPT_NAME: script, PATH_INFO: path } = environ
  const uri = environ['REQUEST_URI'] ?? ''
  const query = queryOf(environ.QUERY_STRING, uri)
  if (!uri.includes('%') && uri !== '*' && PLAIN.test(script) && PLAIN.test(path)) {
    // There is nothing to encode.
    return { base: script, url: (path || '/') + query, original: (script + path || '/') + query }
  }
  const raw = rawPath(uri)
  if (raw === '*' && (path === '' || path === '/')) return { base: '', url: '*', original: '*' }
  const { base, rest } = spelled(raw, script, path)
  return { base, url: (rest || '/') + query, original: (base + rest || '/') + query }
}

/**
 * SCRIPT_NAME, percent-encoded: as the client has written it in REQUEST_URI, else by `encode`. ';' may
 * be in it either way.
 */
export function mountPointOf(environ: Environ, encode: (bytes: string) => string): string {
  const raw = rawPath(environ['REQUEST_URI'] ?? '')
  return spelled(raw, environ.SCRIPT_NAME, environ.PATH_INFO, encode).base
}

/** QUERY_STRING with its question mark. Only REQUEST_URI distinguishes `/x?` from `/x`. */
export function queryOf(query: string, uri = ''): string {
  if (query !== '') return `?${VISIBLE.test(query) ? query : percentEncode(query, NOT_IN_QUERY)}`
  return uri.endsWith('?') && uri.indexOf('?') === uri.length - 1 ? '?' : ''
}

/**
 * SCRIPT_NAME and PATH_INFO, percent-encoded as in `raw`. If the two are not the path of `raw`, the
 * web server or a middleware has rewritten the path, and theirs is used. A mount point that a proxy
 * has stripped (X-Forwarded-Prefix) may be missing from `raw`.
 */
function spelled(
  raw: string,
  script: string,
  path: string,
  encode = encodePath,
): { base: string; rest: string } {
  const whole = script + path
  const decoded = raw === '' ? '' : decodePath(raw)
  const missing = whole.length - decoded.length
  if (decoded === '' || missing < 0 || missing > script.length || !whole.endsWith(decoded)) {
    return { base: encode(script), rest: encode(path) }
  }
  const at = encodedLength(raw, script.length - missing)
  const prefix = encode(script.slice(0, missing))
  return {
    base: prefix + percentEncode(raw.slice(0, at), NOT_IN_RAW_PATH),
    rest: percentEncode(raw.slice(at), NOT_IN_RAW_PATH),
  }
}

function encodePath(bytes: string): string {
  return percentEncode(bytes, NOT_IN_PATH)
}

/** The path of a target in origin or absolute form, not decoded; '*' for itself. */
function rawPath(target: string): string {
  return target === '*' ? target : (TARGET_PATH.exec(target)?.[1] ?? '')
}

const TARGET_PATH = /^(?:[a-z][a-z0-9+.-]*:\/\/[^/?#]*)?(\/[^?#]*)/i

/** How many characters of `raw` stand for the first `count` that it decodes to. */
function encodedLength(raw: string, count: number): number {
  let at = 0
  for (let i = 0; i < count; i += 1) at += isEscape(raw, at) ? 3 : 1
  return at
}

function isEscape(raw: string, at: number): boolean {
  return raw[at] === '%' && /^[0-9a-f]{2}$/i.test(raw.slice(at + 1, at + 3))
}

/** A path in which nothing has to be encoded. */
const PLAIN = /^[\w.~!$&'()*+,;=:@/-]*$/
/** What a path must not contain (RFC 3986, section 3.3). */
const NOT_IN_PATH = /[^\w.~!$&'()*+,;=:@/-]/g
/** The same in a path that is encoded already. Printable characters stay, as in node:http. */
const NOT_IN_RAW_PATH = /[^!-~]/g
/** A query in which nothing has to be encoded. */
const VISIBLE = /^[!"$-~]*$/
/** '#' would begin the fragment. */
const NOT_IN_QUERY = /[^!"$-~]/g
