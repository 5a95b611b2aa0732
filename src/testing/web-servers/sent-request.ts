/** A request as a web server sees it, and what the web servers have in common. */
import { Buffer } from 'node:buffer'
import type { HeaderList } from '../../types.ts'
import type { CgiServer } from '../cgi-variables.ts'
import { bodyBytes, mountedTarget, type TestRequest } from '../client.ts'
import type { ConnectTarget } from '../server-address.ts'

/** The gateways whose requests consist of variables. */
export type VariableGateway = 'cgi' | 'fastcgi' | 'scgi'

export type Variables = [name: string, value: string][]

export interface SentRequest {
  readonly gateway: VariableGateway
  readonly method: string
  /** The target with the mount point, as the client has sent it. */
  readonly target: string
  /** Its path, not decoded. */
  readonly rawPath: string
  readonly query: string
  /** The mount point: '' or '/…'. */
  readonly mount: string
  /** As the client has sent them: with Host, and with Content-Length if there is a body. */
  readonly headers: Readonly<HeaderList>
  /** The host of the Host header, without its port. */
  readonly host: string
  /** The port of the Host header. */
  readonly hostPort: string | undefined
  /** Bytes; undefined without a body. */
  readonly length: number | undefined
  readonly serverName: string
  readonly serverPort: string
  readonly serverAddr: string
  readonly serverProtocol: string
  readonly remoteAddr: string
  readonly remotePort: string
  readonly documentRoot: string
  /** HOST:PORT of the application, as a URL has it. */
  readonly authority: string
  /** The file of a CGI script. */
  readonly scriptFilename: string | undefined
}

/** Where Debian's packages of the web servers expect documents. */
const DOCUMENT_ROOT = '/var/www/html'

export function sentRequest(
  request: TestRequest,
  server: CgiServer,
  gateway: VariableGateway,
  address: ConnectTarget | undefined,
): SentRequest {
  const { mount = '', serverName = 'localhost' } = server
  const mounted = mountedTarget(request.target, mount)
  const [, authority, rawPath = '', query = ''] = TARGET.exec(mounted) ?? []
  const target = mounted.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, '') || '/'
  const headers = [...(request.headers ?? [])]
  const has = (name: string) => headers.some(([key]) => key.toLowerCase() === name)
  if (!has('host')) headers.unshift(['Host', authority ?? serverName])
  const length = request.body === undefined ? undefined : bodyBytes(request.body).length
  if (length !== undefined && !has('content-length')) {
    headers.push(['Content-Length', String(length)])
  }
  const given = headers.find(([name]) => name.toLowerCase() === 'host')![1].trim()
  const [, host = given, hostPort] = /^(.*?)(?::(\d+))?$/.exec(given) ?? []
  return {
    gateway,
    method: request.method ?? 'GET',
    target,
    rawPath: rawPath || '/',
    query,
    mount,
    headers: headers.map(([name, value]) => [name, value.trim()]),
    host,
    hostPort,
    length,
    serverName,
    serverPort: String(server.serverPort ?? 80),
    serverAddr: server.serverAddr ?? '127.0.0.1',
    serverProtocol: server.serverProtocol ?? 'HTTP/1.1',
    remoteAddr: server.remoteAddr ?? '127.0.0.1',
    remotePort: String(server.remotePort ?? 49_152),
    documentRoot: server.documentRoot ?? DOCUMENT_ROOT,
    authority: authorityOf(address),
    scriptFilename: server.scriptFilename,
  }
}

/** Origin form or absolute form (RFC 9112, section 3.2): authority, path and query. */
const TARGET = /^(?:[a-z][a-z0-9+.-]*:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?/i

/** The host and port in a URL. For a Unix socket the name is free, and often 'localhost'. */
function authorityOf(address: ConnectTarget | undefined): string {
  if (address === undefined) return 'localhost'
  if (typeof address === 'string') return address.startsWith('unix:') ? 'localhost' : address
  return 'port' in address ? `${address.host ?? '127.0.0.1'}:${address.port}` : 'localhost'
}

export function headerOf({ headers }: SentRequest, name: string): string | undefined {
  return headers.find(([key]) => key.toLowerCase() === name)?.[1]
}

/** The name of a header's variable. */
export function variableOf(name: string): string {
  return `HTTP_${name.toUpperCase().replace(/[^A-Z0-9]/g, '_')}`
}

/** Joins repeated variables, as servers that keep the headers in a table do. */
export function joined(variables: Variables, separator: (name: string) => string): Variables {
  const result = new Map<string, string>()
  for (const [name, value] of variables) {
    const earlier = result.get(name)
    result.set(name, earlier === undefined ? value : earlier + separator(name) + value)
  }
  return [...result]
}

/** The name of the user in `Authorization: Basic`. */
export function basicUser(request: SentRequest): string | undefined {
  const [, token] = /^basic +(\S+)$/i.exec(headerOf(request, 'authorization') ?? '') ?? []
  if (token === undefined) return undefined
  const [user] = Buffer.from(token, 'base64').toString('latin1').split(':')
  return user
}
