/**
 * Response heads, from the gateway's side: `Headers` (wsgiref.headers) and the checks that every
 * status line, header name and header value passes before a byte of it is sent. There is no
 * switch to leave them out: response splitting starts where such a check is optional.
 */
import type { HeaderList } from '../types.ts'
import { ApplicationError } from '../errors.ts'

/** RFC 9110, section 5.6.2. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** RFC 9112, section 4: a code (RFC 9110, section 15) and a reason. */
const STATUS_LINE = /^[1-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*$/
/** RFC 9110, section 5.5: a tab, visible characters and bytes above 0x7f. */
const NOT_FIELD_VALUE = /[^\t\x20-\x7e\x80-\xff]/

/**
 * Checks a status line such as `'200 OK'`.
 *
 * @throws {ApplicationError} with wsgiref's words: it needs three digits, a space, and a reason
 *   (which may be empty) without control characters.
 */
export function checkStatus(status: unknown): asserts status is string {
  if (typeof status !== 'string') {
    throw new ApplicationError(`Status must be of type string (got ${describe(status)})`)
  }
  if (STATUS_LINE.test(status)) return
  if (status.length < 4) throw new ApplicationError('Status must be at least 4 characters')
  if (!/^[1-9][0-9]{2}/.test(status)) {
    throw new ApplicationError('Status message must begin w/3-digit code')
  }
  if (status[3] !== ' ') {
    throw new ApplicationError('Status message must have a space after code')
  }
  throw new ApplicationError('Control characters are not allowed in a status')
}

/**
 * Checks one header.
 *
 * @throws {ApplicationError} if the name is no token, or the value is no byte string or has
 *   control characters.
 */
export function checkHeader(name: unknown, value: unknown): void {
  if (typeof name !== 'string') {
    throw new ApplicationError(`Header name must be of type string (got ${describe(name)})`)
  }
  if (typeof value !== 'string') {
    throw new ApplicationError(
      `Value of header ${quote(name)} must be of type string (got ${describe(value)})`,
    )
  }
  if (!TOKEN.test(name)) {
    throw new ApplicationError(`${quote(name)} is not a header name (RFC 9110, section 5.1)`)
  }
  if (NOT_FIELD_VALUE.test(value)) {
    throw new ApplicationError(
      `Value of header ${quote(name)} has control characters or characters above U+00FF`,
    )
  }
}

/** The parameters of `addHeader`; a null value gives a parameter without a value. */
export type HeaderParameters = Readonly<Record<string, string | null>>

/**
 * An ordered list of headers whose names are compared without regard to case
 * (wsgiref.headers.Headers). What is in it has been checked.
 */
export class Headers {
  #pairs: HeaderList = []

  /**
   * @param pairs copied, so that later changes of the list change nothing here.
   * @throws {ApplicationError} if `pairs` is not an array of pairs, or one is not a legal header.
   */
  constructor(pairs: HeaderList = []) {
    if (!Array.isArray(pairs)) {
      throw new ApplicationError(`Headers must be an array of pairs (got ${describe(pairs)})`)
    }
    for (const pair of pairs) {
      if (!Array.isArray(pair) || pair.length !== 2) {
        throw new ApplicationError(`A header must be a pair of strings (got ${describe(pair)})`)
      }
      this.append(pair[0], pair[1])
    }
  }

  /** The number of headers, repeated ones counted each. */
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
    const lower = name.toLowerCase()
    return this.#pairs.filter(([other]) => other.toLowerCase() === lower).map(([, value]) => value)
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

  /** Adds a header after the others, beside those of the same name. */
  append(name: string, value: string): void {
    checkHeader(name, value)
    this.#pairs.push([name, value])
  }

  /** Removes all values of `name`; a name that is not there is no error. */
  delete(name: string): void {
    const lower = name.toLowerCase()
    this.#pairs = this.#pairs.filter(([other]) => other.toLowerCase() !== lower)
  }

  /** The first value of `name`; if there is none, `value` is appended and returned. */
  setDefault(name: string, value: string): string {
    const old = this.get(name)
    if (old === null) this.append(name, value)
    return old ?? value
  }

  /**
   * Appends a header with parameters: `addHeader('Content-Disposition', 'attachment', { filename:
   * 'a.txt' })`. An underscore in a parameter's name becomes a dash.
   */
  addHeader(name: string, value: string | null, parameters: HeaderParameters = {}): void {
    const parts = value === null ? [] : [value]
    for (const [key, parameter] of Object.entries(parameters)) {
      const dashed = key.replaceAll('_', '-')
      parts.push(parameter ? `${dashed}="${parameter.replace(/["\\]/g, '\\$&')}"` : dashed)
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

  /** The header section as it is sent: each line ends in CRLF, an empty line ends the whole. */
  toString(): string {
    let text = ''
    for (const pair of this.#pairs) text += `${pair[0]}: ${pair[1]}\r\n`
    return text + '\r\n'
  }

  #indexOf(name: string): number {
    const pairs = this.#pairs
    for (let i = 0; i < pairs.length; i += 1) {
      const other = pairs[i]![0]
      if (other.length !== name.length) continue
      if (other === name || other.toLowerCase() === name.toLowerCase()) return i
    }
    return -1
  }
}

function quote(text: string): string {
  return JSON.stringify(text)
}

function describe(value: unknown): string {
  if (value === null) return 'null'
  return typeof value === 'object' ? (value.constructor?.name ?? 'object') : typeof value
}
