/**
 * The constants and records of FastCGI 1.0, for both sides of a connection.
 *
 * `fastcgi-application.ts` and `fastcgi-web-server.ts` decide which record may follow which.
 * "Section" always means a section of the FastCGI Specification 1.0 (1996).
 */
import { Buffer } from 'node:buffer'
import { refusalText } from './refusal.ts'
import { COPIED, joinParts, type Part } from './part.ts'

export const FCGI_VERSION_1 = 1
export const FCGI_HEADER_LEN = 8
export const FCGI_NULL_REQUEST_ID = 0

/** Record types (section 8). */
export const FCGI_BEGIN_REQUEST = 1
export const FCGI_ABORT_REQUEST = 2
export const FCGI_END_REQUEST = 3
export const FCGI_PARAMS = 4
export const FCGI_STDIN = 5
export const FCGI_STDOUT = 6
export const FCGI_STDERR = 7
export const FCGI_DATA = 8
export const FCGI_GET_VALUES = 9
export const FCGI_GET_VALUES_RESULT = 10
export const FCGI_UNKNOWN_TYPE = 11

/** The one flag of BEGIN_REQUEST (section 5.1); the other bits are ignored. */
export const FCGI_KEEP_CONN = 1

/** Roles (section 6). */
export const FCGI_RESPONDER = 1
export const FCGI_AUTHORIZER = 2
/** @public The one role that is refused. */
export const FCGI_FILTER = 3

/** The protocolStatus of END_REQUEST (section 5.5). */
export const FCGI_REQUEST_COMPLETE = 0
export const FCGI_CANT_MPX_CONN = 1
export const FCGI_OVERLOADED = 2
export const FCGI_UNKNOWN_ROLE = 3

/** The names a web server can ask for with GET_VALUES (section 4.1). */
export const FCGI_MAX_CONNS = 'FCGI_MAX_CONNS'
export const FCGI_MAX_REQS = 'FCGI_MAX_REQS'
export const FCGI_MPXS_CONNS = 'FCGI_MPXS_CONNS'

/** The largest length that the two length bytes of a header can hold (section 3.3). */
export const MAX_CONTENT = 65_535

/**
 * The content of each record of a longer stream: the largest multiple of 8 up to MAX_CONTENT.
 * Section 3.3 recommends records on 8-byte boundaries; slices of this size need no padding for it.
 */
const SLICE = 65_528

const NO_BYTES = Buffer.alloc(0)

/** Writes a header (section 3.3) at `offset`; returns the offset after it. */
export function writeHeader(
  target: Buffer,
  offset: number,
  type: number,
  id: number,
  length: number,
  padding = 0,
): number {
  target[offset] = FCGI_VERSION_1
  target[offset + 1] = type
  target[offset + 2] = id >>> 8
  target[offset + 3] = id
  target[offset + 4] = length >>> 8
  target[offset + 5] = length
  target[offset + 6] = padding
  target[offset + 7] = 0
  return offset + FCGI_HEADER_LEN
}

/** One whole record, padded to a multiple of 8 bytes. `content` has at most MAX_CONTENT bytes. */
export function encodeRecord(type: number, id: number, content: Uint8Array = NO_BYTES): Buffer {
  const { length } = content
  if (length > MAX_CONTENT) throw new RangeError(`A FastCGI record cannot hold ${length} bytes`)
  const padding = -length & 7
  const record = Buffer.allocUnsafe(FCGI_HEADER_LEN + length + padding)
  const offset = writeHeader(record, 0, type, id, length, padding)
  record.set(content, offset)
  return record.fill(0, offset + length)
}

/**
 * A part of a stream as records, and `after` following them. Returns no record for no bytes, because
 * an empty record would end the stream.
 */
export function encodeStream(type: number, id: number, parts: readonly Part[], after = ''): Part[] {
  let left = 0
  for (const part of parts) left += part.length
  if (left <= COPIED) return encodeShort(type, id, parts, left, after)
  const divided: Part[] = []
  /** Bytes that are missing from the current record. */
  let room = 0
  for (const part of parts) {
    for (let at = 0, end = 0; at < part.length; at = end) {
      if (room === 0) {
        room = Math.min(left, SLICE)
        // Without padding, which would only buy an alignment that no peer relies on.
        divided.push(headerText(type, id, room))
      }
      end = Math.min(part.length, at + room)
      room -= end - at
      left -= end - at
      const whole = end - at === part.length
      divided.push(
        whole ? part : typeof part === 'string' ? part.slice(at, end) : part.subarray(at, end),
      )
    }
  }
  divided.push(after)
  return joinParts(divided)
}

/** One record of `size` bytes, and `after`, as one string. Most responses are that short. */
function encodeShort(
  type: number,
  id: number,
  parts: readonly Part[],
  size: number,
  after: string,
): Part[] {
  let text = size === 0 ? '' : headerText(type, id, size)
  for (const part of parts) text += typeof part === 'string' ? part : part.toString('latin1')
  text += after
  return text === '' ? [] : [text]
}

/** A record header as a byte string. */
export function headerText(type: number, id: number, length: number): string {
  const [high, low] = [length >>> 8, length & 0xff]
  return String.fromCharCode(FCGI_VERSION_1, type, id >>> 8, id & 0xff, high, low, 0, 0)
}

/**
 * The response to a request whose PARAMS are refused. For a limit, OVERLOADED would be a fault of this
 * server: nginx 1.22 responds with a 502, and tries the same request on its other servers.
 */
export function refusedParamsText(id: number, status: string): string {
  const page = refusalText(status)
  const stdout = headerText(FCGI_STDOUT, id, page.length) + page + headerText(FCGI_STDOUT, id, 0)
  return stdout + endRequestText(id, 0, FCGI_REQUEST_COMPLETE)
}

/**
 * END_REQUEST (section 5.5) as a byte string.
 *
 * @param appStatus the exit status, a 32-bit number
 */
// oxfmt-ignore
export function endRequestText(id: number, appStatus: number, protocolStatus: number): string {
  return headerText(FCGI_END_REQUEST, id, 8) + String.fromCharCode(
    appStatus >>> 24, (appStatus >>> 16) & 0xff, (appStatus >>> 8) & 0xff, appStatus & 0xff,
    protocolStatus, 0, 0, 0,
  )
}
