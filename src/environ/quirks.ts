/**
 * Corrections of variables for web servers that send wrong values, one function each.
 * docs/server-quirks.md lists them. Corrections of the path are in `path-quirks.ts`.
 */
import type { Environ } from '../types.ts'
import { PeerError } from '../errors.ts'
import { isHost } from './host.ts'

/** Applies the corrections. */
export function repairVariables(environ: Environ): void {
  serverNameExpression(environ)
  serverNameFromHost(environ)
  unknownContentLength(environ)
  redirectedAuthorization(environ)
}

/**
 * If the first `server_name` is a regular expression, nginx sends that: `~^(?<sub>.+)\.example\.com$`.
 * It has matched Host, which is the name of the server then (RFC 3875, section 4.1.14).
 */
function serverNameExpression(environ: Environ): void {
  if (environ.SERVER_NAME.charCodeAt(0) !== TILDE) return
  const host = environ['HTTP_HOST'] ?? ''
  if (isHost(host)) environ.SERVER_NAME = host.replace(/:\d*$/, '') || 'localhost'
}

const TILDE = 0x7e

/** The latest SERVER_NAME that is a host: most requests have the same. */
let latestName = ''

/**
 * HAProxy 2.6 copies SERVER_NAME from Host, port included. RFC 3875, section 4.1.14, allows no port.
 * Without a Host it sends its own address, whose last group is not a port. Caddy and nginx's `$host`
 * copy the name alone. All of them pass on what is not a host, and an invalid Host is a 400 (RFC 9112,
 * section 3.2).
 */
function serverNameFromHost(environ: Environ): void {
  const { SERVER_NAME: name, SERVER_SOFTWARE: software } = environ
  const hasPort = software?.startsWith('HAProxy') ?? false
  if (!hasPort && name === latestName) return
  if (!hasPort && isHost(name)) {
    latestName = name
    return
  }
  if (!isHost(environ['HTTP_HOST'] ?? '')) {
    throw new PeerError(
      'PORTICO_BAD_REQUEST',
      'Invalid Host header: it must be a host or host:port',
    )
  }
  if (hasPort) environ.SERVER_NAME = name.replace(/^(\[[^\]]*\]|[^:]*):[0-9]*$/, '$1')
}

/** For a chunked request Caddy 2.6 sends -1, which is Go's value for an unknown length. */
function unknownContentLength(environ: Environ): void {
  if (environ['CONTENT_LENGTH'] !== '-1') return
  if (environ['SERVER_SOFTWARE']?.startsWith('Caddy')) delete environ['CONTENT_LENGTH']
}

/**
 * Apache renames variables at each internal redirect, so that HTTP_AUTHORIZATION, which a RewriteRule
 * has set for a CGI script, arrives as REDIRECT_HTTP_AUTHORIZATION, or with the prefix repeated: a
 * RewriteRule in .htaccess and a FallbackResource redirect once each. No client can send these names.
 */
function redirectedAuthorization(environ: Environ): void {
  if (environ['HTTP_AUTHORIZATION']) return
  for (const name of REDIRECTED) {
    const value = environ[name]
    if (!value) continue
    environ['HTTP_AUTHORIZATION'] = value
    return
  }
}

/** Three internal redirects: each further name costs every request a lookup. */
const REDIRECTED = [
  'REDIRECT_HTTP_AUTHORIZATION',
  'REDIRECT_REDIRECT_HTTP_AUTHORIZATION',
  'REDIRECT_REDIRECT_REDIRECT_HTTP_AUTHORIZATION',
] as const
