/**
 * The request target that an application below a mount point sees, from its environ: PATH_INFO and
 * QUERY_STRING, spelled as the client spelled them where that is known.
 */
import { decodePath } from '../environ/decode-path.ts'
import { percentEncode } from '../text.ts'
import type { Environ } from '../types.ts'

export interface Target {
  /** SCRIPT_NAME, percent-encoded: '' or '/…'. */
  readonly base: string
  /** The path below the mount point and the query: '/…', or '*'. */
  readonly url: string
  /** The whole of it: what the client asked for. */
  readonly original: string
}

/** Computes the target of a request. */
export function targetOf(environ: Environ): Target {
  const { SCRIPT_NAME: script, PATH_INFO: path } = environ
  const query = environ.QUERY_STRING === '' ? '' : `?${environ.QUERY_STRING}`
  const uri = environ['REQUEST_URI'] ?? ''
  if (!uri.includes('%') && uri !== '*' && PLAIN.test(script) && PLAIN.test(path)) {
    // However it is spelled, it is spelled like that.
    return { base: script, url: (path || '/') + query, original: (script + path || '/') + query }
  }
  const raw = rawPath(uri)
  if (raw === '*' && path === '') return { base: '', url: '*', original: '*' }
  // A rewritten or normalised path is not what REQUEST_URI says: the web server's word counts.
  const spelled = raw !== '' && decodePath(raw) === script + path
  const at = spelled ? encodedLength(raw, script.length) : 0
  const base = spelled ? raw.slice(0, at) : encodePath(script)
  const rest = spelled ? raw.slice(at) : encodePath(path)
  return {
    base,
    url: (rest || '/') + query,
    original: (base + rest || '/') + query,
  }
}

/** The path of a target in origin or absolute form as it stands there; '*' for itself. */
function rawPath(target: string): string {
  return target === '*' ? target : (TARGET_PATH.exec(target)?.[1] ?? '')
}

const TARGET_PATH = /^(?:[a-z][a-z0-9+.-]*:\/\/[^/?#]*)?(\/[^?#]*)/i

/** How many characters of `raw` stand for the first `count` of what it decodes to. */
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

/** Percent-encodes a byte string, save what may stand in a path (RFC 3986, section 3.3). */
function encodePath(path: string): string {
  return percentEncode(path, /[^\w.~!$&'()*+,;=:@/-]/g)
}
