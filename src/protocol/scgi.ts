/**
 * SCGI without a socket, for both sides: the application reads requests, and a web server (in tests,
 * a client) writes them.
 *
 * A request is a netstring of `name NUL value NUL` pairs, then CONTENT_LENGTH bytes of body. There
 * is one request on a connection, and the end of the connection ends the response. The response has
 * the format of a CGI response, which this file does not handle.
 */
import { Buffer } from 'node:buffer'
import { LENGTH } from '../text.ts'

/** Bytes of the netstring; the same limit as FastCGI's for PARAMS. nginx sends 4 to 32 KiB. */
export const MAX_HEADER_BYTES = 1_048_576

/** Digits before the ':'. Enough for any limit; another protocol is recognised early. */
const MAX_LENGTH_DIGITS = 10

export type SCGIEvent =
  /** The headers are complete: the bytes of `block` from `start` to `end` (see `walkHeaders`). */
  | {
      readonly type: 'request'
      readonly block: Buffer
      readonly start: number
      readonly end: number
      /** Bytes of the body: CONTENT_LENGTH, or the client's own header if that is larger. */
      readonly contentLength: number
    }
  /** A chunk of the body, a view of the memory in which it arrived. Never empty. */
  | { readonly type: 'body'; readonly data: Buffer }
  /** All CONTENT_LENGTH bytes have arrived. The last event. */
  | { readonly type: 'body-end' }
  /** The request cannot be served, or is not SCGI at all. The last event. */
  | ({ readonly type: 'error' } & SCGIFault)

/** What is wrong with a request. */
export interface SCGIFault {
  readonly code:
    | 'PORTICO_BAD_REQUEST'
    | 'PORTICO_BODY_CUT_SHORT'
    | 'PORTICO_PROTOCOL'
    | 'PORTICO_TOO_LARGE'
  readonly message: string
}

const [NUL, ZERO, ONE, NINE, COLON, COMMA] = [0x00, 0x30, 0x31, 0x39, 0x3a, 0x2c]

/**
 * The application's side: call `receive()` with each chunk, then `next()` until it returns null. A
 * chunk is only borrowed, and so is what the events hold of it.
 *
 * Bytes after the body are dropped. They can only be a mistake of the peer (old browsers sent CRLF
 * after a form) and do no harm: no second request is ever read from the connection.
 */
export class RequestReader {
  readonly #maxHeaderBytes: number
  readonly #events: SCGIEvent[] = []
  #state: 'length' | 'headers' | 'body' | 'done' = 'length'
  #digits = 0
  /** The netstring's length; in the state 'body', the bytes of the body that have not arrived. */
  #left = 0
  /** The headers so far, if they arrived in several chunks. Grows by doubling as bytes arrive. */
  #gathered: Buffer = NO_BYTES
  #filled = 0

  constructor(maxHeaderBytes = MAX_HEADER_BYTES) {
    this.#maxHeaderBytes = maxHeaderBytes
  }

  /** True before the first byte: a peer that leaves now (a health check) has done nothing wrong. */
  get untouched(): boolean {
    return this.#state === 'length' && this.#digits === 0
  }

  receive(chunk: Buffer): void {
    let offset = 0
    if (this.#state === 'length') offset = this.#readLength(chunk)
    if (this.#state === 'headers') offset = this.#readHeaders(chunk, offset)
    if (this.#state === 'body') this.#readBody(chunk, offset)
  }

  /** The peer will send no more. */
  receiveEof(): void {
    if (this.#state === 'body') {
      this.#fail(
        'PORTICO_BODY_CUT_SHORT',
        `The request body ended ${this.#left} bytes before its CONTENT_LENGTH`,
      )
    } else if (this.#state !== 'done' && !this.untouched) {
      this.#fail('PORTICO_PROTOCOL', 'The connection ended inside the SCGI headers')
    }
  }

  /** The next event; null until more is received. */
  next(): SCGIEvent | null {
    return this.#events.shift() ?? null
  }

  #fail(code: SCGIFault['code'], message: string): void {
    this.#state = 'done'
    this.#gathered = NO_BYTES
    this.#events.push({ type: 'error', code, message })
  }

  #readLength(chunk: Buffer): number {
    for (let offset = 0; offset < chunk.length; offset++) {
      const byte = chunk[offset]!
      if (byte === COLON && this.#digits > 0) {
        const limit = this.#maxHeaderBytes
        if (this.#left > limit) {
          const message = `The SCGI headers have ${this.#left} bytes; the limit is ${limit}`
          this.#fail('PORTICO_TOO_LARGE', message)
        } else {
          this.#state = 'headers'
        }
        return offset + 1
      }
      // Only a length of 0 begins with the digit 0.
      const more = this.#digits === 0 || (this.#left > 0 && this.#digits < MAX_LENGTH_DIGITS)
      if (byte < ZERO || byte > NINE || !more) {
        this.#fail('PORTICO_PROTOCOL', 'The SCGI request does not begin with a netstring')
        break
      }
      this.#left = this.#left * 10 + byte - ZERO
      this.#digits++
    }
    return chunk.length
  }

