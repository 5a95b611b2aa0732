/**
 * FastCGI 1.0 on the wire: its constants, record headers and name-value pairs, for both sides.
 *
 * Bytes in, values out. What may follow what is decided in `fastcgi-application.ts` and
 * `fastcgi-web-server.ts`. "Section" is always that of the FastCGI Specification 1.0 (1996).
 */
import { Buffer } from 'node:buffer'

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

/** What the two length bytes of a header can say (section 3.3). */
export const MAX_CONTENT = 65_535

/**
 * Where a longer stream is divided: the largest multiple of 8 that is not over MAX_CONTENT. Section
 * 3.3 recommends records on 8-byte boundaries; slices of this size need no padding to stay there.
 */
const SLICE = 65_528

/** The PARAMS of one request: nginx and mod_fcgid send one record of them, 64 KiB, at most. */
export const MAX_PARAMS_BYTES = 1024 * 1024

/** Pairs in one request: Apache refuses more than 100 header fields unless told otherwise. */
export const MAX_PARAMS = 10_000

const NO_BYTES = Buffer.alloc(0)

/** Writes a header (section 3.3) at `offset`; returns the offset behind it. */
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

/** One record in one piece, padded to a multiple of 8 bytes. `content` is at most MAX_CONTENT. */
export function encodeRecord(type: number, id: number, content: Uint8Array = NO_BYTES): Buffer {
  const { length } = content
  if (length > MAX_CONTENT) throw new RangeError(`A FastCGI record cannot hold ${length} bytes`)
  const padding = -length & 7
  const record = Buffer.allocUnsafe(FCGI_HEADER_LEN + length + padding)
  const offset = writeHeader(record, 0, type, id, length, padding)
  record.set(content, offset)
  return record.fill(0, offset + length)
}

/** Fewer bytes are cheaper copied than sent from where they are. */
const COPIED = 512

/** Characters that are put together at the most: a string has its limit, and is written as a copy. */
const MAX_TEXT = 1024 * 1024

/** Bytes to send; a string is a byte string, which for few bytes costs less than a Buffer. */
export type Part = string | Buffer

/**
 * Part of a stream as records, and behind them what `after` says. Long pieces are not copied; the
 * short ones, with the headers between, are put together. Nothing at all for no bytes, since an
 * empty record would end the stream.
 */
export function encodeStream(
  type: number,
  id: number,
  pieces: readonly Part[],
  after = '',
): Part[] {
  const parts: Part[] = []
  let text = ''
  let left = 0
  for (const { length } of pieces) left += length
  /** Bytes that are missing from the record that has been begun. */
  let room = 0
  for (const piece of pieces) {
    for (let at = 0, end = 0; at < piece.length; at = end) {
      if (room === 0) {
        room = Math.min(left, SLICE)
        // Not padded: that would be bytes more, for an alignment nobody relies on.
        text += headerText(type, id, room)
      }
      end = Math.min(piece.length, at + room)
      room -= end - at
      left -= end - at
      if (typeof piece === 'string') {
        text += piece.slice(at, end)
        if (text.length >= MAX_TEXT) {
          parts.push(text)
          text = ''
        }
      } else if (end - at < COPIED) {
        text += piece.toString('latin1', at, end)
      } else {
        if (text !== '') parts.push(text)
        parts.push(piece.subarray(at, end))
        text = ''
      }
    }
  }
  text += after
  if (text !== '') parts.push(text)
  return parts
}

/** The same as Buffers. */
export function buffersOf(parts: readonly Part[]): Buffer[] {
  return parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part))
}

/** END_REQUEST (section 5.5); `appStatus` is the exit status, a 32-bit number. */
export function encodeEndRequest(id: number, appStatus: number, protocolStatus: number): Buffer {
  return Buffer.from(endRequestText(id, appStatus, protocolStatus), 'latin1')
}

/** A header as a byte string. */
export function headerText(type: number, id: number, length: number): string {
  const [version, high, low] = [FCGI_VERSION_1, id >>> 8, id & 0xff]
  return String.fromCharCode(version, type, high, low, length >>> 8, length & 0xff, 0, 0)
}

