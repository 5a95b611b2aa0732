/** The CGI variables that the headers of an HTTP request become, and what they say of its body. */
import type { IncomingMessage } from 'node:http'
import { PeerError } from '../errors.ts'
import type { Environ } from '../types.ts'
import { putVariable, ruleFor, type Rule } from './environ.ts'
import { interned } from './known-variables.ts'

/** Header names whose variable is remembered, and their length: more than browsers and proxies have. */
const MAX_KNOWN_NAMES = 512
const MAX_KNOWN_LENGTH = 64

/**
 * Headers → HTTP_*, CONTENT_TYPE, CONTENT_LENGTH. Only letters, digits and '-' are taken: with any
 * other character two different headers could become one variable ('X_User', 'X-User').
 *
 * @throws {PeerError} 400 for a second Host, Content-Type or Content-Length: no reading of two
 *   is the right one. And as `checkCoding`.
 */
export function addHeaders(environ: Environ, request: IncomingMessage, max: number): void {
  // Not `headers`: Node would make an object of them all for it.
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
      // The body comes decoded: as a variable it would only mislead.
      coding = coding === undefined ? value : `${coding}, ${value}`
      continue
    }
    if (known.single && known.name in environ) {
      throw new PeerError('PORTICO_BAD_REQUEST', `The request has two headers ${raw[i]}`)
    }
    putVariable(environ, known.name, known.rule, value)
  }
  if (coding !== undefined) checkCoding(coding, request.httpVersion)
}

/** The variable that a header becomes. */
interface KnownHeader {
  readonly name: string
  readonly rule: Rule
  /** There must not be two. */
  readonly single: boolean
}

/** By the header's name as it came, and by the variable's: several names may have one variable. */
const byHeader = new Map<string, KnownHeader | null>()
const byVariable = new Map<string, KnownHeader>()

/** The variable for a header, or null if there is none. */
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
  // No configuration has repeated it: the client or a proxy has sent every line.
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
 * The one transfer coding there is has been taken off by Node, which passes over any before it; and
 * what is in front of a client of HTTP/1.0 does not know of it (RFC 9112, section 6.1).
 *
 * @throws {PeerError} 501 for another one, 400 for HTTP/1.0.
 */
function checkCoding(coding: string, httpVersion: string): void {
  if (httpVersion === '1.0') {
    throw new PeerError('PORTICO_BAD_REQUEST', 'A transfer coding in HTTP/1.0')
  }
  if (coding.toLowerCase() !== 'chunked') {
    const message = 'A transfer coding other than chunked'
    throw new PeerError('PORTICO_BAD_REQUEST', message, '501 Not Implemented')
  }
}

/** RFC 9112, section 6.3: a request has a body only if it says so. */
export function hasBody({ rawHeaders }: IncomingMessage): boolean {
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.length !== 14 && name.length !== 17) continue
    if (/^(?:content-length|transfer-encoding)$/i.test(name)) return true
  }
  return false
}

/** An IPv4 address as such, though the socket is one for both families. */
export function plainAddress(address = ''): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address
}
