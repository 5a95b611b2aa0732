/** Recognises a peer that speaks another protocol than this server, such as HTTP to FastCGI. */
import type { Buffer } from 'node:buffer'
import type { Socket } from 'node:net'
import { GATEWAYS, type ServerGateway } from '../gateways.ts'
import { logEntry } from '../log.ts'

/** The protocols that the first bytes of a connection identify. */
type Protocol = ServerGateway | 'tls'

/** Bytes to look at: more than an HTTP method or SCGI's first header name has. */
const BEGINNING = 40

/** The protocol of a connection that begins with these bytes; null for any other. */
function protocolOf(bytes: Buffer): Protocol | null {
  // Version 1, and a type that may come first: BEGIN_REQUEST or GET_VALUES.
  if (bytes[0] === 1 && (bytes[1] === 1 || bytes[1] === 9)) return 'fastcgi'
  // A TLS handshake (RFC 8446, section 5.1).
  if (bytes[0] === 0x16 && bytes[1] === 3) return 'tls'
  const text = bytes.toString('latin1', 0, BEGINNING)
  // oxlint-disable-next-line no-control-regex
  if (/^[1-9]\d{0,9}:CONTENT_LENGTH\0/.test(text)) return 'scgi'
  return /^[A-Z]{3,16} (?:[/*]|https?:)/.test(text) ? 'http' : null
}

/** A command for the control socket of a master. */
const CONTROL = /^(?:status|ping|reload|stop) *[\r\n]+$/

/** Each pair of protocols is logged once per process: a port scanner must not fill the log. */
const logged = new Set<string>()

/**
 * If the first `bytes` of a connection belong to another known protocol, logs which one and how to
 * configure the web server, and returns true.
 */
export function logWrongProtocol(expected: ServerGateway, bytes: Buffer): boolean {
  // `portico status` and the like, which say themselves that this is not a control socket.
  if (CONTROL.test(bytes.toString('latin1', 0, BEGINNING))) return true
  const received = protocolOf(bytes)
  if (received === null || received === expected) return false
  const pair = `${received} ${expected}`
  if (!logged.has(pair)) logEntry(`${message(expected, received)} (Logged once.)`)
  logged.add(pair)
  return true
}

/**
 * Logs why a connection is closed: the bytes are of another protocol, if `chunk` is all that has
 * arrived and shows it; otherwise `fault`.
 */
export function logFault(
  expected: ServerGateway,
  socket: Socket,
  chunk: Buffer | undefined,
  fault: string,
): void {
  const isFirst = chunk !== undefined && socket.bytesRead === chunk.length
  if (isFirst && logWrongProtocol(expected, chunk)) return
  logEntry(`${GATEWAYS[expected].label}: ${fault}`)
}

function message(expected: ServerGateway, received: Protocol): string {
  const { label, nginx, apache } = GATEWAYS[expected]
  if (received === 'tls') {
    return (
      `Received TLS, but this server speaks ${label} without TLS. Use http:// instead of https://, ` +
      'or put a web server that terminates TLS in front of it.'
    )
  }
  const other = GATEWAYS[received]
  return (
    `Received ${other.label}, but this server speaks ${label}. In nginx use ${nginx} instead of ` +
    `${other.nginx}, in Apache ${apache} instead of ${other.apache}; or start this program with ` +
    `PORTICO_GATEWAY=${received}, if it ends with run().`
  )
}