function endRequestText(id: number, appStatus: number, protocolStatus: number): string {
  const status = [appStatus >>> 24, appStatus >>> 16, appStatus >>> 8, appStatus]
  const bytes = [...status.map((byte) => byte & 0xff), protocolStatus, 0, 0, 0]
  return headerText(FCGI_END_REQUEST, id, 8) + String.fromCharCode(...bytes)
}

/** What `endText` gave last: web servers that do not multiplex use one id only. */
const last = { id: -1, appStatus: 0, protocolStatus: 0, text: '' }

/** The end of STDOUT and END_REQUEST, as a byte string. */
export function endText(id: number, appStatus: number, protocolStatus: number): string {
  const same = last.appStatus === appStatus && last.protocolStatus === protocolStatus
  if (last.id !== id || !same) {
    const text = headerText(FCGI_STDOUT, id, 0) + endRequestText(id, appStatus, protocolStatus)
    Object.assign(last, { id, appStatus, protocolStatus, text })
  }
  return last.text
}

/** Name-value pairs (section 3.4) of byte strings, one character (U+0000 to U+00FF) per byte. */
export function encodePairs(pairs: Iterable<readonly [name: string, value: string]>): Buffer {
  const parts: Buffer[] = []
  for (const [name, value] of pairs) {
    const lengths = [...encodeSize(name.length), ...encodeSize(value.length)]
    parts.push(Buffer.from(lengths), Buffer.from(name + value, 'latin1'))
  }
  return Buffer.concat(parts)
}

/** One byte up to 127, else four with the highest bit set. */
function encodeSize(size: number): number[] {
  return size < 0x80
    ? [size]
    : [(size >>> 24) | 0x80, (size >>> 16) & 0xff, (size >>> 8) & 0xff, size & 0xff]
}

/** Why a block of pairs was refused: a length points behind its end, or there are too many. */
export type PairsFault = 'malformed' | 'too many'

/**
 * The pairs of a complete block as `[name, value, name, value …]`, byte strings in the order sent,
 * repeated names included. They may be parts of one string as long as the block: whoever keeps one
 * keeps all of it.
 */
export function decodePairs(block: Buffer, maxPairs = MAX_PARAMS): string[] | PairsFault {
  // Decoded once and cut up: a call for each item costs twice as much.
  const text = block.toString('latin1')
  const pairs: string[] = []
  const fault = walkPairs(block, 0, block.length, maxPairs, (name, nameLength, valueLength) => {
    const value = name + nameLength
    pairs.push(text.substring(name, value), text.substring(value, value + valueLength))
  })
  return fault ?? pairs
}

/**
 * Calls `take` for each pair of a complete block: `at` is the offset of the name in `block`, and the
 * value follows it. Pairs before a fault have been taken.
 */
export function walkPairs(
  block: Buffer,
  start: number,
  end: number,
  maxPairs: number,
  take: (at: number, nameLength: number, valueLength: number) => void,
): PairsFault | null {
  let at = start
  for (let count = 0; at < end; count++) {
    if (count >= maxPairs) return 'too many'
    // A length that is itself cut short leaves `at` behind the end, which both checks see.
    let nameLength = block[at++]!
    if (nameLength > 0x7f) {
      nameLength = longSize(block, at)
      at += 3
    }
    if (at >= end) return 'malformed'
    let valueLength = block[at++]!
    if (valueLength > 0x7f) {
      valueLength = longSize(block, at)
      at += 3
    }
    // Compared with what is left, in doubles: sums of 31-bit lengths wrapped in CVE-2025-23016.
    if (nameLength + valueLength > end - at) return 'malformed'
    take(at, nameLength, valueLength)
    at += nameLength + valueLength
  }
  return null
}

/** The 31 bits of a four-byte length whose first byte is before `at`. */
function longSize(block: Buffer, at: number): number {
  return (
    ((block[at - 1]! & 0x7f) << 24) | (block[at]! << 16) | (block[at + 1]! << 8) | block[at + 2]!
  )
}
