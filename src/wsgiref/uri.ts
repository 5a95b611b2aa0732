/** URIs from an environ (wsgiref.util). */
import { ApplicationError } from '../errors.ts'
import { percentEncode } from '../text.ts'
import type { Environ } from '../types.ts'

/** `'https'` if HTTPS is `on`, `yes` or `1` in any case: IIS sends `on`, others `On` or `1`. */
export function guessScheme(environ: Partial<Environ>): 'http' | 'https' {
  const https = environ['HTTPS']
  return https && /^(?:on|yes|1)$/i.test(https) ? 'https' : 'http'
}

/**
 * The base URI of the application, without PATH_INFO and query (PEP 3333, "URL Reconstruction").
 *
 * The client chooses HTTP_HOST. If it is not `host[:port]`, SERVER_NAME is used instead.
 *
 * @throws {ApplicationError} if SCRIPT_NAME is not a byte string.
 */
export function applicationUri(environ: Partial<Environ>): string {
  const scheme = environ['wsgi.url_scheme'] ?? guessScheme(environ)
  return `${scheme}://${authority(environ, scheme)}${encodePath('SCRIPT_NAME', environ.SCRIPT_NAME || '/')}`
}

/**
 * The URI of the request, with the query unless `includeQuery` is false.
 *
 * @throws {ApplicationError} if SCRIPT_NAME or PATH_INFO is not a byte string.
 */
export function requestUri(environ: Partial<Environ>, includeQuery = true): string {
  const path = encodePath('PATH_INFO', environ.PATH_INFO ?? '')
  const query = includeQuery && environ.QUERY_STRING ? `?${environ.QUERY_STRING}` : ''
  // Without SCRIPT_NAME the base URI ends with the slash that PATH_INFO begins with.
  return applicationUri(environ) + (environ.SCRIPT_NAME ? path : path.replace(/^\//, '')) + query
}

const HOST = /^(\[[\da-f:.]+\]|[\w.~%-]+)(:\d{0,5})?$/i

function authority(environ: Partial<Environ>, scheme: string): string {
  const [host, hostName, colonAndPort] = HOST.exec(environ['HTTP_HOST'] ?? '') ?? []
  // The colon of an empty port is left out (RFC 3986, section 6.2.3).
  if (hostName !== undefined) return colonAndPort === ':' ? hostName : host!
  const name = environ.SERVER_NAME || 'localhost'
  const port = environ.SERVER_PORT
  // nginx's $server_addr, for example, is an IPv6 address without the brackets of RFC 3875.
  const bracketed = name.includes(':') && !name.startsWith('[') ? `[${name}]` : name
  const usual = !port || port === (scheme === 'https' ? '443' : '80')
  return usual ? bracketed : `${bracketed}:${port}`
}

/** Percent-encodes the bytes of a path, except for those that need no encoding in one. */
function encodePath(name: string, path: string): string {
  // oxlint-disable-next-line no-control-regex
  const [character] = /[^\x00-\xff]/.exec(path) ?? []
  if (character) {
    throw new ApplicationError(
      `${name} must be a byte string, but contains "${character}"; use encodeText()`,
      'PORTICO_INVALID_ARGUMENT',
    )
  }
  return percentEncode(path, /[^\w.~/;=,-]/g)
}
