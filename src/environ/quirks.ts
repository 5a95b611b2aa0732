/**
 * SCRIPT_NAME and PATH_INFO as the application should see them, whatever the web server sent.
 *
 * Each repair is a function of its own that names the server it is for. None of them computes
 * PATH_INFO from the name of a file (CVE-2019-11043), and none lets a path through that the
 * server itself has not judged: REQUEST_URI is believed only where it is the server's own path
 * in another spelling, or where the deployment asks for it.
 */
import type { Environ } from '../types.ts'

/** How a deployment can overrule what the web server says of paths. */
export interface PathOptions {
  /** The mount point, '' or '/…', where the web server does not know it. */
  readonly scriptName?: string | undefined
  /**
   * - `'auto'` (default): believe the server, but repair what is known to be wrong;
   * - `'as-is'`: believe the server;
   * - `'from-uri'`: decode REQUEST_URI, whatever rewriting the server did.
   */
  readonly pathInfo?: 'auto' | 'as-is' | 'from-uri' | undefined
}

/** Gives the environ its SCRIPT_NAME and PATH_INFO: '' or '/…' each, SCRIPT_NAME never '/'. */
export function repairPath(environ: Environ, options: PathOptions): void {
  const strategy = options.pathInfo ?? 'auto'
  if (strategy !== 'as-is') {
    wholePathAsScriptName(environ)
    noScriptName(environ)
  }
  if (strategy === 'auto') {
    escapedPathInfo(environ)
    mergedSlashes(environ)
  }
  environ.SCRIPT_NAME = environ.SCRIPT_NAME === '/' ? '' : absolute(environ.SCRIPT_NAME)
  environ.PATH_INFO = absolute(environ.PATH_INFO)
  let mount = options.scriptName
  const uri = environ['REQUEST_URI']
  if (strategy === 'from-uri' && uri !== undefined) {
    mount ??= environ.SCRIPT_NAME
    environ.SCRIPT_NAME = ''
    environ.PATH_INFO = decodePath(uri)
  }
  if (mount !== undefined) mountAt(environ, mount)
}

/** Not every value has to start with a slash: that of `OPTIONS *` is no path at all. */
function absolute(path: string | undefined): string {
  if (!path || path === '*') return ''
  return path.charCodeAt(0) === 0x2f ? path : `/${path}`
}

/**
 * nginx (every version) with the `fastcgi_params` it ships, Apache 2.4's mod_proxy_fcgi with
 * ProxyPass, HAProxy 2.6 without `path-info`: SCRIPT_NAME is the whole path and PATH_INFO is
 * missing. Where the administrator sets a SCRIPT_NAME of his own, the rest of nginx's
 * DOCUMENT_URI is the PATH_INFO.
 */
function wholePathAsScriptName(environ: Environ): void {
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
function noScriptName(environ: Environ): void {
  if (environ.SCRIPT_NAME !== undefined || environ.PATH_INFO !== undefined) return
  environ.SCRIPT_NAME = ''
  environ.PATH_INFO = environ['DOCUMENT_URI'] ?? decodePath(environ['REQUEST_URI'] ?? '')
}

/**
 * Apache 2.4's mod_proxy_scgi with `proxy-scgi-pathinfo` percent-encodes PATH_INFO again. What it
 * takes for SCRIPT_NAME is the decoded path without what both have at their ends, which is only
 * what follows the segment of the last escape.
 */
function escapedPathInfo(environ: Environ): void {
  const encoded = environ.PATH_INFO
  if (!encoded?.includes('%') || environ['SCGI'] !== '1') return
  if (!environ['SERVER_SOFTWARE']?.startsWith('Apache')) return
  const slash = encoded.indexOf('/', encoded.lastIndexOf('%'))
  const end = slash < 0 ? '' : encoded.slice(slash)
  const whole = ((environ.SCRIPT_NAME ?? '') + end).replace(SLASHES, '/')
  const path = decodePath(encoded)
  const tail = path.replace(SLASHES, '/')
  if (!whole.endsWith(tail)) return
  environ.SCRIPT_NAME = whole.slice(0, whole.length - tail.length)
  environ.PATH_INFO = path
}

/**
 * HAProxy 2.6 takes SERVER_NAME from Host, with the port, which is none of a name's (RFC 3875,
 * section 4.1.14).
 */
export function repairServerName(environ: Environ): void {
  if (!environ['SERVER_SOFTWARE']?.startsWith('HAProxy')) return
  environ.SERVER_NAME = environ.SERVER_NAME.replace(/:[0-9]*$/, '')
}

/**
 * nginx with `merge_slashes` (the default) and Apache 2.4.39 with MergeSlashes (the default) make
 * one slash of several. The path as it was asked for is in REQUEST_URI; it is taken only if it
 * is the same path but for that, so that a rewritten or normalised one stays what the server says.
 */
function mergedSlashes(environ: Environ): void {
  const uri = environ['REQUEST_URI']
  if (uri === undefined) return
  // What has to be looked at further: two slashes that stand there, or come of %2F.
  if (!uri.includes('//') && !(uri.includes('%') && ENCODED_SLASH.test(uri))) return
  const script = environ.SCRIPT_NAME ?? ''
  const path = decodePath(uri)
  if (path.replace(SLASHES, '/') !== script + (environ.PATH_INFO ?? '')) return
  let at = 0
  for (let i = 0; i < script.length; i += 1, at += 1) {
    while (path[at] === '/' && path[at + 1] === '/') at += 1
  }
  environ.PATH_INFO = path.slice(at)
}

const ENCODED_SLASH = /%2f/i
const SLASHES = /\/{2,}/g

/**
 * Cuts the mount point, written with a slash at its end or without, off the path; a path without
 * it is taken to be cut already.
 */
function mountAt(environ: Environ, mountPoint: string): void {
  const mount = absolute(mountPoint.replace(/\/+$/, ''))
  const path = environ.SCRIPT_NAME + environ.PATH_INFO
  if (path === mount || path.startsWith(`${mount}/`)) environ.PATH_INFO = path.slice(mount.length)
  environ.SCRIPT_NAME = mount
}

/**
 * The path of a request target (RFC 9112, section 3.2) in origin or absolute form, percent-decoded
 * once into bytes; '' for `*` and for an authority. A '%' without two digits stays what it is.
 */
export function decodePath(target: string): string {
  const local = target.startsWith('/') ? target : target.replace(ORIGIN, '')
  if (!local.startsWith('/')) return ''
  const end = local.search(/[?#]/)
  const path = end < 0 ? local : local.slice(0, end)
  return path.includes('%')
    ? path.replace(ESCAPE, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)))
    : path
}

const ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i
const ESCAPE = /%([0-9a-f]{2})/gi
