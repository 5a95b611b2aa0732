/**
 * Corrections of SCRIPT_NAME and PATH_INFO for web servers that send wrong values, one function each.
 * docs/server-quirks.md lists them.
 *
 * No function computes PATH_INFO from a file name (CVE-2019-11043). No function produces a path that
 * the web server's access rules have not seen: REQUEST_URI is used only if it is another spelling of
 * the server's own path.
 */
import type { Environ } from '../types.ts'
import { decodePath } from './decode-path.ts'

/**
 * Splits the path into SCRIPT_NAME and PATH_INFO if the web server has split it wrongly or not at all.
 *
 * The order matters: every correction except `frontController` checks which of the two variables
 * is set, and `neitherName` sets both. Under CGI there is always a script, and SCRIPT_NAME is its
 * path: fcgiwrap passes on what nginx sends, without a PATH_INFO for the script itself.
 */
export function divideCorrectly(environ: Environ, gateway?: string): void {
  if (gateway !== 'cgi') {
    pathInfoRepeatsScriptName(environ)
    pathInfoInScriptName(environ)
  }
  neitherName(environ)
  frontController(environ)
}

/**
 * Undoes changes that web servers make to the spelling of a path. `escapedPathInfo` comes first: it
 * decodes PATH_INFO, and `mergedSlashes` compares the decoded path with REQUEST_URI.
 */
export function respellPath(environ: Environ): void {
  escapedPathInfo(environ)
  mergedSlashes(environ)
}

/**
 * nginx with `fastcgi_params` and `fastcgi_param PATH_INFO $fastcgi_script_name`, as in many guides:
 * PATH_INFO is the whole path. SCRIPT_NAME is the whole path as well, or the administrator has set
 * it. SCRIPT_NAME followed by PATH_INFO must be the path (RFC 3875, section 3.3), and DOCUMENT_URI,
 * or REQUEST_URI without it, shows that it is not. Other web servers with such a configuration
 * repeat the whole path.
 */
function pathInfoRepeatsScriptName(environ: Environ): void {
  const { SCRIPT_NAME: script, PATH_INFO: info } = environ
  if (!script || !info?.startsWith(script)) return
  if (info !== (environ['DOCUMENT_URI'] ?? decodePath(environ['REQUEST_URI'] ?? ''))) return
  if (info === script) environ.SCRIPT_NAME = ''
  else if (isNginx(environ) && info.startsWith(`${script}/`))
    environ.PATH_INFO = info.slice(script.length)
}

function isNginx(environ: Environ): boolean {
  return environ['SERVER_SOFTWARE']?.startsWith('nginx') ?? false
}

/**
 * nginx (every version) with the `fastcgi_params` that it ships, Apache 2.4's mod_proxy_fcgi with
 * ProxyPass, HAProxy 2.6 without `path-info`: SCRIPT_NAME is the whole path, and PATH_INFO is
 * missing. If the administrator has set SCRIPT_NAME, PATH_INFO is the rest of nginx's DOCUMENT_URI.
 */
function pathInfoInScriptName(environ: Environ): void {
  if (environ.PATH_INFO !== undefined || !environ.SCRIPT_NAME) return
  const haproxy = environ['SERVER_SOFTWARE']?.startsWith('HAProxy')
  if (!haproxy && !isNginx(environ) && !isProxyPass(environ)) return
  const mount = environ.SCRIPT_NAME
  const path = environ['DOCUMENT_URI'] ?? mount
  if (path.startsWith(`${mount}/`)) {
    environ.PATH_INFO = path.slice(mount.length)
  } else {
    environ.SCRIPT_NAME = ''
    environ.PATH_INFO = mount
  }
}

/**
 * Whether the request comes from mod_proxy_fcgi with ProxyPass. SCRIPT_FILENAME is then `proxy:`, the
 * address and the path below the mount point; with `ProxyFCGIBackendType GENERIC` it is only that
 * path. With SetHandler it ends with a file name, and SCRIPT_NAME is as for a CGI script.
 */
function isProxyPass(environ: Environ): boolean {
  const { SCRIPT_FILENAME: file, DOCUMENT_ROOT: root, SCRIPT_NAME: script } = environ
  if (file === undefined) return false
  if (file.startsWith('proxy:')) return !root || !file.endsWith(root + script)
  if (!root || !environ['SERVER_SOFTWARE']?.startsWith('Apache')) return false
  return file.startsWith('/') && !file.startsWith(root) && (file === '/' || script.endsWith(file))
}

/** nginx's `scgi_params` (every version) have neither SCRIPT_NAME nor PATH_INFO. */
function neitherName(environ: Environ): void {
  if (environ.SCRIPT_NAME !== undefined || environ.PATH_INFO !== undefined) return
  environ.SCRIPT_NAME = ''
  environ.PATH_INFO = environ['DOCUMENT_URI'] ?? decodePath(environ['REQUEST_URI'] ?? '')
}

/**
 * Apache 2.4 with a front controller, such as `RewriteRule ^(.*)$ index.cgi/$1`: SCRIPT_NAME names
 * the script, which no URL in a browser contains. The correction is safe only if the requested path
 * is the script's directory followed by PATH_INFO, which mod_rewrite may have decoded again.
 */
function frontController(environ: Environ): void {
  const requested = redirectedFrom(environ)
  if (requested === undefined || !environ.PATH_INFO) return
  const directory = environ.SCRIPT_NAME.slice(0, environ.SCRIPT_NAME.lastIndexOf('/'))
  const path = directory + environ.PATH_INFO
  if (requested !== path && decodePath(requested) !== path) return
  environ.SCRIPT_NAME = directory
  environ.PATH_INFO = requested.slice(directory.length)
}

/**
 * The path that Apache has internally redirected to a script: REDIRECT_URL, which Apache has decoded
 * and normalised. Undefined if the script handles an error (ErrorDocument), or if the path contains
 * the script.
 */
export function redirectedFrom(environ: Environ): string | undefined {
  const { REDIRECT_URL: path, REDIRECT_STATUS: status, SCRIPT_NAME: script } = environ
  if (path === undefined || status !== '200' || !script) return undefined
  return path === script || path.startsWith(`${script}/`) ? undefined : path
}

/**
 * Apache 2.4's mod_proxy_scgi with `proxy-scgi-pathinfo` percent-encodes PATH_INFO. Then it removes
 * from the decoded path only the end that both spellings share, which begins after the segment with
 * the last escape, and calls the rest SCRIPT_NAME.
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
 * several slashes into one. REQUEST_URI has the path as the client sent it. PATH_INFO is taken from
 * there if the two paths differ in nothing else: a rewritten or normalised path stays.
 */
function mergedSlashes(environ: Environ): void {
  const uri = environ['REQUEST_URI']
  if (uri === undefined) return
  // A double slash can be written '//' or with %2F.
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
