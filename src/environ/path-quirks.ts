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
    indexInPath(environ)
    pathInfoRepeatsScriptName(environ)
    pathInfoInScriptName(environ)
    emptyScriptName(environ)
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
 * nginx with `fastcgi_index`, as in configurations for PHP: to a path that ends with a slash,
 * $fastcgi_script_name adds the name of a file, which no client has requested. If SCRIPT_NAME and
 * PATH_INFO differ, SCRIPT_NAME stays, because it may be a front controller. PATH_INFO then stays as well
 * if REQUEST_URI shows that a location has rewritten the path.
 */
function indexInPath(environ: Environ): void {
  const uri = environ['DOCUMENT_URI']
  const { SCRIPT_NAME: script, PATH_INFO: info } = environ
  if (!uri?.endsWith('/') || script === uri || !isNginx(environ)) return
  if (info === undefined) {
    if (hasIndex(script, uri)) environ.SCRIPT_NAME = uri
  } else if (hasIndex(info, uri)) {
    if (info === script) environ.SCRIPT_NAME = uri
    else if (decodePath(environ['REQUEST_URI'] ?? '') !== uri) return
    environ.PATH_INFO = uri
  }
}

/** Whether `path` is `uri`, which ends with a slash, and one more segment. */
function hasIndex(path: string | undefined, uri: string): boolean {
  if (!path?.startsWith(uri) || path.length === uri.length) return false
  return path.indexOf('/', uri.length) < 0
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
  if (info !== wholePath(environ)) return
  if (info === script) environ.SCRIPT_NAME = ''
  else if (hasNginxParams(environ) && info.startsWith(`${script}/`))
    environ.PATH_INFO = info.slice(script.length)
}

function isNginx(environ: Environ): boolean {
  return environ['SERVER_SOFTWARE']?.startsWith('nginx') ?? false
}

/** As `isNginx`, or with nginx's `scgi_params`, which have no SERVER_SOFTWARE. */
function hasNginxParams(environ: Environ): boolean {
  const software = environ['SERVER_SOFTWARE']
  if (software !== undefined) return software.startsWith('nginx')
  return environ['SCGI'] === '1' && environ['DOCUMENT_URI'] !== undefined
}

/** The path that SCRIPT_NAME and PATH_INFO divide: nginx's DOCUMENT_URI, else REQUEST_URI decoded. */
function wholePath(environ: Environ): string {
  return environ['DOCUMENT_URI'] ?? decodePath(environ['REQUEST_URI'] ?? '')
}

/**
 * nginx (every version) with the `fastcgi_params` that it ships, Apache 2.4's mod_proxy_fcgi with
 * ProxyPass, HAProxy 2.6 without `path-info`: SCRIPT_NAME is the whole path, and PATH_INFO is
 * missing. If the administrator has set SCRIPT_NAME, PATH_INFO is the rest of nginx's DOCUMENT_URI,
 * over SCGI as well. A slash at the end of that SCRIPT_NAME belongs to PATH_INFO.
 */
function pathInfoInScriptName(environ: Environ): void {
  const { SCRIPT_NAME: mount, PATH_INFO: info } = environ
  if (info !== undefined || !mount) return
  const path = environ['DOCUMENT_URI']
  const end = mount.endsWith('/') ? mount.length - 1 : mount.length
  if (path !== undefined && path !== mount && path.startsWith(mount) && path[end] === '/') {
    if (!hasNginxParams(environ)) return
    environ.SCRIPT_NAME = mount.slice(0, end)
    environ.PATH_INFO = path.slice(end)
  } else if (
    isNginx(environ) ||
    environ['SERVER_SOFTWARE']?.startsWith('HAProxy') ||
    isProxyPass(environ)
  ) {
    environ.SCRIPT_NAME = ''
    environ.PATH_INFO = mount
  }
}

/**
 * nginx with its `fastcgi_params` or `scgi_params` and an empty SCRIPT_NAME, which says that the
 * application has no mount point: the whole path is PATH_INFO (RFC 3875, section 3.3).
 */
function emptyScriptName(environ: Environ): void {
  if (environ.SCRIPT_NAME !== '' || environ.PATH_INFO !== undefined) return
  environ.PATH_INFO = wholePath(environ)
}

/**
 * Whether the request comes from mod_proxy_fcgi with ProxyPass. SCRIPT_FILENAME is then `proxy:`, the
 * address and the path below the mount point; with `ProxyFCGIBackendType GENERIC` it is only that
 * path. With SetHandler it ends with a file name, and SCRIPT_NAME is as for a CGI script.
 */
function isProxyPass(environ: Environ): boolean {
  const { SCRIPT_FILENAME: file, DOCUMENT_ROOT: root, SCRIPT_NAME: script } = environ
  if (file === undefined || isScriptFile(environ, file)) return false
  if (file.startsWith('proxy:')) return true
  if (!root || !environ['SERVER_SOFTWARE']?.startsWith('Apache')) return false
  return file.startsWith('/') && !file.startsWith(root) && (file === '/' || script.endsWith(file))
}

/**
 * Whether `file` ends with the file that Apache finds for SCRIPT_NAME, below DocumentRoot or below the
 * directory of an Alias (CONTEXT_PREFIX and CONTEXT_DOCUMENT_ROOT). All may end with a slash.
 */
function isScriptFile(environ: Environ, file: string): boolean {
  const { SCRIPT_NAME: script, CONTEXT_PREFIX: prefix } = environ
  if (isBelow(environ['DOCUMENT_ROOT'], script, file)) return true
  if (!prefix || !script.startsWith(prefix)) return false
  const path = script.slice(withoutSlash(prefix).length)
  return isBelow(environ['CONTEXT_DOCUMENT_ROOT'], path, file)
}

function isBelow(directory: string | undefined, path: string, file: string): boolean {
  const root = withoutSlash(directory ?? '')
  return root !== '' && file.endsWith(root + path)
}

function withoutSlash(path: string): string {
  return path.endsWith('/') ? path.slice(0, -1) : path
}

/** nginx's `scgi_params` (every version) have neither SCRIPT_NAME nor PATH_INFO. */
function neitherName(environ: Environ): void {
  if (environ.SCRIPT_NAME !== undefined || environ.PATH_INFO !== undefined) return
  environ.SCRIPT_NAME = ''
  environ.PATH_INFO = wholePath(environ)
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
