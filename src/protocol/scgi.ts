/**
 * SCGI without a socket, for both sides: the application reads what a web server sends, and a web
 * server (in tests, a client) writes a request.
 *
 * A request is a netstring of `name NUL value NUL` pairs, then CONTENT_LENGTH bytes of body. There
 * is one on a connection, and the end of the connection ends the answer, which has the form of a
 * CGI script's and is not looked at here.
 */
import { Buffer } from 'node:buffer'

/** Bytes of the netstring; the same limit as FastCGI's for PARAMS. nginx sends 4 to 32 KiB. */
export const MAX_HEADER_BYTES = 1_048_576

/** Names in it; the same limit as FastCGI's. */
export const MAX_HEADERS = 10_000

/** Digits before the ':'. Enough for any limit, and what is not SCGI at all is found out soon. */
const MAX_LENGTH_DIGITS = 10

/** No sign, no blank, no exponent; fifteen digits are exact in a double. */
const CONTENT_LENGTH = /^[0-9]{1,15}$/

export type SCGIEvent<Params = string[]> =
  /** The headers are complete. */
  | { readonly type: 'request'; readonly params: Params; readonly contentLength: number }
  /** A piece of the body, a view of the chunk it came in. Never empty. */
  | { readonly type: 'body'; readonly data: Buffer }
  /** All CONTENT_LENGTH bytes were given out. The last event. */
  | { readonly type: 'body-end' }
  /** Not to be served, or not to be understood. The last event. */
  | { readonly type: 'error'; readonly code: SCGIFault; readonly message: string }

export type SCGIFault =
  | 'PORTICO_BAD_REQUEST'
  | 'PORTICO_BODY_CUT_SHORT'
  | 'PORTICO_PROTOCOL'
  | 'PORTICO_TOO_LARGE'

/**
 * Reads the complete headers, between `start` and `end`: see `walkHeaders`, whose faults it lets
 * through.
 */
export type DecodeHeaders<Params> = (
  block: Buffer,
  start: number,
  end: number,
  maxHeaders: number,
) => Params

export interface SCGIOptions<Params = string[]> {
  /** Makes the `params` of the 'request' event. Default: `[name, value, name, value …]`. */
  readonly decodeHeaders?: DecodeHeaders<Params>
  /** Default: 1 MiB. */
  readonly maxHeaderBytes?: number | undefined
  /** Default: 10,000. */
  readonly maxHeaders?: number | undefined
}

/** A fault on its way to the 'error' event. */
class Fault extends Error {
  readonly code: SCGIFault

  constructor(code: SCGIFault, message: string) {
    super(message)
    this.code = code
  }
}

const [NUL, ZERO, ONE, NINE, COLON, COMMA] = [0x00, 0x30, 0x31, 0x39, 0x3a, 0x2c]

/**
 * The application's side: `receive()` what comes, `next()` until it gives null.
 *
 * Bytes after the body are thrown away. They can only be a peer's mistake (old browsers put CRLF
 * after a form), and harm nobody: no second request is ever read from the connection.
 */
export class RequestReader<Params = string[]> {
  readonly #maxHeaderBytes: number
  readonly #maxHeaders: number
  readonly #decodeHeaders: DecodeHeaders<Params>
  readonly #events: SCGIEvent<Params>[] = []
  #state: 'length' | 'headers' | 'body' | 'done' = 'length'
  #digits = 0
  /** The netstring's length; once in the body, what is missing of it. */
  #left = 0
  /** The headers so far, if they came in several chunks. It grows with what came, by doubling. */
  #gathered: Buffer = Buffer.alloc(0)
  #filled = 0

  constructor(options: SCGIOptions<Params> = {}) {
    this.#decodeHeaders = options.decodeHeaders ?? (listOfHeaders as DecodeHeaders<never>)
    this.#maxHeaderBytes = options.maxHeaderBytes ?? MAX_HEADER_BYTES
    this.#maxHeaders = options.maxHeaders ?? MAX_HEADERS
  }

  /** True before the first byte: a peer that goes away now (a probe, a balancer) did no wrong. */
  get untouched(): boolean {
    return this.#state === 'length' && this.#digits === 0
  }

