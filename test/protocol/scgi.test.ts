import { Buffer } from 'node:buffer'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeRequest, RequestReader, walkHeaders } from '../../src/protocol/scgi.ts'
import type { SCGIEvent } from '../../src/protocol/scgi.ts'

/** What an application receives, with the chunks of the body joined. */
interface Heard {
  params?: string[]
  contentLength?: number
  body: string
  ended?: true
  error?: string
}

function drain(reader: RequestReader, heard: Heard, maxHeaders: number): void {
  for (let event: SCGIEvent | null; (event = reader.next()) !== null;) {
    if (event.type === 'request') {
      const { block, start, end, contentLength } = event
      const params: string[] = []
      const seen = new Set<string>()
      const fault = walkHeaders(block, start, end, maxHeaders, (at, nameLength, valueLength) => {
        const name = block.toString('latin1', at, at + nameLength)
        const value = at + nameLength + 1
        params.push(name, block.toString('latin1', value, value + valueLength))
        if (name.startsWith('HTTP_')) return true
        return seen.size < seen.add(name).size
      })
      if (fault !== null) {
        heard.error = `${fault.code}: ${fault.message}`
        return
      }
      Object.assign(heard, { params, contentLength })
    } else if (event.type === 'body') heard.body += event.data.toString('latin1')
    else if (event.type === 'body-end') heard.ended = true
    else heard.error = `${event.code}: ${event.message}`
  }
}

/** Feeds chunks, and the end of the connection if asked to. */
function hear(
  chunks: readonly Buffer[],
  eof = false,
  { maxHeaderBytes, maxHeaders = 10_000 }: { maxHeaderBytes?: number; maxHeaders?: number } = {},
): Heard {
  const reader = new RequestReader(maxHeaderBytes)
  const heard: Heard = { body: '' }
  for (const chunk of chunks) {
    reader.receive(chunk)
    drain(reader, heard, maxHeaders)
    if (heard.error !== undefined) return heard
  }
  if (eof) reader.receiveEof()
  drain(reader, heard, maxHeaders)
  return heard
}

const bytes = (text: string) => Buffer.from(text, 'latin1')
const netstring = (block: string) => bytes(`${block.length}:${block},`)
const headers = (...items: string[]) => netstring(items.map((item) => `${item}\0`).join(''))

/** The request divided in two at each offset, and byte by byte. */
function* cuts(whole: Buffer): Generator<Buffer[]> {
  for (let at = 0; at <= whole.length; at++) yield [whole.subarray(0, at), whole.subarray(at)]
  yield Array.from(whole, (byte) => Buffer.of(byte))
}

// The example of the specification.
const EXAMPLE = bytes(
  '70:CONTENT_LENGTH\x0027\0SCGI\x001\0REQUEST_METHOD\0POST\0REQUEST_URI\0/deepthought\0,' +
    'What is the answer to life?',
)
const EXAMPLE_PARAMS =
  'CONTENT_LENGTH 27 SCGI 1 REQUEST_METHOD POST REQUEST_URI /deepthought'.split(' ')

