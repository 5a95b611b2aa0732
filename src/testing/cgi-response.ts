/**
 * The answer of a CGI script (RFC 3875, section 6), read as a web server reads it. FastCGI and SCGI
 * applications answer in the same form.
 */
import type { Buffer } from 'node:buffer'
import { PeerError } from '../errors.ts'
import type { HeaderList } from '../types.ts'
import { valuesOf } from './client.ts'

/** Head and body of an answer. */
export interface CgiAnswer {
  /** `'200 OK'`: the Status header, or what stands for it where it is missing. */
  readonly status: string
  /** All but Status. */
  readonly headers: HeaderList
  readonly body: Buffer
  /** The path of a local redirect (section 6.2.2), which the web server serves itself. */
  readonly localRedirect?: string | undefined
}

/** Bytes of a head; eight times Apache's longest line. */
const MAX_HEAD = 64 * 1024

/** RFC 9110, sections 5.6.2 and 5.5. */
const HEADER_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)$/

/** Section 6.3.3. */
const STATUS = /^[1-9]\d\d(?: [\t -~\x80-\xff]*)?$/

/**
 * Takes an answer apart. Lines end in CRLF or LF; blanks around a value go.
 *
 * Without Status it is 200, or 302 where an absolute Location stands (section 6.2.3).
 *
 * @throws {PeerError} PORTICO_PROTOCOL where a web server would answer with a 500 of its own: a head
 *   without an end, a line that is no header, a second Status, no header of CGI (section 6.2).
 */
export function parseCgiResponse(bytes: Buffer): CgiAnswer {
  const headers: HeaderList = []
  let at = 0
  for (;;) {
    const end = bytes.indexOf(0x0a, at)
    if (end === -1 || end > MAX_HEAD) throw malformed('the head has no end')
    const line = bytes.toString('latin1', at, bytes[end - 1] === 0x0d && end > at ? end - 1 : end)
    at = end + 1
    if (line === '') break
    const match = HEADER_LINE.exec(line)
    if (!match) throw malformed(`${JSON.stringify(line.slice(0, 80))} is no header`)
    headers.push([match[1]!, match[2]!.trim()])
  }
  const body = bytes.subarray(at)
  const [status, ...others] = valuesOf(headers, 'Status')
  const [location] = valuesOf(headers, 'Location')
  if (others.length > 0) throw malformed('there are several Status headers')
  if (status !== undefined && !STATUS.test(status)) throw malformed(`Status: ${status}`)
  if (status === undefined && location === undefined && !has(headers, 'Content-Type')) {
    throw malformed('none of Content-Type, Location and Status is there')
  }
  const rest = headers.filter(([name]) => name.toLowerCase() !== 'status')
  if (status === undefined && location?.startsWith('/')) {
    return { status: '200 OK', headers: rest, body, localRedirect: location }
  }
  const silent = location === undefined ? '200 OK' : '302 Found'
  return { status: status ?? silent, headers: rest, body }
}

/** Whether a body is shorter than its head says; none is due to HEAD, 1xx, 204 and 304. */
export function isCutShort(answer: CgiAnswer, method = 'GET'): boolean {
  if (method === 'HEAD' || /^(?:1|204|304)/.test(answer.status)) return false
  const [length] = valuesOf(answer.headers, 'Content-Length')
  return length !== undefined && answer.body.length < Number(length)
}

function has(headers: HeaderList, name: string): boolean {
  return valuesOf(headers, name).length > 0
}

function malformed(what: string): PeerError {
  return new PeerError('PORTICO_PROTOCOL', `malformed CGI answer: ${what}`)
}
