/**
 * What a client is told of a request that Node's parser gave up, from the server's side: Node says
 * 431 for whatever is too long, and the request line has a status of its own.
 */
import type { Buffer } from 'node:buffer'

/** An error of `node:http`'s parser, with the piece of the request in which it gave up. */
export interface ParserError extends Error {
  readonly code?: string
  readonly rawPacket?: Buffer
  /** How much of `rawPacket` had been read. */
  readonly bytesParsed?: number
}

/** The status line for it (RFC 9110, section 15.5). */
export function refusalStatus(error: ParserError): string {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return isRequestLine(error) ? '414 URI Too Long' : '431 Request Header Fields Too Large'
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return '413 Content Too Large'
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return '408 Request Timeout'
    default:
      return '400 Bad Request'
  }
}

const LF = 10

/**
 * Whether the line that is too long is the request line, as far as the last piece of it tells. A
 * piece from the middle of a line is taken for part of a target if it could be one: a header of
 * that length without a blank is rarer.
 */
function isRequestLine({ rawPacket, bytesParsed = 0 }: ParserError): boolean {
  if (rawPacket === undefined) return false
  const end = rawPacket.indexOf(LF)
  // A line has ended before, so this one is a header; or a request that came with its predecessor.
  if (end >= 0 && end < bytesParsed - 1) return false
  const line = rawPacket.toString('latin1', 0, end < 0 ? undefined : end)
  return end < 0 ? /^(?:[A-Z-]+ )?\S*$/.test(line) : /^(?:[A-Z-]+ )?\S* HTTP\/\d\.\d\r?$/.test(line)
}