  #readHeaders(chunk: Buffer, offset: number): number {
    const size = this.#left + 1
    const end = Math.min(chunk.length, offset + size - this.#filled)
    if (this.#filled === 0 && end - offset === size) {
      this.#begin(chunk, offset, end)
      return end
    }
    const filled = this.#filled + end - offset
    if (filled > this.#gathered.length) {
      const larger = Buffer.allocUnsafe(Math.min(size, filled * 2))
      this.#gathered.copy(larger, 0, 0, this.#filled)
      this.#gathered = larger
    }
    chunk.copy(this.#gathered, this.#filled, offset, end)
    this.#filled = filled
    if (filled === size) {
      this.#begin(this.#gathered, 0, size)
      this.#gathered = NO_BYTES
    }
    return end
  }

  /** The string and its comma are between `start` and `end`. */
  #begin(block: Buffer, start: number, end: number): void {
    if (block[end - 1] !== COMMA || block[end - 2] !== NUL) {
      const message = 'The SCGI headers do not end where their length says'
      return this.#fail('PORTICO_PROTOCOL', message)
    }
    const declared = readContentLength(block, start, end - 1)
    if (typeof declared !== 'number') return this.#fail(declared.code, declared.message)
    const contentLength = trueLength(declared, block, start, end - 1)
    this.#state = 'body'
    this.#left = contentLength
    this.#events.push({ type: 'request', block, start, end: end - 1, contentLength })
    if (contentLength === 0) this.#end()
  }

  #readBody(chunk: Buffer, offset: number): void {
    const data = chunk.subarray(offset, offset + this.#left)
    if (data.length === 0) return
    this.#left -= data.length
    this.#events.push({ type: 'body', data })
    if (this.#left === 0) this.#end()
  }

  #end(): void {
    this.#state = 'done'
    this.#events.push({ type: 'body-end' })
  }
}

const NO_BYTES = Buffer.alloc(0)

const CONTENT_LENGTH_NAME = Buffer.from('CONTENT_LENGTH\0', 'latin1')

/** The value of the first header, which must be CONTENT_LENGTH, and end before the comma. */
function readContentLength(block: Buffer, start: number, comma: number): number | SCGIFault {
  const at = start + CONTENT_LENGTH_NAME.length
  const end = block.indexOf(NUL, at)
  const digits = block.toString('latin1', at, end)
  const named = block.compare(CONTENT_LENGTH_NAME, 0, undefined, start, Math.min(at, block.length))
  // The bytes after the comma are the body, or have not arrived yet.
  if (named !== 0 || end < 0 || end > comma) {
    return { code: 'PORTICO_PROTOCOL', message: 'The first SCGI header is not CONTENT_LENGTH' }
  }
  if (!LENGTH.test(digits)) {
    const shown = JSON.stringify(digits.slice(0, 80))
    const message = `CONTENT_LENGTH ${shown} is not a number of bytes`
    return { code: 'PORTICO_BAD_REQUEST', message }
  }
  return Number(digits)
}

const CLIENT_LENGTH_NAME = Buffer.from('\0HTTP_CONTENT_LENGTH\0', 'latin1')
const SOFTWARE_NAME = Buffer.from('\0SERVER_SOFTWARE\0', 'latin1')

/**
 * The larger one of CONTENT_LENGTH and HTTP_CONTENT_LENGTH. Without `scgi_request_buffering`, the
 * CONTENT_LENGTH of nginx before 1.29.2 counts only the part of the body that it had when it sent the
 * headers, although it sends all of the body (nginx/nginx#1118). The client's own header has the true
 * length. Other web servers have a right CONTENT_LENGTH, and lighttpd sends a header `Content_Length`
 * under this name.
 *
 * If nginx sends no body at all, as with `scgi_pass_request_body off`, the headers are the same. Then
 * the location needs `scgi_param HTTP_CONTENT_LENGTH ""`, or a SERVER_SOFTWARE that names a version
 * without the fault.
 */
