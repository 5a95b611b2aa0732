/** An HTTP request → CGI variables. */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { PeerError } from '../errors.ts'
import type { Environ } from '../types.ts'
import { decodePath } from './decode-path.ts'
import { putVariable, ruleFor, type Rule } from './environ.ts'
import { isHost } from './host.ts'
import { interned } from './known-variables.ts'

/** How many header names are cached, and their longest length: more than browsers and proxies use. */
const MAX_KNOWN_NAMES = 512
const MAX_KNOWN_LENGTH = 64

/**
 * Sets the CGI variables that the connection and the head of a request determine.
 *
 * @throws {PeerError} for a request that cannot be served, or if the client has disconnected.
 */
export function addHTTPVariables(
  environ: Environ,
  request: IncomingMessage,
  maxHeaders: number,
): void {
  const { socket } = request
  const target = request.url ?? '/'
  const hash = target.indexOf('#')
  const mark = target.indexOf('?')
  environ.REQUEST_METHOD = request.method ?? 'GET'
  environ.SCRIPT_NAME = ''
  environ.PATH_INFO = pathOf(environ.REQUEST_METHOD, target)
  environ.QUERY_STRING =
    mark < 0 || (hash >= 0 && hash < mark)
      ? ''
      : target.slice(mark + 1, hash < 0 ? undefined : hash)
  environ['REQUEST_URI'] = target
  environ.SERVER_PROTOCOL = `HTTP/${request.httpVersion}`
  environ.SERVER_NAME = plainAddress(socket.localAddress) || 'localhost'
  environ.SERVER_PORT = String(socket.localPort ?? '80')
  if (isGone(socket)) throw new PeerError('PORTICO_DISCONNECTED', 'The client disconnected')
  if (socket.remoteAddress !== undefined) {
    environ['REMOTE_ADDR'] = plainAddress(socket.remoteAddress)
    environ['REMOTE_PORT'] = String(socket.remotePort)
  }
  environ['GATEWAY_INTERFACE'] = 'CGI/1.1'
  // Bun's sockets have `encrypted: false`, Node's have it only with TLS.
  if ((socket as { encrypted?: boolean }).encrypted) environ['HTTPS'] = 'on'
  if (request.httpVersionMajor !== 1) {
    const message = `Unsupported HTTP version ${request.httpVersion}`
    throw new PeerError('PORTICO_BAD_REQUEST', message, '505 HTTP Version Not Supported')
  }
  addHeaders(environ, request, maxHeaders)
  const authority = target.startsWith('/') ? undefined : AUTHORITY.exec(target)?.[1]
  if (authority === undefined) return
  // RFC 9110, sections 4.2.1, 4.2.2 and 4.2.4.
  if (!/^https?:/i.test(target) || authority === '' || !isHost(authority)) {
    throw new PeerError(
      'PORTICO_BAD_REQUEST',
      'Invalid absolute request target: it must be an http or https URI with a host, and no user',
    )
  }
  // The host of the target replaces Host (RFC 9112, section 3.2.2).
  environ['HTTP_HOST'] = authority
}

/**
 * The path of a target. An absolute target without one means '/' (RFC 9110, section 4.2.3), and so
 * does '*', which is for OPTIONS only (RFC 9112, section 3.2.4).
 */
function pathOf(method: string, target: string): string {
  const path = decodePath(target)
  if (path !== '') return path
  if (AUTHORITY.test(target) || (target === '*' && method === 'OPTIONS')) return '/'
  throw new PeerError('PORTICO_BAD_REQUEST', "Invalid request target: it must begin with '/'")
}

const AUTHORITY = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i

/**
 * Whether a connection was reset before its address was known. Its requests must not run, because
 * they would have no REMOTE_ADDR. A Unix socket never has an address.
 */
export function isGone(socket: Socket): boolean {
  if (socket.remoteAddress !== undefined) return false
  return socket.destroyed || socket.localAddress !== undefined
}

/**
 * Headers → HTTP_*, CONTENT_TYPE, CONTENT_LENGTH. A name with anything but letters, digits and '-'
 * is dropped: two different headers could become one variable ('X_User', 'X-User').
 *
 * @throws {PeerError} 400 for a second Host, Content-Type or Content-Length, because it is unclear
 *   which one counts, and for an invalid Host (RFC 9112, section 3.2); 431 for more than `max` headers; and see `checkCoding`.
 */
