/** Framing: how the head of a response delimits its body (RFC 9110, section 6.4; RFC 9112). */
import { ApplicationError } from '../errors.ts'
import { LENGTH } from '../text.ts'

/** What a head says about the body that follows it. */
export interface Framing {
  /** False for HEAD, 1xx, 204 and 304: the body is dropped (RFC 9110, section 6.4.1). */
  readonly sendsBody: boolean
  /** The bytes that Content-Length announces; Infinity without one. */
  readonly declared: number
  /** Content-Length must not be sent (RFC 9110, section 8.6: 1xx and 204). */
  readonly dropsLength: boolean
}

/** The framing of a response without a head. */
export const UNFRAMED: Framing = { sendsBody: true, declared: Infinity, dropsLength: false }

/**
 * Computes the framing of a response.
 *
 * @param lengths every Content-Length header that the head has.
 * @throws {ApplicationError} PORTICO_INVALID_CONTENT_LENGTH if there are several, or the one is not
 *   1 to 15 digits. Not for statuses without a body.
 */
export function frame(status: string, method: string, lengths: readonly string[]): Framing {
  if (isBodiless(status)) {
    return { sendsBody: false, declared: Infinity, dropsLength: !status.startsWith('304') }
  }
  const sendsBody = method !== 'HEAD'
  const [length] = lengths
  if (length === undefined) return { sendsBody, declared: Infinity, dropsLength: false }
  if (lengths.length > 1) {
    throw new ApplicationError(
      `Content-Length is set ${lengths.length} times (${lengths.join(', ')}); set it once`,
      'PORTICO_INVALID_CONTENT_LENGTH',
    )
  }
  if (!LENGTH.test(length)) {
    throw new ApplicationError(
      `Content-Length '${length}' is not a number of bytes; it must be 1 to 15 digits`,
      'PORTICO_INVALID_CONTENT_LENGTH',
    )
  }
  return { sendsBody, declared: Number(length), dropsLength: false }
}

/**
 * The Content-Length to add for a body of `length` bytes, or undefined for none. An application may
 * return an empty body for HEAD although that for GET is not empty, so 0 is not announced for HEAD.
 */
export function lengthToAdd(method: string, length: number | undefined): string | undefined {
  if (length === undefined || (length === 0 && method === 'HEAD')) return undefined
  return String(length)
}

/** Whether a status line has no body (RFC 9110, sections 15.2, 15.3.5 and 15.4.5). */
export function isBodiless(status: string): boolean {
  return status.startsWith('1') || status.startsWith('204') || status.startsWith('304')
}

/**
 * The headers that wsgiref refuses, by the length of their names: RFC 2616, section 13.5.1, with its
 * 'Trailers'. Most other names differ in length, and need not be put into lower case.
 */
const HOP_BY_HOP: string[][] = []
for (const name of [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailers',
  'transfer-encoding',
  'upgrade',
]) {
  ;(HOP_BY_HOP[name.length] ??= []).push(name)
}

/** Whether a header, in any case, concerns a single connection only. */
export function isHopByHop(name: string): boolean {
  return HOP_BY_HOP[name.length]?.includes(name.toLowerCase()) ?? false
}

/** Whether a header is `Trailer` (RFC 9110, section 6.6.2). */
export function isTrailer(name: string): boolean {
  return name.length === 7 && name.toLowerCase() === 'trailer'
}

/**
 * Whether a header is `Status`, which CGI, FastCGI and SCGI take for the status of the response (RFC
 * 3875, section 6.3.3).
 */
export function isStatus(name: string): boolean {
  return name.length === 6 && name.toLowerCase() === 'status'
}

/** Whether the bridges drop a header that an application of another interface has set. */
export function isForGateway(name: string): boolean {
  return isHopByHop(name) || isTrailer(name) || isStatus(name)
}

let dateSecond = 0
let dateText = ''

/** The current time as an HTTP date (RFC 9110, section 5.6.7), formatted once a second. */
export function httpDate(): string {
  const now = Date.now()
  const second = Math.floor(now / 1000)
  if (second !== dateSecond) {
    dateSecond = second
    dateText = new Date(now).toUTCString()
  }
  return dateText
}
