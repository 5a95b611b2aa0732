/**
 * Corrections of SCRIPT_NAME and PATH_INFO for web servers that send them wrong, one function each;
 * docs/server-quirks.md lists them.
 *
 * None of them computes PATH_INFO from the name of a file (CVE-2019-11043), and none lets a path
 * through that the web server has not judged: REQUEST_URI counts only where it is the server's own
 * path in another spelling.
 */
import type { Environ } from '../types.ts'
import { decodePath } from './decode-path.ts'

/**
 * Supplies a SCRIPT_NAME or PATH_INFO that the web server leaves out. The order matters:
 * `pathInfoInScriptName` needs a SCRIPT_NAME, and `neitherName` supplies one.
 */
export function addMissingPath(environ: Environ): void {
  pathInfoInScriptName(environ)
  neitherName(environ)
}

/**
 * Undoes what web servers do to the spelling of a path. `escapedPathInfo` is first: it decodes
 * PATH_INFO, and `mergedSlashes` compares the decoded path with REQUEST_URI.
 */
export function respellPath(environ: Environ): void {
  escapedPathInfo(environ)
  mergedSlashes(environ)
}

/**
 * nginx (every version) with the `fastcgi_params` that it ships, Apache 2.4's mod_proxy_fcgi with
 * ProxyPass, HAProxy 2.6 without `path-info`: SCRIPT_NAME is the whole path, and PATH_INFO is
 * missing. If the administrator has set SCRIPT_NAME, PATH_INFO is the rest of nginx's DOCUMENT_URI.
 */
function pathInfoInScriptName(environ: Environ): void {
  if (environ.PATH_INFO !== undefined || !environ.SCRIPT_NAME) return
  const software = environ['SERVER_SOFTWARE'] ?? ''
  if (
    !software.startsWith('nginx') &&
    !software.startsWith('HAProxy') &&
    !environ['SCRIPT_FILENAME']?.startsWith('proxy:')
  ) {
    return
  }
  const mount = environ.SCRIPT_NAME
  const path = environ['DOCUMENT_URI'] ?? mount
  if (path.startsWith(`${mount}/`)) {
    environ.PATH_INFO = path.slice(mount.length)
  } else {
    environ.SCRIPT_NAME = ''
    environ.PATH_INFO = mount
  }
}

/** nginx's `scgi_params` (every version) have neither SCRIPT_NAME nor PATH_INFO. */
function neitherName(environ: Environ): void {
  if (environ.SCRIPT_NAME !== undefined || environ.PATH_INFO !== undefined) return
  environ.SCRIPT_NAME = ''
  environ.PATH_INFO = environ['DOCUMENT_URI'] ?? decodePath(environ['REQUEST_URI'] ?? '')
}

/**
 * Apache 2.4's mod_proxy_scgi with `proxy-scgi-pathinfo` percent-encodes PATH_INFO again. Its
 * SCRIPT_NAME is the decoded path without the common end of both, and that is only what follows
 * the segment of the last escape.
 */
function escapedPathInfo(environ: Environ): void {
  const encoded = environ.PATH_INFO
  if (!encoded?.includes('%') || environ['SCGI'] !== '1') return
  if (!environ['SERVER_SOFTWARE']?.startsWith('Apache')) return
  const slash = encoded.indexOf('/', encoded.lastIndexOf('%'))
  const end = slash < 0 ? '' : encoded.slice(slash)
  const whole = mergeSlashes((environ.SCRIPT_NAME ?? '') + end)
  const path = decodePath(encoded)
  const tail = mergeSlashes(path)
  if (!whole.endsWith(tail)) return
  environ.SCRIPT_NAME = whole.slice(0, whole.length - tail.length)
  environ.PATH_INFO = path
}

/**
 * nginx with `merge_slashes` (its default) and Apache 2.4.39 with MergeSlashes (its default) turn
 * several slashes into one. PATH_INFO is taken from REQUEST_URI, which has the path as it was
 * requested, if that differs in nothing else: a rewritten or normalised path stays as it is.
 */
function mergedSlashes(environ: Environ): void {
  const uri = environ['REQUEST_URI']
  if (uri === undefined) return
  // Two slashes are written as such, or come from %2F.
  if (!uri.includes('//') && !(uri.includes('%') && ENCODED_SLASH.test(uri))) return
  const script = environ.SCRIPT_NAME ?? ''
  const path = decodePath(uri)
  if (mergeSlashes(path) !== script + (environ.PATH_INFO ?? '')) return
  let at = 0
  for (let i = 0; i < script.length; i += 1, at += 1) {
    while (path[at] === '/' && path[at + 1] === '/') at += 1
  }
  environ.PATH_INFO = path.slice(at)
}

const ENCODED_SLASH = /%2f/i

function mergeSlashes(path: string): string {
  return path.replace(/\/{2,}/g, '/')
}
