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

export type SCGIEvent =
  /** The headers are complete: `[name, value, name, value …]`, byte strings. */
  | { readonly type: 'request'; readonly params: string[]; readonly contentLength: number }
  /** A piece of the body, a view of the chunk it came in. Never empty. */
  | { readonly type: 'body'; readonly data: Buffer }
  /** All CONTENT_LENGTH bytes were given out. The last event. */
  | { readonly type: 'body-end' }
  /** The peer broke the protocol. The last event: nothing more can be understood. */
  | { readonly type: 'error'; readonly code: SCGIFault; readonly message: string }

export type SCGIFault = 'PORTICO_PROTOCOL' | 'PORTICO_TOO_LARGE' | 'PORTICO_BODY_CUT_SHORT'

export interface SCGIOptions {
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

const [NUL, ZERO, NINE, COLON, COMMA] = [0x00, 0x30, 0x39, 0x3a, 0x2c]

/**
 * The application's side: `receive()` what comes, `next()` until it gives null.
 *
 * Bytes after the body are thrown away. They can only be a peer's mistake (old browsers put CRLF
 * after a form), and harm nobody: no second request is ever read from the connection.
 */
export class RequestReader {
  readonly #maxHeaderBytes: number
  readonly #maxHeaders: number
  readonly #events: SCGIEvent[] = []
  #state: 'length' | 'headers' | 'body' | 'done' = 'length'
  #digits = 0
  /** The netstring's length; once in the body, what is missing of it. */
  #left = 0
  /** The headers so far, if they came in several chunks. It grows with what came, by doubling. */
  #gathered: Buffer = Buffer.alloc(0)
  #filled = 0

  constructor(options: SCGIOptions = {}) {
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
  next(): SCGIEvent | null {
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
      this.#begin(chunk.subarray(offset, end))
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
      this.#begin(this.#gathered)
      this.#gathered = Buffer.alloc(0)
    }
    return end
  }

  /** @param netstring the string and its comma */
  #begin(netstring: Buffer): void {
    if (netstring.at(-1) !== COMMA || netstring.at(-2) !== NUL) {
      throw new Fault('PORTICO_PROTOCOL', 'The SCGI headers do not end as their length says')
    }
    const params = splitHeaders(
      netstring.toString('latin1', 0, netstring.length - 2),
      this.#maxHeaders,
    )
    this.#left = Number(params[1])
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

/**
 * Splits and checks the headers.
 *
 * The specification forbids a name to come twice. nginx before 1.23 nonetheless sends one HTTP_*
 * for each line of a repeated request header; refused, any client could make its requests fail, so
 * these are handed on as they come. Of everything else two values would be a guess which to
 * believe. It also demands SCGI=1, which nginx sends only where its scgi_params are included: none
 * is taken for 1, another value is another protocol.
 */
function splitHeaders(text: string, maxHeaders: number): string[] {
  // One more than allowed is enough to know.
  const params = text.split('\0', 2 * maxHeaders + 1)
  if (params.length > 2 * maxHeaders) {
    throw new Fault('PORTICO_TOO_LARGE', `There are more than ${maxHeaders} SCGI headers`)
  }
  if (params.length % 2 !== 0) {
    throw new Fault('PORTICO_PROTOCOL', 'The last SCGI header has no value')
  }
  if (params[0] !== 'CONTENT_LENGTH' || !CONTENT_LENGTH.test(params[1]!)) {
    throw new Fault('PORTICO_PROTOCOL', 'The first SCGI header is no CONTENT_LENGTH in digits')
  }
  const seen = new Set<string>()
  for (let index = 0; index < params.length; index += 2) {
    const name = params[index]!
    if (name === '') throw new Fault('PORTICO_PROTOCOL', 'An SCGI header has no name')
    if (name === 'SCGI' && params[index + 1] !== '1') {
      throw new Fault('PORTICO_PROTOCOL', 'The SCGI header is not 1')
    }
    if (name.startsWith('HTTP_')) continue
    if (seen.has(name)) {
      throw new Fault(
        'PORTICO_PROTOCOL',
        `The SCGI header ${JSON.stringify(name.slice(0, 80))} comes twice`,
      )
    }
    seen.add(name)
  }
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
