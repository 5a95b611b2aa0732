/** Caddy 2 with `transport fastcgi` (without `split` at the root, with it below a mount point). */
import { joined } from './sent-request.ts'
import { decoded, normalised } from '../path.ts'
import type { SentRequest, Variables } from './sent-request.ts'

export const CADDY_SOFTWARE = 'Caddy/2.6.2'

/** Headers of one connection, which a proxy does not pass on (RFC 9110, section 7.6.1). */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Caddy sends them in no particular order. */
export function caddyVariables(request: SentRequest, software: string): Variables {
  const { documentRoot, host, mount, remoteAddr } = request
  const info = decoded(request.rawPath).slice(mount.length)
  const bodiless = ['GET', 'HEAD', 'OPTIONS'].includes(request.method)
  const type = request.headers.find(([name]) => name.toLowerCase() === 'content-type')?.[1] ?? ''
  return [
    ['AUTH_TYPE', ''],
    ['CONTENT_LENGTH', String(request.length ?? 0)],
    ['CONTENT_TYPE', type === '' && !bodiless ? 'application/x-www-form-urlencoded' : type],
    ['DOCUMENT_ROOT', documentRoot],
    ['DOCUMENT_URI', mount],
    ['GATEWAY_INTERFACE', 'CGI/1.1'],
    ['PATH_INFO', info],
    ...(info === ''
      ? []
      : ([['PATH_TRANSLATED', joinPath(documentRoot, normalised(info))]] as Variables)),
    ['QUERY_STRING', request.query],
    ['REMOTE_ADDR', remoteAddr],
    ['REMOTE_HOST', remoteAddr],
    ['REMOTE_IDENT', ''],
    ['REMOTE_PORT', request.remotePort],
    ['REMOTE_USER', ''],
    ['REQUEST_METHOD', request.method],
    ['REQUEST_SCHEME', 'http'],
    ['REQUEST_URI', request.target],
    ['SCRIPT_FILENAME', joinPath(documentRoot, mount)],
    ['SCRIPT_NAME', mount],
    ['SERVER_NAME', host],
    ['SERVER_PORT', request.hostPort ?? '80'],
    ['SERVER_PROTOCOL', request.serverProtocol],
    ['SERVER_SOFTWARE', software],
    ...headerVariables(request),
  ]
}

function joinPath(root: string, path: string): string {
  return path === '' || path === '/' ? root : root + path
}

/** The headers, and those that `reverse_proxy` adds. */
function headerVariables(request: SentRequest): Variables {
  const host = request.headers.find(([name]) => name.toLowerCase() === 'host')![1]
  const connection = request.headers
    .filter(([name]) => name.toLowerCase() === 'connection')
    .flatMap(([, value]) => value.toLowerCase().split(','))
  const named = new Set(connection.map((name) => name.trim()))
  const variables: Variables = []
  for (const [name, value] of request.headers) {
    const lower = name.toLowerCase()
    if (named.has(lower)) continue
    const isTrailers = lower === 'te' && /\btrailers\b/i.test(value)
    if (HOP_BY_HOP.has(lower) && !isTrailers) continue
    // Only '-' and the space become '_'.
    variables.push([`HTTP_${name.toUpperCase().replace(/[- ]/g, '_')}`, value])
  }
  if (!variables.some(([name]) => name === 'HTTP_USER_AGENT'))
    variables.push(['HTTP_USER_AGENT', ''])
  variables.push(
    ['HTTP_X_FORWARDED_FOR', request.remoteAddr],
    ['HTTP_X_FORWARDED_HOST', host],
    ['HTTP_X_FORWARDED_PROTO', 'http'],
  )
  return joined(variables, () => ', ')
}
