/**
 * A request as CGI variables (RFC 3875, section 4.1), from the side of the web server: what Apache
 * 2.4 and nginx make of it where they are set up well. Nothing here is shared with the gateways
 * that read the variables again, so that a mistake in one is not hidden by the same in the other.
 */
import { Buffer } from 'node:buffer'
import type { HeaderList } from '../types.ts'
import { bodyBytes, mountedTarget, type TestRequest } from './client.ts'

/** What the web server knows besides the request. */
export interface CgiPlace {
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
  /** The script's file, where there is one. */
  readonly scriptFilename?: string | undefined
}

/** What the web server says of itself; none that a gateway has a repair for. */
const SOFTWARE = 'portico-testing'

/**
 * The variables in the order in which they are sent, each name once.
 *
 * - The path is decoded once, runs of slashes are merged and dot segments resolved, as both servers
 *   do; REQUEST_URI stays raw. PATH_INFO is left out where it is empty, as Apache does.
 * - A header whose name has other characters than letters, digits and '-' is dropped, and so is
 *   Proxy; blanks around a value go; repeated headers are joined with ', ', Cookie with '; '.
 */
export function cgiVariables(
  request: TestRequest,
  place: CgiPlace = {},
): [name: string, value: string][] {
  const { mount = '', serverName = '127.0.0.1', remoteAddr = '127.0.0.1' } = place
  const target = mountedTarget(request.target, mount)
  const [, rawPath = '', query = ''] = TARGET.exec(target) ?? []
  const pathInfo = normalised(decoded(rawPath)).slice(mount.length)
  const variables = new Map([
    ['GATEWAY_INTERFACE', 'CGI/1.1'],
    ['SERVER_PROTOCOL', place.serverProtocol ?? 'HTTP/1.1'],
    ['SERVER_SOFTWARE', SOFTWARE],
    ['SERVER_NAME', serverName],
    ['SERVER_PORT', String(place.serverPort ?? 80)],
    ['REMOTE_ADDR', remoteAddr],
    ['REMOTE_PORT', String(place.remotePort ?? 49_152)],
    ['REQUEST_METHOD', request.method ?? 'GET'],
    ['REQUEST_URI', target],
    ['SCRIPT_NAME', mount],
    ['QUERY_STRING', query],
  ])
  if (pathInfo !== '') variables.set('PATH_INFO', pathInfo)
  if (place.scriptFilename !== undefined) variables.set('SCRIPT_FILENAME', place.scriptFilename)
  if (place.https) variables.set('HTTPS', 'on')
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

/** Percent-decoded once, into bytes. */
function decoded(path: string): string {
  const bytes: number[] = []
  for (let i = 0; i < path.length; i += 1) {
    const digits = path.slice(i + 1, i + 3)
    if (path[i] === '%' && /^[0-9a-f]{2}$/i.test(digits)) {
      bytes.push(Number.parseInt(digits, 16))
      i += 2
    } else {
      bytes.push(path.charCodeAt(i))
    }
  }
  return Buffer.from(bytes).toString('latin1')
}

/** One slash for several; '.' and '..' resolved, never above the root. */
function normalised(path: string): string {
  const kept: string[] = []
  const segments = path.split('/').filter((segment) => segment !== '')
  for (const segment of segments) {
    if (segment === '..') kept.pop()
    else if (segment !== '.') kept.push(segment)
  }
  const folder = /(^|\/)\.{0,2}$/.test(path) && kept.length > 0
  return `/${kept.join('/')}${folder ? '/' : ''}`
}
