/**
 * Checks of the arguments of `startResponse`. `where` names the call in messages.
 */
import { LENGTH } from '../text.ts'
import type { HeaderList } from '../types.ts'
import { isHopByHop } from '../wsgiref/util.ts'
import { checkCharacters, describe, fail, type Warn } from './report.ts'

/// ## startResponse
/// - The status is a string: three digits, 100 or more, a space, and a reason, which may be empty.
///   It contains no control character except a tab, and no character above U+00FF.

/** The first three messages are wsgiref's. */
const STATUS_RULES: readonly (readonly [rule: RegExp, expected: string])[] = [
  [/^[^]{4}/, 'Status must be at least 4 characters'],
  [/^\d{3}/, 'Status message must begin w/3-digit code'],
  [/^\d{3} /, 'Status message must have a space after code'],
  [/^[1-9]/, 'Status code must be at least 100'],
]

/** What no status or value may contain. A tab in a value is allowed (RFC 9110, section 5.5). */
// oxlint-disable-next-line no-control-regex -- it matches control characters
const BAD_TEXT = /[\0-\x08\n-\x1f\x7f\u0100-\uffff]/
const GOOD_TEXT = 'no control character except a tab and no character above U+00FF'

/** Returns the status code. */
export function statusCodeOf(where: string, status: unknown): number {
  if (typeof status !== 'string') fail(`${where}: Status must be a string, not ${describe(status)}`)
  for (const [rule, expected] of STATUS_RULES) {
    if (!rule.test(status)) fail(`${where}: ${expected}, not ${describe(status)}`)
  }
  checkCharacters(`${where}: Status`, status, BAD_TEXT, GOOD_TEXT)
  return Number(status.slice(0, 3))
}

/// - `error` is omitted (or undefined, or null), or is the Error that caused the second call.
export function checkError(where: string, error: unknown): void {
  if (error === undefined || error === null || error instanceof Error) return
  // An Error of another realm (node:vm) is accepted.
  if (Object.prototype.toString.call(error) === '[object Error]') return
  fail(`${where}: error must be an Error or omitted, not ${describe(error)}`)
}

/// ## The headers
/// - The headers are an array, or another iterable, of arrays `[name, value]`, both strings. A name
///   may be repeated.
/// - A name consists of letters, digits, `-` and `_`. It begins with a letter, and ends with a letter
///   or a digit.
/// - A value contains no control character except a tab, and no character above U+00FF: it is sent
///   as latin-1.
/// - There is no header `Status`: the status is an argument.
/// - Hop-by-hop headers belong to the gateway: Connection, Keep-Alive, Proxy-Authenticate,
///   Proxy-Authorization, TE, Trailers, Transfer-Encoding, Upgrade.

/** Returns the headers as an array: an iterable may allow only one iteration. */
export function checkHeaders(where: string, headers: unknown): HeaderList {
  if (typeof headers === 'string' || typeof Object(headers)[Symbol.iterator] !== 'function') {
    fail(`${where}: Headers must be an array of arrays [name, value], not ${describe(headers)}`)
  }
  const list = Array.isArray(headers) ? headers : [...(headers as Iterable<unknown>)]
  for (const [index, header] of (list as unknown[]).entries()) {
    checkHeader(`${where}: header ${index + 1}`, header)
  }
  return list as HeaderList
}

function checkHeader(where: string, header: unknown): void {
  if (!Array.isArray(header) || header.length !== 2) {
    fail(`${where} must be an array [name, value], not ${describe(header)}`)
  }
  const [name, value] = header as unknown[]
  if (typeof name !== 'string') fail(`${where}: the name must be a string, not ${describe(name)}`)
  if (!/^[a-z](?:[\w-]*[a-z\d])?$/i.test(name)) {
    fail(
      `${where}: the name must consist of letters, digits, "-" and "_", begin with a letter and ` +
        `end with a letter or a digit, not ${describe(name)}`,
    )
  }
  if (name.toLowerCase() === 'status') {
    fail(`${where}: the name must not be ${describe(name)}; the status is the first argument`)
  }
  if (isHopByHop(name))
    fail(`${where}: ${name} is a hop-by-hop header, which only the gateway may send`)
  if (typeof value !== 'string') {
    fail(`${where}: the value of ${name} must be a string, not ${describe(value)}`)
  }
  checkCharacters(`${where}: the value of ${name}`, value, BAD_TEXT, GOOD_TEXT)
}

/** Whether responses with this status have no body (RFC 9110, sections 15.2, 15.3.5, 15.4.5). */
export function isBodiless(code: number): boolean {
  return code < 200 || code === 204 || code === 304
}

/// - There is exactly one Content-Type, except for 1xx, 204 and 304, which have none.
/// - There is at most one Content-Length, of 1 to 15 digits. 1xx and 204 have none.
/// - *Warning:* a 304 with Content-Length or another header that describes a body. Content-Location
///   and Last-Modified are fine (RFC 9110, section 15.4.5).
/// - *Warning:* an ETag without quotes, or with a lower-case `w/`.
/// - *Warning:* a Location that begins with `/` in a 200 response. Under CGI, Apache then serves
///   that page instead.

/** Returns the Content-Length. */
export function checkEntity(
  where: string,
  code: number,
  headers: HeaderList,
  warn: Warn,
): number | undefined {
  const [type] = atMostOne(where, headers, 'Content-Type')
  const [length] = atMostOne(where, headers, 'Content-Length')
  if (length !== undefined && !LENGTH.test(headers[length]![1])) {
    fail(
      `${where}: header ${length + 1}: Content-Length must be 1 to 15 digits, not ` +
        describe(headers[length]![1]),
    )
  }
  if (!isBodiless(code)) {
    if (type === undefined) {
      fail(`${where}: No Content-Type header found; status ${code} requires one`)
    }
  } else {
    const reason = `is not allowed with status ${code}, which has no body`
    if (type !== undefined) fail(`${where}: header ${type + 1}: Content-Type ${reason}`)
    if (length !== undefined && code !== 304) {
      fail(`${where}: header ${length + 1}: Content-Length ${reason}`)
    }
  }
  for (const [index, [name, value]] of headers.entries()) {
    warnOfHeader(`${where}: header ${index + 1}`, code, name, value, warn)
  }
  return length === undefined ? undefined : Number(headers[length]![1])
}

/** Returns the index of the header, if it is there. */
function atMostOne(where: string, headers: HeaderList, wanted: string): number[] {
  const found = headers.flatMap(([name], index) =>
    name.toLowerCase() === wanted.toLowerCase() ? [index] : [],
  )
  if (found.length > 1) {
    const numbers = found.map((index) => index + 1).join(', ')
    fail(`${where}: ${wanted} must appear once, not ${found.length} times (headers ${numbers})`)
  }
  return found
}

/** By their names: Content-Security-Policy, for example, does not describe a body. */
const DESCRIBES_BODY = /^content-(?:encoding|language|length|md5|range)$/

function warnOfHeader(where: string, code: number, name: string, value: string, warn: Warn): void {
  const lower = name.toLowerCase()
  if (code === 304 && DESCRIBES_BODY.test(lower)) {
    warn(`${where}: ${name} should not appear with status 304, which has no body`)
  }
  if (lower === 'etag' && !/^(?:W\/)?"[^"]*"$/.test(value)) {
    warn(`${where}: ETag should be "tag" or W/"tag" with the quotes, not ${describe(value)}`)
  }
  if (lower === 'location' && code === 200 && value.startsWith('/')) {
    warn(
      `${where}: Location ${describe(value)} should come with a status other than 200, which makes it ` +
        'an internal redirect of the server',
    )
  }
}
