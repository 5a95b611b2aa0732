/** SCRIPT_NAME and PATH_INFO as the application sees them: options, repairs, mount point. */
import type { Options } from '../options.ts'
import type { Environ } from '../types.ts'
import { decodePath } from './decode-path.ts'
import { divideCorrectly, redirectedFrom, respellPath } from './path-quirks.ts'

/** Where SCRIPT_NAME ends and PATH_INFO begins, if the web server does not say so correctly. */
export type PathOptions = Pick<Options, 'scriptName' | 'pathInfo'>

/** Sets SCRIPT_NAME and PATH_INFO: each is '' or '/…', and SCRIPT_NAME is never '/'. */
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
}

/** A path gets the slash that it lacks, except that of `OPTIONS *`, which is not a path. */
function absolute(path: string | undefined): string {
  if (!path || path === '*') return ''
  return path.charCodeAt(0) === 0x2f ? path : `/${path}`
}

/**
 * Cuts the mount point, with or without slashes at its end, off the path. A path that does not
 * begin with it is taken to be cut already.
 */
function mountAt(environ: Environ, mountPoint: string): void {
  let end = mountPoint.length
  while (mountPoint[end - 1] === '/') end -= 1
  const mount = absolute(mountPoint.slice(0, end))
  const path = redirectedFrom(environ) ?? environ.SCRIPT_NAME + environ.PATH_INFO
  if (path === mount || path.startsWith(`${mount}/`)) environ.PATH_INFO = path.slice(mount.length)
  environ.SCRIPT_NAME = mount
}
