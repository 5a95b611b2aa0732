/**
 * `Headers` (wsgiref.headers), and the checks that every status line, header name and value passes
 * before it is sent. No option turns them off, because response splitting starts there.
 */
import { Buffer } from 'node:buffer'
import { ApplicationError } from '../errors.ts'
import { percentEncode, quote, TOKEN } from '../text.ts'
import type { HeaderList, HeaderPairs } from '../types.ts'

/** RFC 9112, section 4: a code (RFC 9110, section 15) and a reason. */
const STATUS_LINE = /^[1-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*$/
/** RFC 9110, section 5.5: a tab, visible characters and bytes above 0x7f. */
const NOT_FIELD_VALUE = /[^\t\x20-\x7e\x80-\xff]/

/**
 * Checks a status line such as `'200 OK'`.
 *
 * @throws {ApplicationError} PORTICO_INVALID_STATUS, in wsgiref's words, unless it is three digits, a
 *   space, and a reason without control characters; the reason may be empty.
 */
export function checkStatus(status: unknown): asserts status is string {
  if (typeof status !== 'string') {
    throw badStatus(`Status must be of type string (got ${describe(status)})`)
  }
  if (STATUS_LINE.test(status)) return
  if (status.length < 4) throw badStatus('Status must be at least 4 characters')
  if (!/^[1-9][0-9]{2}/.test(status)) {
    throw badStatus('Status message must begin w/3-digit code')
  }
  if (status[3] !== ' ') throw badStatus('Status message must have a space after code')
  throw badStatus('Control characters are not allowed in a status')
}

function badStatus(message: string): ApplicationError {
  return new ApplicationError(message, 'PORTICO_INVALID_STATUS')
}

/**
 * Checks one header.
 *
 * @throws {ApplicationError} PORTICO_INVALID_HEADER if the name is not a token, or the value is not
 *   a byte string without control characters (RFC 9110, section 5.5).
 */
export function checkHeader(name: unknown, value: unknown): void {
  if (typeof name !== 'string') {
    throw badHeader(`Header name must be of type string (got ${describe(name)})`)
  }
  if (typeof value !== 'string') {
    throw badHeader(
      `Value of header ${quote(name)} must be of type string (got ${describe(value)})`,
    )
  }
  if (!TOKEN.test(name)) {
    throw badHeader(`${quote(name)} is not a header name (RFC 9110, section 5.1)`)
  }
  if (NOT_FIELD_VALUE.test(value)) {
    throw badHeader(
      `Value of header ${quote(name)} has control characters or characters above U+00FF`,
    )
  }
}

/** @throws {ApplicationError} PORTICO_INVALID_HEADER for a string and anything that is not iterable. */
export function checkPairs(pairs: unknown): void {
  if (typeof pairs !== 'string' && typeof Object(pairs)[Symbol.iterator] === 'function') return
  throw badHeader(`Headers must be an array of pairs (got ${describe(pairs)})`)
}

function badHeader(message: string): ApplicationError {
  return new ApplicationError(message, 'PORTICO_INVALID_HEADER')
}

/** One parameter of `addHeader`. `isPlain`: its extended form is another parameter. */
function parameterText(name: string, value: unknown, isPlain: boolean): string {
  if (typeof value !== 'string' && value !== null && value !== undefined) {
    throw badHeader(
      `The parameter ${quote(name)} must be a string or null (got ${describe(value)})`,
    )
  }
  if (!value) return name
  const quoted = (text: string) => `${name}="${text.replace(/["\\]/g, '\\$&')}"`
  if (name.endsWith('*')) return `${name}=${EXTENDED.test(value) ? value : extended(value)}`
  if (NOT_FIELD_VALUE.test(value.replace(/[\u0100-\uffff]/g, ''))) return quoted(value)
  if (!/[^\t -~]/.test(value) && !(name === 'filename' && ESCAPE.test(value))) return quoted(value)
  const plain = quoted(value.replace(/[^\t -~]/gu, '_'))
  return isPlain ? plain : `${plain}; ${name}*=${extended(value)}`
}

/** Some browsers decode this in `filename` (RFC 6266, appendix D). */
const ESCAPE = /%[\da-f]{2}/i

/** An ext-value: a charset, a language, and percent-encoded text (RFC 8187, section 3.2.1). */
const EXTENDED = /^[\w-]+'[\w-]*'(?:[\w!#$&+.^`|~-]|%[\da-f]{2})*$/i

function extended(value: string): string {
  return `UTF-8''${percentEncode(Buffer.from(value).toString('latin1'), /[^\w!#$&+.^`|~-]/g)}`
}

/** The parameters of `addHeader`; a null value gives a parameter without a value. */
export type HeaderParameters = Readonly<Record<string, string | null>>

/**
 * An ordered list of checked headers, whose names are case-insensitive (wsgiref.headers.Headers).
 */
export class Headers {
  #pairs: HeaderList = []

  /**
   * @param pairs is copied.
   * @throws {ApplicationError} PORTICO_INVALID_HEADER if `pairs` is not an iterable of pairs, or a
   *   pair is not a legal header.
   */
  constructor(pairs: HeaderPairs = []) {
    checkPairs(pairs)
    for (const pair of pairs) {
      if (!Array.isArray(pair) || pair.length !== 2) {
        throw badHeader(`A header must be a pair of strings (got ${describe(pair)})`)
      }
      this.append(pair[0], pair[1])
    }
  }

  /** The number of headers; each of several with one name counts. */
  get size(): number {
    return this.#pairs.length
  }

  /** The first value of `name`, else `fallback`. */
  get(name: string): string | null
  get<T>(name: string, fallback: T): string | T
  get(name: string, fallback: unknown = null): unknown {
    const index = this.#indexOf(name)
    return index < 0 ? fallback : this.#pairs[index]![1]
  }

  /** All values of `name`, in order. */
  getAll(name: string): string[] {
    const values: string[] = []
    for (const pair of this.#pairs) if (isSame(pair[0], name)) values.push(pair[1])
    return values
  }

  /** The first name for which `test` returns true. */
  findName(test: (name: string) => boolean): string | undefined {
    for (const pair of this.#pairs) if (test(pair[0])) return pair[0]
    return undefined
  }

  has(name: string): boolean {
    return this.#indexOf(name) >= 0
  }

  /** Replaces all values of `name` by one, at the end of the list. */
  set(name: string, value: string): void {
    checkHeader(name, value)
    this.delete(name)
    this.#pairs.push([name, value])
  }

  /** Adds a header at the end, and keeps those of the same name. */
  append(name: string, value: string): void {
    checkHeader(name, value)
    this.#pairs.push([name, value])
  }

  /** Removes all values of `name`, if there are any. */
  delete(name: string): void {
    this.#pairs = this.#pairs.filter(([other]) => !isSame(other, name))
  }

  /** Returns the first value of `name`. Without one, appends `value` and returns it. */
  setDefault(name: string, value: string): string {
    const old = this.get(name)
    if (old === null) this.append(name, value)
    return old ?? value
  }

  /**
   * Appends a header with parameters: `addHeader('Content-Disposition', 'attachment', { filename:
   * 'a.txt' })`. An underscore in a parameter's name becomes a dash. A value that is not ASCII is
   * sent twice: in `name*` (RFC 8187), and in `name` with '_' for what is not ASCII. So is a
   * `filename` that looks percent-encoded.
   */
  addHeader(name: string, value: string | null, parameters: HeaderParameters = {}): void {
    const parts = value === null ? [] : [value]
    for (const [key, parameter] of Object.entries(parameters)) {
      const parameterName = key.replaceAll('_', '-')
      // The caller's own extended value wins.
      const isPlain = `${key}*` in parameters
      parts.push(parameterText(parameterName, parameter, isPlain))
    }
    this.append(name, parts.join('; '))
  }

  keys(): string[] {
    return this.#pairs.map(([name]) => name)
  }

  values(): string[] {
    return this.#pairs.map(([, value]) => value)
  }

  /** A copy of the list. */
  items(): HeaderList {
    return this.#pairs.map(([name, value]) => [name, value])
  }

  [Symbol.iterator](): IterableIterator<[name: string, value: string]> {
    return this.items()[Symbol.iterator]()
  }

  /** The header section as it is sent: lines that end in CRLF, and an empty line. */
  toString(): string {
    let text = ''
    for (const pair of this.#pairs) text += `${pair[0]}: ${pair[1]}\r\n`
    return text + '\r\n'
  }

  #indexOf(name: string): number {
    const pairs = this.#pairs
    for (let i = 0; i < pairs.length; i += 1) if (isSame(pairs[i]![0], name)) return i
    return -1
  }
}

/** Most names differ in length, so few have to be converted to lower case. */
function isSame(name: string, other: string): boolean {
  if (name.length !== other.length) return false
  return name === other || name.toLowerCase() === other.toLowerCase()
}

function describe(value: unknown): string {
  if (value === null) return 'null'
  return typeof value === 'object' ? (value.constructor?.name ?? 'object') : typeof value
}
