/** The application side of FastCGI: bytes of a web server in, events out, response bytes back. */
import { Buffer } from 'node:buffer'
import { describe, expect, it } from 'vitest'
import { ApplicationConnection } from '../../src/protocol/fastcgi-application.ts'
import type { ApplicationOptions } from '../../src/protocol/fastcgi-events.ts'
import { encodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import { buffersOf, type Part } from '../../src/protocol/part.ts'
import { begin, decoding, divisions, drain, feed, hex, merged, record } from './fastcgi-helpers.ts'

const PAIRS = encodePairs([
  ['REQUEST_METHOD', 'GET'],
  ['HTTP_X_LONG', 'v'.repeat(130)],
  ['__proto__', 'x'],
])
const PARAMS = ['REQUEST_METHOD', 'GET', 'HTTP_X_LONG', 'v'.repeat(130), '__proto__', 'x']

/** A request up to the end of PARAMS, and the event it makes. */
const head = (id: number, keepConn = true) =>
  Buffer.concat([begin(id, 1, keepConn), record(4, id, PAIRS), record(4, id)])
const request = (id: number, keepConn = true, role = 1) => ({
  type: 'request',
  id,
  role,
  keepConn,
  params: PARAMS,
})
const reply = (bytes: string, close = false) => ({
  type: 'reply',
  data: bytes.replaceAll(' ', ''),
  close,
})
/** The 431 of request 1, whose PARAMS are over a limit. */
const refused = (why?: string) => ({
  ...reply(
    `010600010${REFUSAL.length.toString(16).padStart(3, '0')}0000` +
      Buffer.from(REFUSAL).toString('hex') +
      '0106000100000000' +
      '01030001000800000000000000000000',
  ),
  ...(why === undefined ? {} : { refused: why }),
})
const REFUSAL =
  'Status: 431 Request Header Fields Too Large\r\nContent-Type: text/plain\r\n' +
  'Content-Length: 32\r\n\r\nRequest Header Fields Too Large\n'
const aborted = (id: number, cause: string) => ({ type: 'abort', id, cause })
const error = (message: string) => ({ type: 'error', message })

interface Row {
  name: string
  wire: Buffer[]
  eof?: boolean
  options?: ApplicationOptions
  maxPairs?: number
  events: object[]
}

const ROWS: Row[] = [
  {
    name: 'a request without a body',
    wire: [head(1), record(5, 1)],
    events: [request(1), { type: 'stdin-end', id: 1 }],
  },
  {
    name: 'padding on every record, the empty ones too',
    wire: [
      begin(1, 1, true, 255),
      record(4, 1, PAIRS, 1),
      record(4, 1, '', 7),
      record(5, 1, 'body', 250),
      record(5, 1, '', 3),
      record(9, 0, '', 5),
    ],
    events: [
      request(1),
      { type: 'stdin', id: 1, data: 'body' },
      { type: 'stdin-end', id: 1 },
      reply('010a000000000000'),
    ],
  },
  {
    name: 'pairs that straddle records are parsed after the empty one',
    wire: [
      begin(7),
      ...Array.from({ length: PAIRS.length }, (_, i) => record(4, 7, PAIRS.subarray(i, i + 1))),
      record(4, 7),
    ],
    events: [request(7)],
  },
  {
    name: 'STDIN divided into records in two ways',
    wire: [head(1), record(5, 1, 'a'), record(5, 1, 'bc'), record(5, 1, 'def'), record(5, 1)],
    events: [request(1), { type: 'stdin', id: 1, data: 'abcdef' }, { type: 'stdin-end', id: 1 }],
  },
  {
    name: 'an Authorizer',
    wire: [begin(1, 2), record(4, 1, PAIRS), record(4, 1)],
    events: [request(1, true, 2)],
  },
  {
    name: 'no PARAMS at all',
    wire: [begin(65_535), record(4, 65_535)],
    events: [{ ...request(65_535), params: [] }],
  },
  {
    name: 'two requests interleaved, records in any order',
    wire: [
      begin(1),
      begin(2, 1, false),
      record(4, 2, PAIRS),
      record(4, 1, PAIRS),
      record(4, 2),
      record(5, 2, 'two'),
      record(4, 1),
      record(5, 1, 'one'),
      record(5, 2),
      record(5, 1),
    ],
    events: [
      request(2, false),
      { type: 'stdin', id: 2, data: 'two' },
      request(1),
      { type: 'stdin', id: 1, data: 'one' },
      { type: 'stdin-end', id: 2 },
      { type: 'stdin-end', id: 1 },
    ],
  },
  {
    name: 'records for inactive ids are ignored (section 3.3)',
    wire: [record(4, 9, 'junk'), record(5, 9), record(2, 9), record(77, 9), record(6, 9), head(1)],
    events: [request(1)],
  },

  // Management records may come at any time; the library responds to them.
  {
    name: 'GET_VALUES gets a full response in one record',
    wire: [record(9, 0, encodePairs([['FCGI_MPXS_CONNS', '']]))],
    events: [reply('010a000000120600 0f01 464347495f4d5058535f434f4e4e53 31 000000000000')],
  },
  {
    name: 'GET_VALUES in the middle of a request, each known name once, unknown ones left out',
    wire: [
      begin(1),
      record(4, 1, PAIRS),
      record(
        9,
        0,
        encodePairs([
          ['toString', ''],
          ['FCGI_MAX_REQS', 'x'],
          ['__proto__', ''],
          ['FCGI_MAX_CONNS', ''],
          ['FCGI_MAX_REQS', ''],
          ['FCGI_MPXS_CONNS', ''],
        ]),
      ),
      record(4, 1),
    ],
    options: { maxReqs: 20, multiplex: false },
    events: [
      reply(
        '010a000000230500 0d02 464347495f4d41585f52455153 3230' +
          '0f01 464347495f4d5058535f434f4e4e53 30 0000000000',
      ),
      request(1),
    ],
  },
  {
    name: 'GET_VALUES for all three',
    wire: [record(9, 0, encodePairs(['CONNS', 'REQS'].map((name) => [`FCGI_MAX_${name}`, ''])))],
    options: { maxConns: 5, maxReqs: 7 },
    events: [
      reply(
        '010a000000210700 0e01 464347495f4d41585f434f4e4e53 35' +
          '0d01 464347495f4d41585f52455153 37 00000000000000',
      ),
    ],
  },
  {
    name: 'GET_VALUES with malformed pairs',
    wire: [record(9, 0, '\x05\x05')],
    events: [error('Malformed GET_VALUES')],
  },
  {
    name: 'an unknown management type gets UNKNOWN_TYPE',
    wire: [record(200, 0, 'whatever'), head(1)],
    events: [reply('010b000000080000 c800000000000000'), request(1)],
  },
  {
    name: 'an unknown type for an active request gets UNKNOWN_TYPE',
    wire: [head(1), record(12, 1), record(0, 1), record(5, 1)],
    events: [
      request(1),
      reply('010b000000080000 0c00000000000000'),
      reply('010b000000080000 0000000000000000'),
      { type: 'stdin-end', id: 1 },
    ],
  },
  {
    name: 'a BEGIN_REQUEST with id 0 is not an application record',
    wire: [begin(0), record(4, 0), record(5, 0, 'xyz')],
    events: [
      reply('010b000000080000 0100000000000000'),
      reply('010b000000080000 0400000000000000'),
      reply('010b000000080000 0500000000000000'),
    ],
  },

  // Requests that are refused.
  {
    name: 'an unknown role is refused, and the id is free again',
    wire: [begin(1, 9), record(4, 1, 'ignored'), record(4, 1), record(5, 1), head(1)],
    events: [reply('0103000100080000 0000000003000000'), request(1)],
  },
  {
    name: 'a Filter is refused; without KEEP_CONN nothing is read after it',
    wire: [begin(1, 3, false), head(2)],
    events: [reply('0103000100080000 0000000003000000', true)],
  },
  {
    name: 'a second request is refused when not multiplexing',
    wire: [head(1), head(2), record(5, 2, 'x'), record(5, 1)],
    options: { multiplex: false },
    events: [request(1), reply('0103000200080000 0000000001000000'), { type: 'stdin-end', id: 1 }],
  },
  {
    name: 'a request over the limit is refused as OVERLOADED, and the others continue',
    wire: [begin(1), begin(2), begin(3, 1, false), record(4, 2, PAIRS), record(4, 2)],
    options: { maxActive: 2 },
    events: [reply('0103000300080000 0000000002000000'), request(2)],
  },
  {
    name: 'PARAMS over the limit refuse that request only',
    wire: [begin(1), begin(2), record(4, 1, 'x'.repeat(93)), record(4, 1), record(4, 2)],
    options: { maxParamsBytes: 100 },
    events: [
      refused('The PARAMS of request 1 have more than 100 bytes'),
      { ...request(2), params: [] },
    ],
  },
  {
    name: 'tiny PARAMS records meet the limit as well',
    wire: [begin(1), ...Array.from({ length: 12 }, () => record(4, 1, '\0'))],
    options: { maxParamsBytes: 100 },
    events: [refused('The PARAMS of request 1 have more than 100 bytes')],
  },
  {
    name: 'too many pairs refuse that request only',
    wire: [begin(1), record(4, 1, '\0\0'.repeat(4)), record(4, 1), record(5, 1), head(2)],
    maxPairs: 3,
    events: [refused(), request(2)],
  },

  // Aborts.
  {
    name: 'an abort within the body, whose rest is then ignored',
    wire: [head(1), record(5, 1, 'x'.repeat(16)), record(2, 1), record(5, 1, 'y'), record(5, 1)],
    events: [
      request(1),
      { type: 'stdin', id: 1, data: 'x'.repeat(16) },
      aborted(1, 'abort-request'),
    ],
  },
  {
    name: 'an abort after the body, and a second one',
    wire: [head(1), record(5, 1), record(2, 1), record(2, 1)],
    events: [request(1), { type: 'stdin-end', id: 1 }, aborted(1, 'abort-request')],
  },
  {
    name: 'an abort before PARAMS are complete gets its END_REQUEST from the library',
    wire: [begin(1), record(4, 1, PAIRS), record(2, 1), record(4, 1), head(1)],
    events: [reply('0103000100080000 0000000000000000'), request(1)],
  },
  {
    name: 'the end of the connection aborts every request in flight',
    wire: [head(1), head(2), record(5, 1, 'abc'), record(5, 2)],
    eof: true,
    events: [
      request(1),
      request(2),
      { type: 'stdin', id: 1, data: 'abc' },
      { type: 'stdin-end', id: 2 },
      aborted(1, 'disconnected'),
      aborted(2, 'disconnected'),
    ],
  },
  {
    name: 'the end of the connection between requests, which is not an event',
    wire: [record(9, 0)],
    eof: true,
    events: [reply('010a000000000000')],
  },
  {
    name: 'the end of the connection inside the header of a body, which is a disconnect',
    wire: [head(1), hex('010500')],
    eof: true,
    events: [request(1), aborted(1, 'disconnected')],
  },
  {
    name: 'the end of the connection inside a body, which is a disconnect',
    wire: [head(1), hex('0105000100050000 6162')],
    eof: true,
    events: [request(1), { type: 'stdin', id: 1, data: 'ab' }, aborted(1, 'disconnected')],
  },
  {
    name: 'the end of the connection inside the body of a request that has ended',
    wire: [record(5, 1, 'ab'), hex('0105000100050000 6162')],
    eof: true,
    events: [],
  },
  {
    name: 'the end of the connection inside the first header',
    wire: [hex('010100')],
    eof: true,
    events: [error('The connection ended inside the head of a request')],
  },
  {
    name: 'the end of the connection before PARAMS are complete',
    wire: [begin(1), record(4, 1, PAIRS)],
    eof: true,
    events: [error('The connection ended inside the head of a request')],
  },

  // Faults of the peer: the last event, whatever follows.
  {
    name: 'another version',
    wire: [head(1), hex('0205000100000000'), head(2)],
    events: [request(1), aborted(1, 'protocol-error'), error('FastCGI version 2 instead of 1')],
  },
  {
    name: 'a second BEGIN_REQUEST for an active id',
    wire: [head(1), begin(1), record(5, 1)],
    events: [
      request(1),
      aborted(1, 'protocol-error'),
      error('Record of type 1 for request 1, which is active'),
    ],
  },
  {
    name: 'a BEGIN_REQUEST of 7 bytes',
    wire: [record(1, 1, '\0\x01\0\0\0\0\0')],
    events: [error('BEGIN_REQUEST of 7 bytes')],
  },
  {
    name: 'malformed PARAMS',
    wire: [begin(1), record(4, 1, '\x32\x32AB'), record(4, 1), head(2)],
    events: [error('Malformed PARAMS of request 1')],
  },
  {
    name: 'STDIN before the end of PARAMS',
    wire: [begin(1), record(5, 1, 'x'), record(4, 1)],
    events: [error("STDIN for request 1, which is in the state 'params'")],
  },
  {
    name: 'the end of STDIN before the end of PARAMS',
    wire: [begin(1), record(5, 1)],
    events: [error("end of STDIN for request 1, which is in the state 'params'")],
  },
  {
    name: 'PARAMS after their end',
    wire: [head(1), record(4, 1, PAIRS)],
    events: [
      request(1),
      aborted(1, 'protocol-error'),
      error("PARAMS for request 1, which is in the state 'stdin'"),
    ],
  },
  {
    name: 'STDIN after its end',
    wire: [head(1), record(5, 1), record(5, 1, 'x')],
    events: [
      request(1),
      { type: 'stdin-end', id: 1 },
      aborted(1, 'protocol-error'),
      error("STDIN for request 1, which is in the state 'received'"),
    ],
  },
  ...[3, 6, 7, 8, 9, 10, 11].map((type) => ({
    name: `a record of type ${type} for an active responder`,
    wire: [head(1), record(type, 1, 'x')],
    events: [
      request(1),
      aborted(1, 'protocol-error'),
      error(`Record of type ${type} for request 1, which is active`),
    ],
  })),
]

describe('The application side of FastCGI', () => {
  for (const { name, wire, eof = false, options, maxPairs, events } of ROWS) {
    it(`reports the same events wherever the bytes are split: ${name}`, () => {
      for (const [division, chunks] of divisions(Buffer.concat(wire))) {
        const connection = new ApplicationConnection(options)
        expect(feed(decoding(connection, maxPairs), chunks, eof), division).toEqual(events)
        connection.receive(head(99))
        if (events.some((event) => 'message' in event)) {
          expect(drain(connection), division).toEqual([])
          expect(connection.closing).toBe(true)
        }
      }
    })
  }
})

/** A connection with these requests announced. */
function connectionWith(...heads: Buffer[]): ApplicationConnection {
  const connection = new ApplicationConnection()
  connection.receive(Buffer.concat(heads))
  drain(connection)
  return connection
}

describe('A FastCGI response', () => {
  const END = '0106000100000000 0103000100080000'
  const RESPONSES: [string, (c: ApplicationConnection) => Part[], string][] = [
    ['without output has an empty STDOUT', (c) => c.end(1), `${END} 0000000000000000`],
    ['carries an application status', (c) => c.end(1, [], 0x01020304), `${END} 0102030400000000`],
    [
      'carries an application status of 32 bits',
      (c) => c.end(1, [], 0xfffefdfc),
      `${END} fffefdfc00000000`,
    ],
    ['can be a refusal', (c) => c.end(1, [], 0, 2), `${END} 0000000002000000`],
    [
      'that is small is written at once',
      (c) => c.end(1, ['A: \xe4\r\n\r\n', 'hi\xff'], 9),
      `01060001000b0000 413a20e40d0a0d0a 6869ff ${END} 0000000900000000`,
    ],
    ['has no record for empty parts', (c) => c.end(1, ['', hex('')]), `${END} 0000000000000000`],
    [
      'in parts is not ended by an empty part',
      (c) => [
        ...c.stdout(1, [hex('61')]),
        ...c.stdout(1, [hex('')]),
        ...c.stdout(1, [hex('62')]),
        ...c.end(1),
      ],
      `0106000100010000 61 0106000100010000 62 ${END} 0000000000000000`,
    ],
    [
      'ends STDERR if it was used',
      (c) => [...c.stderr(1, 'ü'), ...c.end(1)],
      `0107000100020000 c3bc 0107000100000000 ${END} 0000000000000000`,
    ],
    [
      'ends STDERR after a small response too, if it was used',
      (c) => [...c.stderr(1, 'x'), ...c.end(1, ['h'])],
      `0107000100010000 78 0106000100010000 68 0107000100000000 ${END} 0000000000000000`,
    ],
    [
      'has no STDERR record for an empty text',
      (c) => [...c.stderr(1, ''), ...c.end(1)],
      `${END} 0000000000000000`,
    ],
  ]
  for (const [name, send, expected] of RESPONSES) {
    it(name, () => {
      const bytes = Buffer.concat(buffersOf(send(connectionWith(head(1)))))
      expect(bytes.toString('hex')).toBe(expected.replaceAll(' ', ''))
    })
  }

  it('is one part if it is short, and long Buffers in it are not copied', () => {
    expect(connectionWith(head(1)).end(1, ['head', Buffer.alloc(10_000), 'x'])).toHaveLength(1)
    const long = Buffer.alloc(20_000)
    const parts = connectionWith(head(1)).end(1, ['head', long])
    expect(parts).toHaveLength(3)
    expect((parts[1] as Buffer).buffer).toBe(long.buffer)
  })

  it('may come before the end of STDIN, whose rest is then ignored (section 6.2)', () => {
    const connection = connectionWith(head(1))
    connection.end(1)
    expect(feed(decoding(connection), [record(5, 1, 'late'), record(5, 1), head(1)])).toEqual([
      request(1),
    ])
  })

  it.each([
    ['stays open', true],
    ['closes', false],
  ])('may let the application read on; after stopReading() a connection %s', (_, keepConn) => {
    const connection = connectionWith(head(1, keepConn))
    const sent = Buffer.concat(buffersOf(connection.end(1, [], 0, 0, true)))
    expect(sent.equals(hex(`${END} 0000000000000000`))).toBe(true)
    expect(feed(decoding(connection), [record(5, 1, 'late')])).toEqual([
      { type: 'stdin', id: 1, data: 'late' },
    ])
    expect([connection.active, connection.closing]).toEqual([[1], false])
    connection.stopReading(1)
    expect([connection.active, connection.closing]).toEqual([[], !keepConn])
    expect(feed(decoding(connection), [record(5, 1, 'later')])).toEqual([])
  })

  it('may let the application read on, until STDIN ends or its id is used again', () => {
    const connection = connectionWith(head(1))
    connection.end(1, [], 0, 0, true)
    expect(feed(decoding(connection), [record(5, 1)])).toEqual([{ type: 'stdin-end', id: 1 }])
    expect(connection.active).toEqual([])
    expect(feed(decoding(connection), [head(1)])).toEqual([request(1)])
    connection.end(1, [], 0, 0, true)
    expect(feed(decoding(connection), [head(1)])).toEqual([request(1)])
    expect(connection.active).toEqual([1])
  })

  it('is possible after an abort and after the end of the connection', () => {
    const connection = connectionWith(head(1), head(2), record(2, 1))
    connection.receiveEof()
    expect(drain(connection)).toEqual([aborted(2, 'disconnected')])
    expect(connection.closing).toBe(false)
    connection.end(1)
    expect(connection.stdout(2, [hex('61')])).toHaveLength(1)
    connection.end(2)
    expect(connection.closing).toBe(true)
  })

  it('is refused for requests that are not active or not announced', () => {
    const connection = connectionWith(head(1), begin(2))
    connection.end(1)
    for (const id of [0, 1, 2, 3]) {
      expect(() => connection.stdout(id, [hex('61')])).toThrow(`request ${id} is not active`)
      expect(() => connection.end(id)).toThrow(`request ${id} is not active`)
    }
    expect(connection.active).toEqual([2])
  })
})

describe('A FastCGI connection', () => {
  it('stays open after a request with KEEP_CONN, and the id can be reused at once', () => {
    const connection = connectionWith(head(1))
    connection.end(1)
    expect(connection.closing).toBe(false)
    expect(feed(decoding(connection), [head(1)])).toEqual([request(1)])
  })

  it('is closed after a request without KEEP_CONN, and reads nothing more', () => {
    const connection = connectionWith(head(1, false))
    expect(connection.closing).toBe(false)
    connection.end(1)
    expect(connection.closing).toBe(true)
    expect(feed(decoding(connection), [head(1)], true)).toEqual([])
  })

  it('is not closed while other requests are active (appendix B.4)', () => {
    const connection = connectionWith(head(1, false), head(2))
    connection.end(1)
    expect(connection.closing).toBe(false)
    expect(feed(decoding(connection), [record(5, 2, 'x')])).toEqual([
      { type: 'stdin', id: 2, data: 'x' },
    ])
    connection.end(2)
    expect(connection.closing).toBe(true)
  })

  it('keeps nothing of a request for the next one with its id', () => {
    const connection = connectionWith(head(1))
    connection.stderr(1, 'x')
    connection.end(1)
    const again = Buffer.concat([begin(1), record(4, 1), record(5, 1, 'x')])
    expect(feed(decoding(connection), [again])).toEqual([
      { ...request(1), params: [] },
      { type: 'stdin', id: 1, data: 'x' },
    ])
    expect(connection.end(1).join('')).toHaveLength(24)
  })

  it('knows whether the head of a request is incomplete', () => {
    const connection = new ApplicationConnection()
    const steps: [Buffer, boolean][] = [
      [begin(1).subarray(0, 3), true],
      [begin(1).subarray(3), true],
      [record(4, 1, PAIRS), true],
      [record(4, 1), false],
      [record(5, 1, 'slow').subarray(0, 10), false],
    ]
    expect(connection.awaitingHead).toBe(false)
    for (const [chunk, expected] of steps) {
      feed(decoding(connection), [chunk])
      expect(connection.awaitingHead).toBe(expected)
    }
    expect(connection.active).toEqual([1])
  })

  it('gives STDIN without waiting for the rest of its record, and without a copy', () => {
    const connection = connectionWith(head(1))
    const chunk = Buffer.concat([hex('01050001ffff0000'), Buffer.alloc(1000, 0x61)])
    connection.receive(chunk)
    const event = connection.next()
    expect(merged([event!])).toEqual([{ type: 'stdin', id: 1, data: 'a'.repeat(1000) }])
    expect(event?.type === 'stdin' && event.data.buffer === chunk.buffer).toBe(true)
  })
})