function trueLength(declared: number, block: Buffer, start: number, end: number): number {
  const digits = valueOf(CLIENT_LENGTH_NAME, block, start, end)
  if (digits === undefined || !LENGTH.test(digits) || Number(digits) <= declared) return declared
  // nginx's own scgi_params have no SERVER_SOFTWARE.
  const software = valueOf(SOFTWARE_NAME, block, start, end) ?? 'nginx'
  return software.startsWith('nginx') && !countsWholeBody(software) ? Number(digits) : declared
}

/** Whether `software` is nginx 1.29.2 or newer. */
function countsWholeBody(software: string): boolean {
  const version = /^nginx\/(\d{1,4})\.(\d{1,4})\.(\d{1,4})/.exec(software)
  if (version === null) return false
  const [major, minor, patch] = version.slice(1).map(Number) as [number, number, number]
  return major > 1 || (major === 1 && (minor > 29 || (minor === 29 && patch >= 2)))
}

/** The first value of a header. `name` is its name with a NUL before and after it. */
function valueOf(name: Buffer, block: Buffer, start: number, end: number): string | undefined {
  let nuls = 0
  let counted = start
  for (let at = block.indexOf(name, start); at >= 0 && at < end; at = block.indexOf(name, at + 1)) {
    for (; counted <= at; counted++) if (block[counted] === NUL) nuls++
    if (nuls % 2 !== 0) continue // It is the value of another header.
    const value = at + name.length
    return block.toString('latin1', value, block.indexOf(NUL, value))
  }
  return undefined
}

/**
 * Calls `take` for each header; the last one ends with the NUL before `end`. `at` is the offset of
 * its name in `block`, and the value follows the NUL of that name. `take` returns false for a name
 * that occurred before. Headers before a fault have been taken.
 *
 * The specification forbids a repeated name. nginx before 1.23 still sends one HTTP_* for each line
 * of a repeated request header; if that were refused, any client could make its requests fail, so
 * `take` should return true for those. For any other name, choosing one of two values would be a
 * guess. The specification also demands SCGI=1, which nginx sends only if its scgi_params are
 * included: a missing one counts as 1, and another value is another protocol.
 */
export function walkHeaders(
  block: Buffer,
  start: number,
  end: number,
  maxHeaders: number,
  take: (at: number, nameLength: number, valueLength: number) => boolean,
): SCGIFault | null {
  let at = start
  for (let count = 0; at < end; count++) {
    if (count >= maxHeaders) {
      const message = `There are more than ${maxHeaders} SCGI headers`
      return { code: 'PORTICO_TOO_LARGE', message }
    }
    let middle = at
    while (block[middle] !== NUL) middle++ // The last byte is one.
    if (middle === at) return protocolFault('An SCGI header has no name')
    if (middle === end - 1) return protocolFault('The last SCGI header has no value')
    let last = middle + 1
    while (block[last] !== NUL) last++
    const nameLength = middle - at
    const name = nameLength === 4 ? block.toString('latin1', at, middle) : ''
    if (name === 'SCGI' && (last - middle !== 2 || block[middle + 1] !== ONE)) {
      return protocolFault('The value of the header SCGI is not 1')
    }
    if (!take(at, nameLength, last - middle - 1)) {
      const twice = JSON.stringify(block.toString('latin1', at, Math.min(middle, at + 80)))
      return protocolFault(`The SCGI header ${twice} appears twice`)
    }
    at = last + 1
  }
  return null
}

function protocolFault(message: string): SCGIFault {
  return { code: 'PORTICO_PROTOCOL', message }
}

/**
 * The web server's side: the bytes before the body. CONTENT_LENGTH and SCGI are put in front.
 *
 * @param params `[name, value, name, value …]`, byte strings, without these two
 * @throws TypeError for an empty name, a NUL, a character above U+00FF, or an invalid length
 */
export function encodeRequest(params: readonly string[], contentLength: number): Buffer {
  const all = ['CONTENT_LENGTH', String(contentLength), 'SCGI', '1', ...params]
  for (const [index, item] of all.entries()) {
    // oxlint-disable-next-line no-control-regex
    if (/[^\x01-\xff]/.test(item) || (index % 2 === 0 && item === '')) {
      throw new TypeError(`SCGI cannot represent the header item ${JSON.stringify(item)}`)
    }
  }
  if (!LENGTH.test(all[1]!)) throw new TypeError('The length of a body must be 0 or more bytes')
  if (all.length % 2 !== 0) throw new TypeError('An SCGI header must have a name and a value')
  const block = `${all.join('\0')}\0`
  return Buffer.from(`${block.length}:${block},`, 'latin1')
}
