/** Directories of scripts beside an application: `portico serve --cgi-bin`. */
import { cgiBin } from '../cgi-bin/cgi-bin.ts'
import { copyEnviron, encodeText } from '../environ/environ.ts'
import { mount } from '../middleware/mount.ts'
import type { MountSettings } from '../master/settings.ts'
import type { Application, Environ } from '../types.ts'

/**
 * Runs the scripts of each directory at its path, and `application` for all other requests.
 *
 * @param mountPoint the option `scriptName` of the handler.
 */
export function withScripts(
  application: Application,
  directories: readonly MountSettings[],
  mountPoint: string,
): Application {
  const whole: Application = (environ, startResponse) => {
    for (const { at, run } of mounts) {
      const divided = divide(environ, at, mountPoint)
      if (divided !== null) return run(divided, startResponse)
    }
    return application(environ, startResponse)
  }
  const redirects = mountPoint === '' ? whole : mount({ [mountPoint]: whole })
  const mounts = directories
    .map(({ at, file, cgiBin: options }) => ({
      at: encodeText(at),
      run: cgiBin(file, { ...withInfinity(options ?? {}), redirects }),
    }))
    .toSorted((a, b) => b.at.length - a.at.length)
  return whole
}

/** The request below a path; null if it is not below it. */
function divide(environ: Environ, at: string, mountPoint: string): Environ | null {
  const { SCRIPT_NAME: script, PATH_INFO: info } = environ
  const prefix = mountPoint + at
  const path = script + info
  // Web servers may have divided the path at the script, as nginx does with fastcgi_split_path_info.
  if (isBelow(path, prefix)) return withPath(environ, prefix, path.slice(prefix.length))
  // Below a mount point that only the web server knows.
  if (isBelow(info, at)) return withPath(environ, script + at, info.slice(at.length))
  return null
}

function isBelow(path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(`${prefix}/`)
}

function withPath(environ: Environ, script: string, info: string): Environ {
  const copy = copyEnviron(environ)
  copy.SCRIPT_NAME = script
  copy.PATH_INFO = info
  return copy
}

function withInfinity(options: object): object {
  const entries = Object.entries(options)
  return Object.fromEntries(
    entries.map(([name, value]): [string, unknown] => [name, value === null ? Infinity : value]),
  )
}
