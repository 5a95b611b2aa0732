/** Parses a CGI response (RFC 3875, section 6). FastCGI and SCGI responses have the same form. */
import { Buffer } from 'node:buffer'
import { PeerError } from '../errors.ts'
import type { HeaderList } from '../types.ts'
import { HEADER_LINE, quote } from '../text.ts'

/** Head and body of a response. */
export interface CgiResponse {
  /** `'200 OK'`: the Status header, or its default. */
  readonly status: string
  /** All headers except Status. */
  readonly headers: HeaderList
  readonly body: Buffer
  /** The path of a local redirect (section 6.2.2), which the web server resolves itself. */
  readonly localRedirect?: string | undefined
}

/** Bytes of the head: eight times the longest line that Apache accepts. */
export const MAX_HEAD = 64 * 1024

/** RFC 9112, section 4. */
const STATUS_LINE = /^HTTP\/\d+(?:\.\d+)?[ \t]+(.*)$/

/** Characters of a line in a message. */
const MAX_SHOWN = 80

const LF = 0x0a
const CR = 0x0d

/** Section 6.3.3. */
const STATUS = /^[1-9]\d\d(?: [\t -~\x80-\xff]*)?$/

/** The head of a response. */
export type CgiHead = Pick<CgiResponse, 'status' | 'headers' | 'localRedirect'>

/**
 * Parses a response. Lines end in CRLF or LF; spaces around values are removed.
 *
 * The default status is 200, or 302 if there is an absolute Location (section 6.2.3).
 *
 * @throws {PeerError} PORTICO_PROTOCOL if a web server would respond with an error: the head has no
 *   end, a line is not a header, Status appears twice, or no CGI header is there (section 6.2).
 */
export function parseCgiResponse(bytes: Buffer): CgiResponse {
  const reader = new CgiHeadReader()
  const bodyStart = reader.add(bytes)
  if (bodyStart === null) throw reader.incomplete()
  return { ...reader.head!, body: bytes.subarray(bodyStart) }
}

/**
 * Reads the head of a response that arrives in chunks of any size. The work is proportional to the
 * bytes, even if each is a chunk of its own.
 */
export class CgiHeadReader {
  /** Null until the head is complete. */
  head: CgiHead | null = null
  readonly #takesStatusLine: boolean
  readonly #headers: HeaderList = []
  /** What has arrived of a line. */
  #partial: Buffer[] = []
  #size = 0
  #statusLine: string | undefined

  /** @param takesStatusLine whether the head may be one of HTTP, as a script `nph-…` sends it. */
  constructor(takesStatusLine = false) {
    this.#takesStatusLine = takesStatusLine
  }

  /**
   * Returns the index in `chunk` at which the body begins; null if the head is incomplete.
   *
   * @throws {PeerError} as `parseCgiResponse` does, as soon as a line is wrong.
   */
  add(chunk: Buffer): number | null {
    for (let at = 0; ;) {
      const end = chunk.indexOf(LF, at)
      this.#size += (end === -1 ? chunk.length : end + 1) - at
      if (this.#size > MAX_HEAD) {
        throw malformed(
          `the head has more than ${MAX_HEAD} bytes${this.#beginning(chunk.subarray(at, end === -1 ? undefined : end))}`,
        )
      }
      if (end === -1) {
        if (at < chunk.length) this.#partial.push(chunk.subarray(at))
        return null
      }
      const line = this.#take(chunk.subarray(at, end))
      at = end + 1
      if (line !== '') this.#addLine(line)
      else {
        this.head = headOf(this.#headers, this.#statusLine)
        return at
      }
    }
  }

  /** The error to throw if the response ends before its head does. */
  incomplete(): PeerError {
    if (this.#size === 0) return malformed('it is empty')
    const line = this.#take(Buffer.alloc(0))
    if (line === '' || HEADER_LINE.test(line)) return malformed('the head does not end')
    return malformed(`${shown(line)} is not a header`)
  }

  #take(rest: Buffer): string {
    const bytes = this.#partial.length === 0 ? rest : Buffer.concat([...this.#partial, rest])
    this.#partial = []
    return bytes.toString('latin1', 0, bytes.at(-1) === CR ? bytes.length - 1 : bytes.length)
  }

  #addLine(line: string): void {
    if (this.#takesStatusLine && this.#statusLine === undefined && this.#headers.length === 0) {
      const [, status] = STATUS_LINE.exec(line) ?? []
      if (status !== undefined) {
        if (!STATUS.test(status)) throw malformed(`the status line is ${shown(line)}`)
        this.#statusLine = status
        return
      }
    }
    const match = HEADER_LINE.exec(line)
    if (!match) throw malformed(`${shown(line)} is not a header`)
    this.#headers.push([match[1]!, match[2]!.trim()])
  }

  #beginning(rest: Buffer): string {
    const line = this.#take(rest)
    return HEADER_LINE.test(line) ? '' : `; ${shown(line)} is not a header`
  }
}

function shown(line: string): string {
  return quote(line, MAX_SHOWN)
}

function headOf(headers: HeaderList, statusLine: string | undefined): CgiHead {
  const [status = statusLine, ...others] = valuesOf(headers, 'Status')
  const location = valuesOf(headers, 'Location').at(-1)
  if (others.length > 0) throw malformed('Status appears more than once')
  if (status !== undefined && !STATUS.test(status)) throw malformed(`Status: ${status}`)
  if (status === undefined && location === undefined && !has(headers, 'Content-Type')) {
    throw malformed('it has neither Content-Type nor Location nor Status')
  }
  const rest = headers.filter(([name]) => name.toLowerCase() !== 'status')
  if (status === undefined && location?.startsWith('/')) {
    return { status: '200 OK', headers: rest, localRedirect: location }
  }
  const implied = location === undefined ? '200 OK' : '302 Found'
  return { status: status ?? implied, headers: rest }
}

/** Content-Length, if the response has a body: not HEAD, 1xx, 204 and 304. */
export function declaredLength(
  { status, headers }: Pick<CgiResponse, 'status' | 'headers'>,
  method: string | undefined,
): number | undefined {
  if (method === 'HEAD' || /^(?:1|204|304)/.test(status)) return undefined
  const [length] = valuesOf(headers, 'Content-Length')
  return length === undefined ? undefined : Number(length)
}

/** The values of a header in their order. Names are case-insensitive. */
export function valuesOf(headers: Readonly<HeaderList>, name: string): string[] {
  const wanted = name.toLowerCase()
  return headers.filter(([key]) => key.toLowerCase() === wanted).map(([, value]) => value)
}

function has(headers: HeaderList, name: string): boolean {
  return valuesOf(headers, name).length > 0
}

function malformed(what: string): PeerError {
  return new PeerError('PORTICO_PROTOCOL', `malformed CGI response: ${what}`)
}
