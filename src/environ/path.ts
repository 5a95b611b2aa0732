/** SCRIPT_NAME and PATH_INFO as the application sees them: options, repairs, mount point. */
import type { Options } from '../options/options.ts'
import type { Environ } from '../types.ts'
import { decodePath } from './decode-path.ts'
import { divideCorrectly, redirectedFrom, respellPath } from './path-quirks.ts'

/** Where SCRIPT_NAME ends and PATH_INFO begins, if the web server sends them wrong. */
export type PathOptions = Pick<Options, 'scriptName' | 'pathInfo'>

/** Sets SCRIPT_NAME and PATH_INFO: each is '' or '/…', not both are '', and SCRIPT_NAME is never '/'. */
export function repairPath(environ: Environ, options: PathOptions, gateway?: string): void {
  const strategy = options.pathInfo ?? 'auto'
  if (strategy !== 'as-is') divideCorrectly(environ, gateway)
  if (strategy === 'auto') respellPath(environ)
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
  // 'OPTIONS *' (RFC 9112, section 3.2.4), or a web server that sends no path at all.
  if (environ.PATH_INFO === '' && environ.SCRIPT_NAME === '') environ.PATH_INFO = '/'
}

function requestedPath(environ: Environ, mount: string): string {
  const { SCRIPT_NAME: script, PATH_INFO: info, REQUEST_URI: uri } = environ
  const rest = mount + info
  return script !== '' && info !== '' && uri !== undefined && decodePath(uri) === rest
    ? rest
    : script + info
}

/** Adds a missing leading slash. The target of `OPTIONS *` is not a path. */
function absolute(path: string | undefined): string {
  if (!path || path === '*') return ''
  return path.charCodeAt(0) === 0x2f ? path : `/${path}`
}

/**
 * Removes the mount point from the beginning of the path. If the path does not begin with the mount
 * point, the web server has already removed it. If SCRIPT_NAME is not part of the requested path, it
 * names a front controller, and PATH_INFO is the rest of that path. Slashes at the end of `mountPoint` do not count.
 */
function mountAt(environ: Environ, mountPoint: string): void {
  let end = mountPoint.length
  while (mountPoint[end - 1] === '/') end -= 1
  const mount = absolute(mountPoint.slice(0, end))
  const path = redirectedFrom(environ) ?? requestedPath(environ, mount)
  if (path === mount || path.startsWith(`${mount}/`)) environ.PATH_INFO = path.slice(mount.length)
  environ.SCRIPT_NAME = mount
}
