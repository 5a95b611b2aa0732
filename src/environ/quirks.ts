/**
 * Corrections of variables, other than the path, for web servers that send them wrong, one function
 * each; docs/server-quirks.md lists them. Those of the path are in `path-quirks.ts`.
 */
import type { Environ } from '../types.ts'

/** Applies the corrections; they do not depend on one another. */
export function repairVariables(environ: Environ): void {
  serverNameWithPort(environ)
}

/**
 * HAProxy 2.6 copies SERVER_NAME from Host, port included. RFC 3875, section 4.1.14, allows no
 * port.
 */
function serverNameWithPort(environ: Environ): void {
  if (!environ['SERVER_SOFTWARE']?.startsWith('HAProxy')) return
  environ.SERVER_NAME = environ.SERVER_NAME.replace(/:[0-9]*$/, '')
}