describe('The SCGI reader', () => {
  test.each<[string, Buffer, Heard]>([
    [
      "the specification's example",
      EXAMPLE,
      {
        params: EXAMPLE_PARAMS,
        contentLength: 27,
        body: 'What is the answer to life?',
        ended: true,
      },
    ],
    [
      'a request without a body',
      headers('CONTENT_LENGTH', '0', 'SCGI', '1'),
      { params: ['CONTENT_LENGTH', '0', 'SCGI', '1'], contentLength: 0, body: '', ended: true },
    ],
    [
      'nginx 1.22 without scgi_params: no header SCGI, and a repeated request header',
      bytes('51:CONTENT_LENGTH\x000\0HTTP_HOST\0a\0HTTP_X_A\x001\0HTTP_X_A\x002\0,'),
      {
        params: ['CONTENT_LENGTH', '0', 'HTTP_HOST', 'a', 'HTTP_X_A', '1', 'HTTP_X_A', '2'],
        contentLength: 0,
        body: '',
        ended: true,
      },
    ],
    [
      'an empty value, bytes that are not ASCII, names that an object has',
      headers('CONTENT_LENGTH', '1', 'QUERY_STRING', '', '__proto__', '\xff\x80', 'a b', '\r\n,'),
      {
        params: [
          'CONTENT_LENGTH',
          '1',
          'QUERY_STRING',
          '',
          '__proto__',
          '\xff\x80',
          'a b',
          '\r\n,',
        ],
        contentLength: 1,
        body: '',
      },
    ],
    [
      'fifteen digits of CONTENT_LENGTH',
      headers('CONTENT_LENGTH', '999999999999999'),
      { params: ['CONTENT_LENGTH', '999999999999999'], contentLength: 999999999999999, body: '' },
    ],
    [
      'bytes after the body, which are discarded',
      Buffer.concat([headers('CONTENT_LENGTH', '2'), bytes('ab\r\n24:CONTENT_LENGTH')]),
      { params: ['CONTENT_LENGTH', '2'], contentLength: 2, body: 'ab', ended: true },
    ],
  ])('reads %s, wherever it is split', (_, request, expected) => {
    for (const chunks of cuts(request)) expect(hear(chunks)).toEqual(expected)
  })

  test.each([
    ['+5:hello,', 'does not begin with a netstring'],
    ['-5:hello,', 'does not begin with a netstring'],
    [' 5:hello,', 'does not begin with a netstring'],
    ['5 :hello,', 'does not begin with a netstring'],
    ['05:hello,', 'does not begin with a netstring'],
    ['00:,', 'does not begin with a netstring'],
    [':,', 'does not begin with a netstring'],
    ['0x5:hello,', 'does not begin with a netstring'],
    ['GET / HTTP/1.1\r\n', 'does not begin with a netstring'],
    ['\x01\x01\0\x01\0\x08\0\0', 'does not begin with a netstring'],
    ['11111111111:', 'does not begin with a netstring'],
    ['0:,', 'do not end where their length says'],
    ['17:CONTENT_LENGTH\x000\0;', 'do not end where their length says'],
    ['16:CONTENT_LENGTH\x000\0,', 'do not end where their length says'],
    ['16:CONTENT_LENGTH\x000,', 'do not end where their length says'],
    ['2:\0\0,', 'is not CONTENT_LENGTH'],
    ['1:\0,', 'is not CONTENT_LENGTH'],
    ['15:CONTENT_LENGTH\0,12\0', 'is not CONTENT_LENGTH'],
    [String(headers('SCGI', '1', 'CONTENT_LENGTH', '0')), 'is not CONTENT_LENGTH'],
    [String(headers('content_length', '0')), 'is not CONTENT_LENGTH'],
    [String(headers('CONTENT_LENGTH', '0', 'X')), 'has no value'],
    [String(headers('CONTENT_LENGTH', '0', '', 'x')), 'has no name'],
    [String(headers('CONTENT_LENGTH', '0', 'SCGI', '2')), 'header SCGI is not 1'],
    [String(headers('CONTENT_LENGTH', '0', 'SCGI', '')), 'header SCGI is not 1'],
    [String(headers('CONTENT_LENGTH', '0', 'SCGI', '1', 'SCGI', '1')), '"SCGI" appears twice'],
    [
      String(headers('CONTENT_LENGTH', '0', 'CONTENT_LENGTH', '0')),
      '"CONTENT_LENGTH" appears twice',
    ],
    [String(headers('CONTENT_LENGTH', '0', 'A', '1', 'A', '2')), '"A" appears twice'],
  ])('refuses %j, wherever it is split: it %s', (request, why) => {
    for (const chunks of cuts(bytes(request))) {
      const { error, ...heard } = hear(chunks, true)
      expect(error).toMatch(/^PORTICO_PROTOCOL: /)
      expect(error).toContain(why)
      expect(heard).toEqual({ body: '' })
    }
  })

  test.each(['', '-1', '+1', '1e3', '1\n', '1000000000000000'])(
    'refuses CONTENT_LENGTH %j as a bad request (as FastCGI and CGI do)',
    (length) => {
      for (const chunks of cuts(headers('CONTENT_LENGTH', length))) {
        expect(hear(chunks, true)).toEqual({
          body: '',
          error: `PORTICO_BAD_REQUEST: CONTENT_LENGTH ${JSON.stringify(length)} is not a number of bytes`,
        })
      }
    },
  )

  test('refuses another protocol at its first byte', () => {
    expect(hear([bytes('G')]).error).toContain('does not begin with a netstring')
  })

  test.each<[what: string, headers: string[], length: number]>([
    ['a longer HTTP_CONTENT_LENGTH', ['CONTENT_LENGTH', '0', 'HTTP_CONTENT_LENGTH', '5'], 5],
    [
      'one that is longer than a chunk',
      ['CONTENT_LENGTH', '2', 'A', '', 'HTTP_CONTENT_LENGTH', '5'],
      5,
    ],
    [
      'a longer one of lighttpd, which sends a header Content_Length under this name',
      ['CONTENT_LENGTH', '5', 'HTTP_CONTENT_LENGTH', '9', 'SERVER_SOFTWARE', 'lighttpd/1.4.69'],
      5,
    ],
    [
      'a longer one of nginx with SERVER_SOFTWARE',
      ['CONTENT_LENGTH', '2', 'HTTP_CONTENT_LENGTH', '5', 'SERVER_SOFTWARE', 'nginx/1.22.1'],
      5,
    ],
    [
      'a longer one of nginx 1.29.1',
      ['CONTENT_LENGTH', '2', 'HTTP_CONTENT_LENGTH', '5', 'SERVER_SOFTWARE', 'nginx/1.29.1'],
      5,
    ],
    ...['nginx/1.29.2', 'nginx/1.30.0', 'nginx/2.0.0'].map(
      (software): [string, string[], number] => [
        `a longer one of ${software}, which counts the whole body`,
        ['CONTENT_LENGTH', '5', 'HTTP_CONTENT_LENGTH', '9', 'SERVER_SOFTWARE', software],
        5,
      ],
    ),
    ['a shorter one', ['CONTENT_LENGTH', '5', 'HTTP_CONTENT_LENGTH', '3'], 5],
    ['an empty one', ['CONTENT_LENGTH', '5', 'HTTP_CONTENT_LENGTH', ''], 5],
    ['one that is not a number', ['CONTENT_LENGTH', '5', 'HTTP_CONTENT_LENGTH', '+9'], 5],
    [
      'a value with this name',
      ['CONTENT_LENGTH', '5', 'HTTP_X', 'HTTP_CONTENT_LENGTH', '9', ''],
      5,
    ],
  ])('gives the body its correct length with %s, wherever it is split', (_, items, length) => {
    const request = Buffer.concat([headers(...items), bytes('hello, and more')])
    for (const chunks of cuts(request)) {
      const { contentLength, body, ended } = hear(chunks)
      expect({ contentLength, body, ended }).toEqual({
        contentLength: length,
        body: 'hello',
        ended: true,
      })
    }
  })

  test('reads nothing after an error, and reports no second one', () => {
    const reader = new RequestReader()
    reader.receive(bytes('x'))
    reader.receive(EXAMPLE)
    reader.receiveEof()
    expect(reader.next()?.type).toBe('error')
    expect(reader.next()).toBeNull()
  })

  test('gives body chunks that are views of the received ones, and never an empty one', () => {
    const chunk = Buffer.concat([headers('CONTENT_LENGTH', '4'), bytes('ab')])
    const reader = new RequestReader()
    reader.receive(chunk)
    reader.receive(Buffer.alloc(0))
    reader.receive(bytes('cd'))
    expect(reader.next()?.type).toBe('request')
    const body = reader.next()
    expect(body).toEqual({ type: 'body', data: bytes('ab') })
    expect(body?.type === 'body' && body.data.buffer === chunk.buffer).toBe(true)
    expect(reader.next()).toEqual({ type: 'body', data: bytes('cd') })
    expect(reader.next()).toEqual({ type: 'body-end' })
    expect(reader.next()).toBeNull()
  })
})

