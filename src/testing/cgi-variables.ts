/**
 * A request as CGI variables (RFC 3875, section 4.1), as a well-configured Apache 2.4 or nginx makes
 * them. It shares no code with the gateways, so that it cannot hide a mistake by repeating it.
 */
import type { HeaderList } from '../types.ts'
import { bodyBytes, mountedTarget, type TestRequest } from './client.ts'
import { decoded, normalised } from './path.ts'

/** What a web server knows besides the request. */
export interface CgiServer {
  readonly mount?: string | undefined
  /** Default 127.0.0.1. */
  readonly serverName?: string | undefined
  /** Default 80. */
  readonly serverPort?: number | undefined
  /** Default 127.0.0.1. */
  readonly remoteAddr?: string | undefined
  /** Default 49152. */
  readonly remotePort?: number | undefined
  /** Default HTTP/1.1. */
  readonly serverProtocol?: string | undefined
  readonly https?: boolean | undefined
  /** Default: a name for which gateways have no corrections; with `as`, that of the server. */
  readonly serverSoftware?: string | undefined
  /** SERVER_ADDR, which some web servers send. Default 127.0.0.1. */
  readonly serverAddr?: string | undefined
  /** DOCUMENT_ROOT, which some web servers send. Default /var/www/html. */
  readonly documentRoot?: string | undefined
  /** The file of the script, if there is one. */
  readonly scriptFilename?: string | undefined
}

/** SERVER_SOFTWARE: not the name of a server whose bugs gateways correct. */
const SOFTWARE = 'portico-testing'

/**
 * The variables in the order in which they are sent. Each name appears once.
 *
 * - The path is decoded once, repeated slashes are merged and dot segments resolved, as in both
 *   servers. REQUEST_URI is not decoded. PATH_INFO is omitted if it is empty, as in Apache.
 * - A header is dropped if its name has characters other than letters, digits and '-', or is Proxy.
 *   Spaces around values are removed. Repeated headers are joined with ', ', Cookie with '; '.
 */
export function cgiVariables(
  request: TestRequest,
  server: CgiServer = {},
): [name: string, value: string][] {
  const { mount = '', serverName = '127.0.0.1', remoteAddr = '127.0.0.1' } = server
  const target = mountedTarget(request.target, mount)
  const [, rawPath = '', query = ''] = TARGET.exec(target) ?? []
  const pathInfo = normalised(decoded(rawPath)).slice(mount.length)
  const variables = new Map([
    ['GATEWAY_INTERFACE', 'CGI/1.1'],
    ['SERVER_PROTOCOL', server.serverProtocol ?? 'HTTP/1.1'],
    ['SERVER_SOFTWARE', server.serverSoftware ?? SOFTWARE],
    ['SERVER_NAME', serverName],
    ['SERVER_PORT', String(server.serverPort ?? 80)],
    ['REMOTE_ADDR', remoteAddr],
    ['REMOTE_PORT', String(server.remotePort ?? 49_152)],
    ['REQUEST_METHOD', request.method ?? 'GET'],
    ['REQUEST_URI', target],
    ['SCRIPT_NAME', mount],
    ['QUERY_STRING', query],
  ])
  if (pathInfo !== '') variables.set('PATH_INFO', pathInfo)
  if (server.scriptFilename !== undefined) variables.set('SCRIPT_FILENAME', server.scriptFilename)
  if (server.https) variables.set('HTTPS', 'on')
  const body = request.body === undefined ? undefined : bodyBytes(request.body)
  if (body !== undefined) variables.set('CONTENT_LENGTH', String(body.length))
  addHeaders(variables, request.headers ?? [])
  return [...variables]
}

/** Origin form or absolute form (RFC 9112, section 3.2): path and query. */
const TARGET = /^(?:[a-z][a-z0-9+.-]*:\/\/[^/?#]*)?([^?#]*)(?:\?([^#]*))?/i

function addHeaders(variables: Map<string, string>, headers: Readonly<HeaderList>): void {
  for (const [name, raw] of headers) {
    const value = raw.trim()
    const variable = name.toUpperCase().replaceAll('-', '_')
    if (!/^[a-z0-9-]+$/i.test(name) || variable === 'PROXY') continue
    if (variable === 'CONTENT_TYPE' || variable === 'CONTENT_LENGTH') {
      variables.set(variable, value)
      continue
    }
    const earlier = variables.get(`HTTP_${variable}`)
    const separator = variable === 'COOKIE' ? '; ' : ', '
    variables.set(`HTTP_${variable}`, earlier === undefined ? value : earlier + separator + value)
  }
}