  receive(chunk: Buffer): void {
    try {
      let offset = 0
      if (this.#state === 'length') offset = this.#readLength(chunk)
      if (this.#state === 'headers') offset = this.#readHeaders(chunk, offset)
      if (this.#state === 'body') this.#readBody(chunk, offset)
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      this.#fail(error)
    }
  }

  /** The peer will send no more. */
  receiveEof(): void {
    if (this.#state === 'body') {
      this.#fail(
        new Fault('PORTICO_BODY_CUT_SHORT', `The body ended ${this.#left} bytes before its end`),
      )
    } else if (this.#state !== 'done' && !this.untouched) {
      this.#fail(new Fault('PORTICO_PROTOCOL', 'The connection ended within the SCGI headers'))
    }
  }

  /** The next event; null until more is received. */
  next(): SCGIEvent<Params> | null {
    return this.#events.shift() ?? null
  }

  #fail({ code, message }: Fault): void {
    this.#state = 'done'
    this.#gathered = Buffer.alloc(0)
    this.#events.push({ type: 'error', code, message })
  }

  #readLength(chunk: Buffer): number {
    for (let offset = 0; offset < chunk.length; offset++) {
      const byte = chunk[offset]!
      if (byte === COLON && this.#digits > 0) {
        if (this.#left > this.#maxHeaderBytes) {
          throw new Fault(
            'PORTICO_TOO_LARGE',
            `The SCGI headers have ${this.#left} bytes; the limit is ${this.#maxHeaderBytes}`,
          )
        }
        this.#state = 'headers'
        return offset + 1
      }
      // The first digit is 0 only where it is the only one.
      const more = this.#digits === 0 || (this.#left > 0 && this.#digits < MAX_LENGTH_DIGITS)
      if (byte < ZERO || byte > NINE || !more) {
        throw new Fault('PORTICO_PROTOCOL', 'The SCGI request does not begin with a netstring')
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
      this.#gathered = Buffer.alloc(0)
    }
    return end
  }

  /** The string and its comma are between `start` and `end`. */
  #begin(netstring: Buffer, start: number, end: number): void {
    if (netstring[end - 1] !== COMMA || netstring[end - 2] !== NUL) {
      throw new Fault('PORTICO_PROTOCOL', 'The SCGI headers do not end as their length says')
    }
    this.#left = readContentLength(netstring, start, end - 1)
    const params = this.#decodeHeaders(netstring, start, end - 1, this.#maxHeaders)
    this.#state = 'body'
    this.#events.push({ type: 'request', params, contentLength: this.#left })
    if (this.#left === 0) this.#end()
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

const CONTENT_LENGTH_NAME = Buffer.from('CONTENT_LENGTH\0', 'latin1')

/** The value of the first header, which must be CONTENT_LENGTH, and end before the comma. */
function readContentLength(block: Buffer, start: number, comma: number): number {
  const at = start + CONTENT_LENGTH_NAME.length
  const end = block.indexOf(NUL, at)
  const digits = block.toString('latin1', at, end)
  const named = block.compare(CONTENT_LENGTH_NAME, 0, undefined, start, Math.min(at, block.length))
  // Behind the comma is the body, or nothing yet.
  if (named !== 0 || end < 0 || end > comma) {
    throw new Fault('PORTICO_PROTOCOL', 'The first SCGI header is not CONTENT_LENGTH')
  }
  if (!CONTENT_LENGTH.test(digits)) {
    const shown = JSON.stringify(digits.slice(0, 80))
    throw new Fault('PORTICO_BAD_REQUEST', `CONTENT_LENGTH ${shown} is not a number of bytes`)
  }
  return Number(digits)
}

/**
 * Calls `take` for each header, of which the last ends with the NUL before `end`: `at` is the
 * offset of its name in `block`, and the value follows that name's NUL. `take` returns false for a
 * name that it had before.
 *
 * The specification forbids a name to come twice. nginx before 1.23 nonetheless sends one HTTP_*
 * for each line of a repeated request header; refused, any client could make its requests fail, so
 * `take` should return true for those. Of everything else two values would be a guess which to
 * believe. It also demands SCGI=1, which nginx sends only where its scgi_params are included: none
 * is taken for 1, another value is another protocol.
 */
export function walkHeaders(
  block: Buffer,
  start: number,
  end: number,
  maxHeaders: number,
  take: (at: number, nameLength: number, valueLength: number) => boolean,
): void {
  let at = start
  for (let count = 0; at < end; count++) {
    if (count >= maxHeaders) {
      throw new Fault('PORTICO_TOO_LARGE', `There are more than ${maxHeaders} SCGI headers`)
    }
    let middle = at
    while (block[middle] !== NUL) middle++ // The last byte is one.
    if (middle === at) throw new Fault('PORTICO_PROTOCOL', 'An SCGI header has no name')
    if (middle === end - 1) {
      throw new Fault('PORTICO_PROTOCOL', 'The last SCGI header has no value')
    }
    let last = middle + 1
    while (block[last] !== NUL) last++
    const nameLength = middle - at
    const name = nameLength === 4 ? block.toString('latin1', at, middle) : ''
    if (name === 'SCGI' && (last - middle !== 2 || block[middle + 1] !== ONE)) {
      throw new Fault('PORTICO_PROTOCOL', 'The SCGI header is not 1')
    }
    if (!take(at, nameLength, last - middle - 1)) {
      const twice = JSON.stringify(block.toString('latin1', at, Math.min(middle, at + 80)))
      throw new Fault('PORTICO_PROTOCOL', `The SCGI header ${twice} comes twice`)
    }
    at = last + 1
  }
}

const listOfHeaders: DecodeHeaders<string[]> = (block, start, end, maxHeaders) => {
  const params: string[] = []
  const seen = new Set<string>()
  walkHeaders(block, start, end, maxHeaders, (at, nameLength, valueLength) => {
    const name = block.toString('latin1', at, at + nameLength)
    const value = at + nameLength + 1
    params.push(name, block.toString('latin1', value, value + valueLength))
    if (name.startsWith('HTTP_')) return true
    return seen.size < seen.add(name).size
  })
  return params
}

/**
 * The web server's side: the bytes before the body. CONTENT_LENGTH and SCGI are put in front.
 *
 * @param params `[name, value, name, value …]`, byte strings, without these two
 * @throws TypeError for a name that is empty, for a NUL, for what is not bytes, and for a bad length
 */
export function encodeRequest(params: readonly string[], contentLength: number): Buffer {
  const all = ['CONTENT_LENGTH', String(contentLength), 'SCGI', '1', ...params]
  for (const [index, item] of all.entries()) {
    // oxlint-disable-next-line no-control-regex
    if (/[^\x01-\xff]/.test(item) || (index % 2 === 0 && item === '')) {
      throw new TypeError(`SCGI cannot carry the header item ${JSON.stringify(item)}`)
    }
  }
  if (!CONTENT_LENGTH.test(all[1]!)) throw new TypeError('The length of a body is 0 or more bytes')
  if (all.length % 2 !== 0) throw new TypeError('An SCGI header has a name and a value')
  const block = `${all.join('\0')}\0`
  return Buffer.from(`${block.length}:${block},`, 'latin1')
}