describe('The end of an SCGI connection', () => {
  test.each(Array.from(EXAMPLE, (_, at) => at))(
    'after %d bytes is not mistaken for the end of a request',
    (at) => {
      const inHeaders = EXAMPLE.indexOf('What')
      const { error } = hear([EXAMPLE.subarray(0, at)], true)
      if (at === 0) expect(error).toBeUndefined()
      else if (at < inHeaders)
        expect(error).toMatch(/^PORTICO_PROTOCOL: .* inside the SCGI headers/)
      else
        expect(error).toBe(
          `PORTICO_BODY_CUT_SHORT: The request body ended ${EXAMPLE.length - at} bytes before its CONTENT_LENGTH`,
        )
    },
  )

  test('after a complete request is not an event', () => {
    expect(hear([EXAMPLE], true).error).toBeUndefined()
  })

  test('before the first byte leaves the reader untouched', () => {
    const reader = new RequestReader()
    expect(reader.untouched).toBe(true)
    reader.receive(bytes('7'))
    expect(reader.untouched).toBe(false)
  })
})

const withNames = (count: number) =>
  headers('CONTENT_LENGTH', '0', ...Array.from({ length: (count - 1) * 2 }, (_, i) => `n${i}`))

describe('The SCGI reader', () => {
  test('accepts headers of exactly the limit, and refuses one byte more by the length alone', () => {
    const block = 'CONTENT_LENGTH\x000\0'
    const options = { maxHeaderBytes: block.length }
    expect(hear([netstring(block)], false, options).ended).toBe(true)
    expect(hear([bytes(`${block.length + 1}:`)], false, options).error).toBe(
      'PORTICO_TOO_LARGE: The SCGI headers have 18 bytes; the limit is 17',
    )
  })

  test('has a header limit of 1 MiB by default', () => {
    expect(hear([bytes('1048576:')]).error).toBeUndefined()
    expect(hear([bytes('1048577:')]).error).toMatch(/^PORTICO_TOO_LARGE/)
    expect(hear([bytes('9999999999:')]).error).toMatch(/^PORTICO_TOO_LARGE/)
  })

  test('accepts as many names as the limit, and refuses one more', () => {
    expect(hear([withNames(10_000)]).params).toHaveLength(20_000)
    expect(hear([withNames(10_001)]).error).toBe(
      'PORTICO_TOO_LARGE: There are more than 10000 SCGI headers',
    )
    expect(hear([withNames(3)], false, { maxHeaders: 2 }).error).toMatch(/more than 2/)
  })

  test('does not copy 1 MiB of headers again for each byte that arrives', () => {
    const request = headers('CONTENT_LENGTH', '0', 'A', 'x'.repeat(1_000_000))
    const reader = new RequestReader()
    const { copy } = Buffer.prototype
    let copied = 0
    Buffer.prototype.copy = function counting(...args: Parameters<typeof copy>) {
      const count = copy.apply(this, args)
      copied += count
      return count
    }
    try {
      for (let at = 0; at < request.length; at++) reader.receive(request.subarray(at, at + 1))
    } finally {
      Buffer.prototype.copy = copy
    }
    expect(reader.next()?.type).toBe('request')
    expect(copied).toBeLessThan(4 * request.length)
  })
})

