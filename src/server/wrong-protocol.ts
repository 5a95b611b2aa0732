/**
 * A web server that speaks another protocol than the one that is spoken here, such as nginx with
 * proxy_pass in front of FastCGI: from the side of whoever has to find that out.
 */
import type { Buffer } from 'node:buffer'
import { logEntry } from '../log.ts'

/** What can be told by how a connection begins. */
type Protocol = 'FastCGI' | 'HTTP' | 'SCGI' | 'TLS'

/** How the web servers are told to speak it. */
const WORDS = {
  FastCGI: { nginx: 'fastcgi_pass', apache: 'fcgi://' },
  HTTP: { nginx: 'proxy_pass', apache: 'http://' },
  SCGI: { nginx: 'scgi_pass', apache: 'scgi://' },
} as const

/** Longer than what a name of HTTP's methods and of SCGI's first header need. */
const BEGINNING = 40

/** The protocol of a connection whose first bytes these are; null for none of the four. */
function protocolOf(bytes: Buffer): Protocol | null {
  // Version 1, and a record with which a connection may begin: BEGIN_REQUEST or GET_VALUES.
  if (bytes[0] === 1 && (bytes[1] === 1 || bytes[1] === 9)) return 'FastCGI'
  // A handshake (RFC 8446, section 5.1).
  if (bytes[0] === 0x16 && bytes[1] === 3) return 'TLS'
  const text = bytes.toString('latin1', 0, BEGINNING)
  // oxlint-disable-next-line no-control-regex
  if (/^[1-9]\d{0,9}:CONTENT_LENGTH\0/.test(text)) return 'SCGI'
  return /^[A-Z]{3,16} (?:[/*]|https?:)/.test(text) ? 'HTTP' : null
}

/** Once is enough, and a port scanner shall not fill a log. */
const told = new Set<string>()

/**
 * Writes to stderr what came instead of the protocol that was expected and what to configure, the
 * first time in this process. False if the first `bytes` of the connection do not say what it is,
 * or that it is no other.
 */
export function logWrongProtocol(expected: keyof typeof WORDS, bytes: Buffer): boolean {
  const came = protocolOf(bytes)
  if (came === null || came === expected) return false
  const pair = `${came} ${expected}`
  if (told.has(pair)) return true
  told.add(pair)
  const hint =
    came === 'TLS'
      ? 'ask for http:// instead of https://, or have a web server in front that does TLS'
      : `nginx needs ${WORDS[expected].nginx} instead of ${WORDS[came].nginx}, Apache ` +
        `${WORDS[expected].apache} instead of ${WORDS[came].apache}; or be the other server, ` +
        `PORTICO_GATEWAY=${came.toLowerCase()} if this ends with run()`
  logEntry(`${came} came to this ${expected} server: ${hint}. This is told once`)
  return true
}
