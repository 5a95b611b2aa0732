/** Parses a CGI response (RFC 3875, section 6). FastCGI and SCGI responses have the same form. */
import type { Buffer } from 'node:buffer'
import { PeerError } from '../errors.ts'
import type { HeaderList } from '../types.ts'
import { valuesOf } from './client.ts'

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

/** RFC 9110, sections 5.6.2 and 5.5. */
const HEADER_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)$/

/** Section 6.3.3. */
const STATUS = /^[1-9]\d\d(?: [\t -~\x80-\xff]*)?$/

/** A head, and where the body begins. */
interface CgiHead {
  readonly head: Pick<CgiResponse, 'status' | 'headers' | 'localRedirect'>
  readonly bodyStart: number
}

/**
 * Parses a response. Lines end in CRLF or LF; spaces around values are removed.
 *
 * The default status is 200, or 302 if there is an absolute Location (section 6.2.3).
 *
 * @throws {PeerError} PORTICO_PROTOCOL if a web server would respond with an error: the head has no
 *   end, a line is not a header, Status appears twice, or no CGI header is there (section 6.2).
 */
export function parseCgiResponse(bytes: Buffer): CgiResponse {
  const { head, bodyStart } = parseCgiHead(bytes, true)!
  return { ...head, body: bytes.subarray(bodyStart) }
}

/**
 * Parses the head of a response. Returns null if its end has not arrived, unless `isWhole`.
 *
 * @throws {PeerError} as `parseCgiResponse` does.
 */
export function parseCgiHead(bytes: Buffer, isWhole = false): CgiHead | null {
  const headers: HeaderList = []
  let at = 0
  for (;;) {
    const end = bytes.indexOf(0x0a, at)
    if (end === -1 && !isWhole && bytes.length <= MAX_HEAD) return null
    if (end === -1 || end > MAX_HEAD) throw malformed('the head does not end')
    const line = bytes.toString('latin1', at, bytes[end - 1] === 0x0d && end > at ? end - 1 : end)
    at = end + 1
    if (line === '') break
    const match = HEADER_LINE.exec(line)
    if (!match) throw malformed(`${JSON.stringify(line.slice(0, 80))} is not a header`)
    headers.push([match[1]!, match[2]!.trim()])
  }
  return { head: headOf(headers), bodyStart: at }
}

function headOf(headers: HeaderList): CgiHead['head'] {
  const [status, ...others] = valuesOf(headers, 'Status')
  const [location] = valuesOf(headers, 'Location')
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
  method = 'GET',
): number | undefined {
  if (method === 'HEAD' || /^(?:1|204|304)/.test(status)) return undefined
  const [length] = valuesOf(headers, 'Content-Length')
  return length === undefined ? undefined : Number(length)
}

function has(headers: HeaderList, name: string): boolean {
  return valuesOf(headers, name).length > 0
}

function malformed(what: string): PeerError {
  return new PeerError('PORTICO_PROTOCOL', `malformed CGI response: ${what}`)
}