describe('encodeRequest() of SCGI', () => {
  test("writes the specification's example", () => {
    const params = ['REQUEST_METHOD', 'POST', 'REQUEST_URI', '/deepthought']
    expect(encodeRequest(params, 27)).toEqual(EXAMPLE.subarray(0, EXAMPLE.indexOf('What')))
  })

  test.each([
    [['', 'x'], 0],
    [['A\0', 'x'], 0],
    [['A', 'x\0'], 0],
    [['A', '\u0100'], 0],
    [['A'], 0],
    [[], -1],
    [[], 1.5],
    [[], Number.NaN],
    [[], 1e15],
  ])('refuses parameters %j with length %d, which SCGI cannot represent', (params, length) => {
    expect(() => encodeRequest(params, length)).toThrow(TypeError)
  })
})

const byteString = (minLength: number) =>
  fc
    .uint8Array({ minLength, maxLength: 20 })
    .map((array) => Buffer.from(array).toString('latin1').replaceAll('\0', '.'))

test('An SCGI request of any bytes is read as it was written', () => {
  const pairs = fc.uniqueArray(fc.tuple(byteString(1), byteString(0)), {
    selector: ([name]) => name,
    maxLength: 20,
  })
  const body = fc.uint8Array({ maxLength: 200 })
  const offsets = fc.array(fc.nat(1000), { maxLength: 10 })
  fc.assert(
    fc.property(pairs, body, offsets, (list, data, at) => {
      fc.pre(!list.some(([name]) => name === 'SCGI' || name === 'CONTENT_LENGTH'))
      const whole = Buffer.concat([encodeRequest(list.flat(), data.length), data])
      const ends = [...at.filter((offset) => offset < whole.length), whole.length]
      let from = 0
      const chunks = ends.toSorted((a, b) => a - b).map((to) => whole.subarray(from, (from = to)))
      expect(hear(chunks, true)).toEqual({
        params: ['CONTENT_LENGTH', String(data.length), 'SCGI', '1', ...list.flat()],
        contentLength: data.length,
        body: Buffer.from(data).toString('latin1'),
        ended: true,
      })
    }),
  )
})

test('The SCGI reader reports one end or one error for any bytes, and never throws', () => {
  const likely = fc.constantFrom(
    '0',
    '1',
    '7',
    ':',
    ',',
    '\0',
    'CONTENT_LENGTH',
    'SCGI',
    'A',
    '17:',
  )
  const noise = fc.array(fc.oneof(likely, byteString(0)), { maxLength: 30 })
  fc.assert(
    fc.property(noise, (parts) => {
      const reader = new RequestReader()
      for (const part of parts) reader.receive(bytes(part))
      reader.receiveEof()
      const types: string[] = []
      for (let event; (event = reader.next()) !== null;) types.push(event.type)
      expect(types.join(' ')).toMatch(/^(?:request (?:body )*(?:body-end|error)|error|)$/)
    }),
  )
})
