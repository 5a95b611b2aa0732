/** The reader of CGI heads: whole, in chunks of any size, and with random bytes. */
import { Buffer } from 'node:buffer'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PeerError } from '../../src/errors.ts'
import { CgiHeadReader } from '../../src/response/cgi-response.ts'

/** The head and the body, or the error, of a response that arrives in these chunks. */
function read(chunks: readonly Buffer[], takesStatusLine = false): unknown {
  const reader = new CgiHeadReader(takesStatusLine)
  try {
    for (const [index, chunk] of chunks.entries()) {
      const start = reader.add(chunk)
      if (start === null) continue
      const body = Buffer.concat([chunk.subarray(start), ...chunks.slice(index + 1)])
      return { head: reader.head, body: body.toString('latin1') }
    }
  } catch (error) {
    return error
  }
  return reader.incomplete()
}

const whole = (text: string, takesStatusLine = false): unknown =>
  read([Buffer.from(text, 'latin1')], takesStatusLine)

describe('CgiHeadReader', () => {
  it('takes a status line of HTTP only if it may', () => {
    const text = 'HTTP/1.1 404 Not Found\r\nX: y\r\n\r\nHi'
    expect(whole(text, true)).toEqual({
      head: { status: '404 Not Found', headers: [['X', 'y']] },
      body: 'Hi',
    })
    expect(whole(text)).toBeInstanceOf(PeerError)
    expect(whole(`X: y\n${text}`, true)).toBeInstanceOf(PeerError)
  })

  it('reads a response in chunks of any size as it reads it whole', () => {
    const line = fc.oneof(
      fc.constantFrom(
        'Status: 404 No',
        'Location: /a',
        'Content-Type: a/b',
        'X: \xff',
        'nonsense',
        '',
      ),
      fc.constantFrom('HTTP/1.1 200 OK', ': x', 'A b: c', ' folded', 'X:', 'Status: OK'),
    )
    const part = fc.tuple(line, fc.constantFrom('\n', '\r\n', '\r', ''))
    const text = fc.array(part, { maxLength: 8 }).map((parts) => parts.flat().join(''))
    fc.assert(
      fc.property(text, fc.array(fc.nat(9)), fc.boolean(), (response, sizes, takes) => {
        const bytes = Buffer.from(response, 'latin1')
        const chunks: Buffer[] = []
        let at = 0
        for (const size of sizes) chunks.push(bytes.subarray(at, (at += size)))
        chunks.push(bytes.subarray(Math.min(at, bytes.length)))
        expect(read(chunks, takes)).toEqual(whole(response, takes))
      }),
      { numRuns: 500 },
    )
  })

  it('refuses random bytes with a PeerError, or reads a valid head', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const result = read([Buffer.from(bytes)], true)
        if (result instanceof PeerError) expect(result.message).toMatch(/^malformed CGI response: /)
        else expect(result).toHaveProperty('head.status', expect.stringMatching(/^[1-9]\d\d/))
      }),
    )
  })

  it('refuses a head of more than 64 KiB, whatever the size of its chunks', () => {
    for (const size of [1, 1000, 70_000]) {
      const line = Buffer.alloc(size, 'x')
      const chunks = [Buffer.from('X: '), ...Array<Buffer>(Math.ceil(70_000 / size)).fill(line)]
      expect(read(chunks)).toEqual(
        expect.objectContaining({ message: expect.stringContaining('more than 65536 bytes') }),
      )
    }
  })
})
