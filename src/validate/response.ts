/** The arguments of `startResponse` that do not depend on what happened before. */
import type { HeaderList } from '../types.ts'
import { isHopByHop } from '../util.ts'
import { fail, show, type Warn } from './report.ts'

/// ## startResponse
/// - The status is a string: three digits from 100, a space, and a reason, which may be empty. It
///   holds no control character and none above U+00FF.

/** Returns the code. */
export function checkStatus(status: unknown): number {
  if (typeof status !== 'string') fail(`Status must be a string, not ${show(status)}`)
  if (status.length < 4) fail(`Status must be at least 4 characters, not ${show(status)}`)
  if (!/^\d{3}/.test(status)) fail(`Status message must begin w/3-digit code, not ${show(status)}`)
  if (status[3] !== ' ') fail(`Status message must have a space after code, not ${show(status)}`)
  const bad = BAD_VALUE.exec(status)
  if (bad) fail(`Status must not hold ${show(bad[0])}: ${show(status)}`)
  const code = Number(status.slice(0, 3))
  if (code < 100) fail(`Status code must be at least 100, not ${show(status)}`)
  return code
}

/** What no status or value may hold; a tab inside a value is fine (RFC 9110, section 5.5). */
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const BAD_VALUE = /[\0-\x08\n-\x1f\x7f\u0100-\uffff]/

/// - `error` is left out (or undefined, or null), or is the Error that made the application call
///   again.
export function checkError(error: unknown): void {
  if (error === undefined || error === null || error instanceof Error) return
  // An Error of another realm (node:vm) is one as well.
  if (Object.prototype.toString.call(error) === '[object Error]') return
  fail(`startResponse: error must be an Error or be left out, not ${show(error)}`)
}

/// ## The headers
/// - The headers are an array of arrays `[name, value]`, both strings. A name may be repeated.
/// - A name begins with a letter, goes on with letters, digits, `-` and `_`, and ends in neither
///   `-` nor `_`.
/// - A value holds no control character but a tab, and none above U+00FF: it is sent as latin-1.
/// - `Status` is no header: the status is an argument of its own.
/// - Headers that concern a single connection are the gateway's: Connection, Keep-Alive,
///   Proxy-Authenticate, Proxy-Authorization, TE, Trailers, Transfer-Encoding, Upgrade.

export function checkHeaders(headers: unknown): asserts headers is HeaderList {
  if (!Array.isArray(headers)) {
    fail(`Headers must be an array of arrays [name, value], not ${show(headers)}`)
  }
  for (const header of headers as unknown[]) {
    if (!Array.isArray(header) || header.length !== 2) {
      fail(`Headers: each must be an array [name, value], not ${show(header)}`)
    }
    const [name, value] = header as unknown[]
    if (typeof name !== 'string') fail(`Headers: a name must be a string, not ${show(name)}`)
    if (typeof value !== 'string') {
      fail(`Headers: the value of ${show(name)} must be a string, not ${show(value)}`)
    }
    checkName(name)
    const bad = BAD_VALUE.exec(value)
    if (bad) fail(`Headers: the value of ${name} must not hold ${show(bad[0])}: ${show(value)}`)
  }
}

function checkName(name: string): void {
  if (/[\n:]/.test(name)) fail(`Header names may not contain ":" or a newline: ${show(name)}`)
  if (!/^[a-z][\w-]*$/i.test(name)) {
    fail(`Bad header name ${show(name)}: it must be letters, digits, - and _, a letter first`)
  }
  if (/[-_]$/.test(name)) fail(`Header names may not end in "-" or "_": ${show(name)}`)
  if (name.toLowerCase() === 'status') {
    fail('The Status header cannot be used; the status is the first argument of startResponse')
  }
  if (isHopByHop(name)) fail(`The header ${name} is the gateway's, not the application's, to send`)
}

/** Statuses that have no body (RFC 9110, sections 15.2, 15.3.5 and 15.4.5). */
export function isBodiless(code: number): boolean {
  return code < 200 || code === 204 || code === 304
}

/// - There is one Content-Type, except for 1xx, 204 and 304, which have none.
/// - There is at most one Content-Length, of digits only, and none for 1xx and 204.
/// - *Warning:* any other header about a body, and Content-Length, for 304; Content-Location may
///   be there.
/// - *Warning:* an ETag without its quotes or with a lower-case `w/`.
/// - *Warning:* a Location that begins with `/` and the status 200: under CGI Apache then answers
///   with that page instead.

/** Returns the Content-Length. */
export function checkEntity(code: number, headers: HeaderList, warn: Warn): number | undefined {
  const all = (wanted: string) =>
    headers.filter(([name]) => name.toLowerCase() === wanted).map(([, value]) => value)
  const types = all('content-type')
  const lengths = all('content-length')
  if (types.length > 1) fail(`Headers: Content-Type is there ${types.length} times`)
  if (lengths.length > 1) fail(`Headers: Content-Length is there ${lengths.length} times`)
  const [length] = lengths
  if (length !== undefined && !/^\d{1,15}$/.test(length)) {
    fail(`Headers: Content-Length must be 1 to 15 digits, not ${show(length)}`)
  }
  if (!isBodiless(code)) {
    if (types.length === 0) fail(`No Content-Type header found for the status ${code}`)
  } else {
    if (types.length > 0)
      fail(`Content-Type header found for the status ${code}, which has no body`)
    if (length !== undefined && code !== 304) {
      fail(`Content-Length header found for the status ${code}, which has no body`)
    }
  }
  warnOfHeaders(code, headers, warn)
  return length === undefined ? undefined : Number(length)
}

function warnOfHeaders(code: number, headers: HeaderList, warn: Warn): void {
  for (const [name, value] of headers) {
    const lower = name.toLowerCase()
    if (code === 304 && lower.startsWith('content-') && lower !== 'content-location') {
      warn(`Headers: ${name} says nothing in an answer without a body (304)`)
    }
    if (lower === 'etag' && !/^(?:W\/)?"[^"]*"$/.test(value)) {
      warn(`Headers: ETag must be "tag" or W/"tag", quotes included, not ${show(value)}`)
    }
    if (lower === 'location' && code === 200 && value.startsWith('/')) {
      warn(`Headers: Location ${show(value)} with the status 200 is a redirect inside the server`)
    }
  }
}
