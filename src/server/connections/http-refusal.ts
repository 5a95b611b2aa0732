/** The status of a request that Node's parser has refused. */
import type { Buffer } from 'node:buffer'

/** An error of `node:http`'s parser. */
export interface ParserError extends Error {
  readonly code?: string
  /** The latest bytes that the parser got. */
  readonly rawPacket?: Buffer
  /** How many of them it has parsed. */
  readonly bytesParsed?: number
}

/** Returns the status (RFC 9110, section 15.5). Node itself uses 431 for anything that is too long. */
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
 * Whether the line that is too long is the request line. Only its last bytes are known. Bytes without
 * a space count as a request target, because a header of that length without a space is rarer.
 */
function isRequestLine({ rawPacket, bytesParsed = 0 }: ParserError): boolean {
  if (rawPacket === undefined) return false
  const end = rawPacket.indexOf(LF)
  // A complete line precedes it, so it is a header, or part of a pipelined request.
  if (end >= 0 && end < bytesParsed - 1) return false
  const line = rawPacket.toString('latin1', 0, end < 0 ? undefined : end)
  return end < 0 ? /^(?:[A-Z-]+ )?\S*$/.test(line) : /^(?:[A-Z-]+ )?\S* HTTP\/\d\.\d\r?$/.test(line)
}
