import { Buffer } from 'node:buffer'
import { describe, expect, test } from 'vitest'
import { refusalStatus } from '../../../src/server/connections/http-refusal.ts'

/** An error of the parser that has read `read` and had `rest` before it. */
function overflow(read: string, rest = '') {
  const rawPacket = Buffer.from(read + rest, 'latin1')
  return Object.assign(new Error('Parse Error'), {
    code: 'HPE_HEADER_OVERFLOW',
    rawPacket,
    bytesParsed: read.length,
  })
}

const long = 'a'.repeat(1000)

/** Which chunk it was, what the parser has read of it, and what was left. */
type Row = [chunk: string, read: string, rest?: string]

describe('An HTTP head that is too long', () => {
  test.each<Row>([
    ['the request line, whole', `GET /${long}`, ' HTTP/1.0\r\n\r\n'],
    ['its beginning', `M-SEARCH http://host/${long}`],
    ['a chunk of it', long],
    ['its last chunk', 'aaaa?b=c', ' HTTP/1.1\r\nHost: a\r\n'],
    ['its last chunk, with LF alone', 'aaaa?b=c', ' HTTP/1.1\n'],
  ])('gets a 414 if it ends within %s', (_, read, rest) => {
    expect(refusalStatus(overflow(read, rest))).toBe('414 URI Too Long')
  })

  test.each<Row>([
    ['a header after the request line', `GET / HTTP/1.1\r\nX-A: ${long}`],
    ['a header with spaces in it', `${long}; b=c`],
    ['the last chunk of a header', 'aaaa\r', '\n\r\n'],
    ['one header of many', `X-A: b\r\nX-B: ${long}`, '\r\nX-C: d\r\n'],
    ['a header before which one ends', `aaa HTTP/1.1\r\nX-B: ${long}`, '\r\n\r\n'],
  ])('gets a 431 if it ends within %s', (_, read, rest) => {
    expect(refusalStatus(overflow(read, rest))).toBe('431 Request Header Fields Too Large')
  })

  test('gets a 431 if the error has no bytes', () => {
    const error = Object.assign(new Error(), { code: 'HPE_HEADER_OVERFLOW' })
    expect(refusalStatus(error)).toBe('431 Request Header Fields Too Large')
  })
})

test.each([
  ['HPE_CHUNK_EXTENSIONS_OVERFLOW', '413 Content Too Large'],
  ['ERR_HTTP_REQUEST_TIMEOUT', '408 Request Timeout'],
  ['HPE_INVALID_METHOD', '400 Bad Request'],
  [undefined, '400 Bad Request'],
])('The parser error %s gets a %s', (code, status) => {
  expect(refusalStatus(Object.assign(new Error(), code && { code }))).toBe(status)
})
