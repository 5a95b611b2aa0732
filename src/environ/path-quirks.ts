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
 * Divides the path into SCRIPT_NAME and PATH_INFO where the web server divides it wrong, or not.
 *
 * The order matters: each correction but `frontController` asks which of the two names is there,
 * and `neitherName` supplies both. Under CGI there always is a script, and SCRIPT_NAME names it:
 * fcgiwrap passes on what nginx sends, without a PATH_INFO for the script itself.
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
 * Undoes what web servers do to the spelling of a path. `escapedPathInfo` is first: it decodes
 * PATH_INFO, and `mergedSlashes` compares the decoded path with REQUEST_URI.
 */
export function respellPath(environ: Environ): void {
  escapedPathInfo(environ)
  mergedSlashes(environ)
}

/**
 * nginx with `fastcgi_param PATH_INFO $fastcgi_script_name` (many guides) beside `fastcgi_params`:
 * both names are the whole path, or PATH_INFO is although the administrator has set SCRIPT_NAME.
 * Together they are not the path (RFC 3875, section 3.3), and DOCUMENT_URI shows it.
 */
function pathInfoRepeatsScriptName(environ: Environ): void {
  const { SCRIPT_NAME: script, PATH_INFO: info, DOCUMENT_URI: path } = environ
  if (!script || !info || info !== path || !isNginx(environ)) return
  if (info === script) environ.SCRIPT_NAME = ''
  else if (info.startsWith(`${script}/`)) environ.PATH_INFO = info.slice(script.length)
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
 * Whether the request comes from mod_proxy_fcgi by ProxyPass. SCRIPT_FILENAME is then `proxy:`, the
 * address and the path below the mount point; only that path with `ProxyFCGIBackendType GENERIC`.
 * With SetHandler it ends with a file's name, and SCRIPT_NAME is as for a CGI script.
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
 * the script, which is in no URL that a browser sees. Certain only where the requested path is the
 * directory of the script and PATH_INFO, which mod_rewrite may have decoded again.
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
 * The path that Apache has redirected internally to a script: REDIRECT_URL, decoded and normalised
 * by Apache itself. Undefined if the script handles an error (ErrorDocument), or is in that path.
 */
export function redirectedFrom(environ: Environ): string | undefined {
  const { REDIRECT_URL: path, REDIRECT_STATUS: status, SCRIPT_NAME: script } = environ
  if (path === undefined || status !== '200' || !script) return undefined
  return path === script || path.startsWith(`${script}/`) ? undefined : path
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