export function addHeaders(environ: Environ, request: IncomingMessage, max: number): void {
  // `headers` is slower: Node builds that object on first use.
  const { rawHeaders: raw } = request
  if (raw.length > 2 * max) {
    throw new PeerError(
      'PORTICO_TOO_LARGE',
      `The request has more than ${max} headers`,
      '431 Request Header Fields Too Large',
    )
  }
  let coding: string | undefined
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const value = raw[i + 1]!
    const known = variableOf(raw[i]!)
    if (known === null) continue
    if (known.name === 'TRANSFER_ENCODING') {
      // Not a variable, because the application gets the decoded body.
      coding = coding === undefined ? value : `${coding}, ${value}`
      continue
    }
    if (known.single && known.name in environ) {
      throw new PeerError('PORTICO_BAD_REQUEST', `The request has two headers ${raw[i]}`)
    }
    if (known.name === 'HTTP_HOST' && !isHost(value)) {
      throw new PeerError('PORTICO_BAD_REQUEST', 'The value of the header Host is not a host')
    }
    putVariable(environ, known.name, known.rule, value)
  }
  if (coding !== undefined) checkCoding(coding, request.httpVersion)
}

/** The variable that a header becomes. */
interface KnownHeader {
  readonly name: string
  readonly rule: Rule
  /** A request must not have two of them. */
  readonly single: boolean
}

// The keys are the client's spellings, several of which may share one variable.
const byHeader = new Map<string, KnownHeader | null>()
const byVariable = new Map<string, KnownHeader>()

/** The variable for a header; null if the header does not become one. */
function variableOf(header: string): KnownHeader | null {
  let known = byHeader.get(header)
  if (known === undefined) {
    const name = nameVariable(header)
    const remember = byHeader.size < MAX_KNOWN_NAMES && header.length <= MAX_KNOWN_LENGTH
    known =
      name === null ? null : (byVariable.get(name) ?? knownHeader(remember ? interned(name) : name))
    if (remember) {
      byHeader.set(header, known)
      if (known !== null) byVariable.set(known.name, known)
    }
  }
  return known
}

function knownHeader(name: string): KnownHeader {
  const rule = ruleFor(name)
  // Over HTTP there is no configuration to repeat a variable: the client or a proxy sent every line.
  return { name, rule: rule === 'single header' ? 'header' : rule, single: SINGLE.has(name) }
}

const SINGLE: ReadonlySet<string> = new Set(['HTTP_HOST', 'CONTENT_TYPE', 'CONTENT_LENGTH'])
const PLAIN: ReadonlySet<string> = new Set(['CONTENT_TYPE', 'CONTENT_LENGTH', 'TRANSFER_ENCODING'])

function nameVariable(name: string): string | null {
  if (!/^[a-z0-9-]+$/i.test(name)) return null
  const variable = name.toUpperCase().replaceAll('-', '_')
  return PLAIN.has(variable) ? variable : `HTTP_${variable}`
}

/**
 * Node has already decoded `chunked` and ignores any coding listed before it, so that the
 * application would get an encoded body. HTTP/1.0 has no Transfer-Encoding, and an HTTP/1.0 proxy
 * would not see where the body ends (RFC 9112, section 6.1).
 *
 * @throws {PeerError} 501 for a coding other than `chunked`, 400 for HTTP/1.0.
 */
function checkCoding(coding: string, httpVersion: string): void {
  if (httpVersion === '1.0') {
    throw new PeerError('PORTICO_BAD_REQUEST', 'HTTP/1.0 does not allow a transfer coding')
  }
  if (coding.toLowerCase() !== 'chunked') {
    const message = 'The only supported transfer coding is chunked'
    throw new PeerError('PORTICO_BAD_REQUEST', message, '501 Not Implemented')
  }
}

/**
 * Whether a request can be accepted without the checks of `addHeaders`: HTTP/1, a path as target, at
 * most `max` headers, no second Host, Content-Type or Content-Length, and no transfer coding. An
 * invalid Host is left to the framework, whose own tests send one.
 */
export function isOrdinary(request: IncomingMessage, max: number): boolean {
  const { rawHeaders: raw, url = '' } = request
  if (request.httpVersionMajor !== 1 || raw.length > 2 * max) return false
  if (url.charCodeAt(0) !== 0x2f || url.includes('%00')) return false
  let seen = 0
  for (let i = 0; i < raw.length; i += 2) {
    const bit = BIT_OF_LENGTH[raw[i]!.length]
    if (bit === undefined) continue
    const name = raw[i]!.toLowerCase()
    if (name === 'transfer-encoding') return false
    if (name !== 'host' && name !== 'content-type' && name !== 'content-length') continue
    const value = raw[i + 1]!
    if ((seen & bit) !== 0 || (name === 'content-length' && value.length > 15)) return false
    seen |= bit
  }
  return true
}

/** The names that `isOrdinary` looks for differ in length. */
const BIT_OF_LENGTH: readonly (number | undefined)[] = Array.from({ length: 18 }, (_, length) =>
  [4, 12, 14, 17].includes(length) ? 1 << length : undefined,
)

/** Whether a header announces a request body (RFC 9112, section 6.3). */
export function hasBody({ rawHeaders }: IncomingMessage): boolean {
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.length !== 14 && name.length !== 17) continue
    if (/^(?:content-length|transfer-encoding)$/i.test(name)) return true
  }
  return false
}

/** An address without the prefix `::ffff:` of an IPv4 peer on a dual-stack socket. */
export function plainAddress(address = ''): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address
}
