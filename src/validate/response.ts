/**
 * The arguments of `startResponse` that do not depend on what happened before. `where` is the call,
 * as it is named in a message.
 */
import type { HeaderList } from '../types.ts'
import { isHopByHop } from '../wsgiref/util.ts'
import { checkCharacters, fail, show, type Warn } from './report.ts'

/// ## startResponse
/// - The status is a string: three digits from 100, a space, and a reason, which may be empty. It
///   holds no control character but a tab, and none above U+00FF.

/** The first three in wsgiref's words. */
const STATUS_RULES: readonly (readonly [rule: RegExp, expected: string])[] = [
  [/^[^]{4}/, 'Status must be at least 4 characters'],
  [/^\d{3}/, 'Status message must begin w/3-digit code'],
  [/^\d{3} /, 'Status message must have a space after code'],
  [/^[1-9]/, 'Status code must be at least 100'],
]

/** What no status or value may hold; a tab inside a value is fine (RFC 9110, section 5.5). */
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const BAD_TEXT = /[\0-\x08\n-\x1f\x7f\u0100-\uffff]/
const GOOD_TEXT = 'no control character but a tab and none above U+00FF'

/** Returns the code. */
export function checkStatus(where: string, status: unknown): number {
  if (typeof status !== 'string') fail(`${where}: Status must be a string, not ${show(status)}`)
  for (const [rule, expected] of STATUS_RULES) {
    if (!rule.test(status)) fail(`${where}: ${expected}, not ${show(status)}`)
  }
  checkCharacters(`${where}: Status`, status, BAD_TEXT, GOOD_TEXT)
  return Number(status.slice(0, 3))
}

/// - `error` is left out (or undefined, or null), or is the Error that made the application call
///   again.
export function checkError(where: string, error: unknown): void {
  if (error === undefined || error === null || error instanceof Error) return
  // An Error of another realm (node:vm) is one as well.
  if (Object.prototype.toString.call(error) === '[object Error]') return
  fail(`${where}: error must be an Error or be left out, not ${show(error)}`)
}

/// ## The headers
/// - The headers are an array, or another iterable, of arrays `[name, value]`, both strings. A name
///   may be repeated.
/// - A name begins with a letter, goes on with letters, digits, `-` and `_`, and ends in neither
///   `-` nor `_`.
/// - A value holds no control character but a tab, and none above U+00FF: it is sent as latin-1.
/// - `Status` is no header: the status is an argument of its own.
/// - Headers that concern a single connection are the gateway's: Connection, Keep-Alive,
///   Proxy-Authenticate, Proxy-Authorization, TE, Trailers, Transfer-Encoding, Upgrade.

/** Returns the headers as an array: an iterable may be one that can be iterated only once. */
export function checkHeaders(where: string, headers: unknown): HeaderList {
  if (typeof headers === 'string' || typeof Object(headers)[Symbol.iterator] !== 'function') {
    fail(`${where}: Headers must be an array of arrays [name, value], not ${show(headers)}`)
  }
  const list = Array.isArray(headers) ? headers : [...(headers as Iterable<unknown>)]
  for (const [index, header] of (list as unknown[]).entries()) {
    checkHeader(`${where}: header ${index + 1}`, header)
  }
  return list as HeaderList
}

function checkHeader(where: string, header: unknown): void {
  if (!Array.isArray(header) || header.length !== 2) {
    fail(`${where} must be an array [name, value], not ${show(header)}`)
  }
  const [name, value] = header as unknown[]
  if (typeof name !== 'string') fail(`${where}: the name must be a string, not ${show(name)}`)
  if (!/^[a-z](?:[\w-]*[a-z\d])?$/i.test(name)) {
    fail(
      `${where}: the name must be letters, digits, "-" and "_", the first of them a letter and ` +
        `the last a letter or a digit, not ${show(name)}`,
    )
  }
  if (name.toLowerCase() === 'status') {
    fail(`${where}: the name must not be ${show(name)}; the status is the first argument`)
  }
  if (isHopByHop(name)) fail(`${where}: ${name} is the gateway's, not the application's, to send`)
  if (typeof value !== 'string') {
    fail(`${where}: the value of ${name} must be a string, not ${show(value)}`)
  }
  checkCharacters(`${where}: the value of ${name}`, value, BAD_TEXT, GOOD_TEXT)
}

/** Statuses that have no body (RFC 9110, sections 15.2, 15.3.5 and 15.4.5). */
export function isBodiless(code: number): boolean {
  return code < 200 || code === 204 || code === 304
}

/// - There is one Content-Type, except for 1xx, 204 and 304, which have none.
/// - There is at most one Content-Length, of digits only, and none for 1xx and 204.
/// - *Warning:* Content-Length, or another header that describes a body, for 304;
///   Content-Location and Last-Modified may be there (RFC 9110, section 15.4.5).
/// - *Warning:* an ETag without its quotes or with a lower-case `w/`.
/// - *Warning:* a Location that begins with `/` and the status 200: under CGI Apache then answers
///   with that page instead.

/** Returns the Content-Length. */
export function checkEntity(
  where: string,
  code: number,
  headers: HeaderList,
  warn: Warn,
): number | undefined {
  const [type] = atMostOne(where, headers, 'Content-Type')
  const [length] = atMostOne(where, headers, 'Content-Length')
  if (length !== undefined && !/^\d{1,15}$/.test(headers[length]![1])) {
    fail(
      `${where}: header ${length + 1}: Content-Length must be 1 to 15 digits, not ` +
        show(headers[length]![1]),
    )
  }
  if (!isBodiless(code)) {
    if (type === undefined) {
      fail(`${where}: No Content-Type header found for the status ${code}; there must be one`)
    }
  } else {
    const reason = `must not be there for the status ${code}, which has no body`
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

/** Where the header is. */
function atMostOne(where: string, headers: HeaderList, wanted: string): number[] {
  const found = headers.flatMap(([name], index) =>
    name.toLowerCase() === wanted.toLowerCase() ? [index] : [],
  )
  if (found.length > 1) {
    const places = found.map((index) => index + 1).join(', ')
    fail(`${where}: ${wanted} must be there once, not ${found.length} times (headers ${places})`)
  }
  return found
}

/** Not by `content-`: Content-Security-Policy, for one, describes no body. */
const DESCRIBES_BODY = /^content-(?:encoding|language|length|md5|range)$/

function warnOfHeader(where: string, code: number, name: string, value: string, warn: Warn): void {
  const lower = name.toLowerCase()
  if (code === 304 && DESCRIBES_BODY.test(lower)) {
    warn(`${where}: ${name} should not be there for the status 304, which has no body`)
  }
  if (lower === 'etag' && !/^(?:W\/)?"[^"]*"$/.test(value)) {
    warn(`${where}: ETag should be "tag" or W/"tag", quotes included, not ${show(value)}`)
  }
  if (lower === 'location' && code === 200 && value.startsWith('/')) {
    warn(
      `${where}: Location ${show(value)} should come with a status other than 200, which makes it ` +
        'a redirect inside the server',
    )
  }
}
