/** The web server's side of FastCGI, alone and joined to the application's side. */
import { Buffer } from 'node:buffer'
import * as fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { ApplicationConnection } from '../../src/protocol/fastcgi-application.ts'
import { buffersOf } from '../../src/protocol/part.ts'
import { WebServerConnection } from '../../src/protocol/fastcgi-web-server.ts'
import { cut, decoding, divisions, drain, feed, hex, merged, record } from './fastcgi-helpers.ts'

const error = (message: string) => ({ type: 'error', message })
const END = record(3, 1, '\0\0\x01\x02\x01...')

interface Row {
  name: string
  wire: Buffer[]
  eof?: boolean
  events: object[]
}

const ROWS: Row[] = [
  {
    name: 'both streams, interleaved, and the end',
    wire: [
      record(6, 1, 'a', 3),
      record(7, 1, 'err'),
      record(6, 1, 'b'),
      record(7, 1),
      record(6, 1, '', 9),
      END,
    ],
    eof: true,
    events: [
      { type: 'stdout', id: 1, data: 'a' },
      { type: 'stderr', id: 1, data: 'err' },
      { type: 'stdout', id: 1, data: 'b' },
      { type: 'stderr-end', id: 1 },
      { type: 'stdout-end', id: 1 },
      { type: 'end', id: 1, appStatus: 258, protocolStatus: 1 },
    ],
  },
  {
    name: 'records for inactive ids are ignored',
    wire: [record(6, 2, 'x'), END, record(6, 1, 'x'), END],
    events: [{ type: 'end', id: 1, appStatus: 258, protocolStatus: 1 }],
  },
  {
    name: 'management records',
    wire: [record(10, 0, '\x01\x02Abc'), record(10, 0), record(11, 0, 'c.......')],
    events: [
      { type: 'values', values: ['A', 'bc'] },
      { type: 'values', values: [] },
      { type: 'unknown-type', recordType: 99 },
    ],
  },
  {
    name: 'malformed values',
    wire: [record(10, 0, '\x01')],
    events: [error('Management record of type 10 and 1 bytes')],
  },
  {
    name: 'a short UNKNOWN_TYPE',
    wire: [record(11, 0, 'x')],
    events: [error('Management record of type 11 and 1 bytes')],
  },
  {
    name: 'a management record that only web servers send',
    wire: [record(9, 0)],
    events: [error('Management record of type 9 and 0 bytes')],
  },
  {
    name: 'a short END_REQUEST',
    wire: [record(3, 1, 'abc'), END],
    events: [error('END_REQUEST of 3 bytes')],
  },
  {
    name: 'a type that only web servers send',
    wire: [record(5, 1), END],
    events: [error('Record of type 5 for request 1')],
  },
  {
    name: 'another version',
    wire: [hex('0006000100000000'), END],
    events: [error('FastCGI version 0 instead of 1')],
  },
  {
    name: 'output after its end',
    wire: [record(6, 1), record(6, 1, 'x')],
    events: [{ type: 'stdout-end', id: 1 }, error('Record after the end of stdout of request 1')],
  },
  {
    name: 'a connection that ends without END_REQUEST',
    wire: [record(6, 1)],
    eof: true,
    events: [{ type: 'stdout-end', id: 1 }, error('The connection ended without END_REQUEST')],
  },
  {
    name: 'a connection that ends inside a record',
    wire: [END, hex('0106')],
    eof: true,
    events: [
      { type: 'end', id: 1, appStatus: 258, protocolStatus: 1 },
      error('The connection ended inside a record'),
    ],
  },
]

describe('The web server side of FastCGI', () => {
  for (const { name, wire, eof = false, events } of ROWS) {
    it(`reports the same events wherever the bytes are split: ${name}`, () => {
      for (const [division, chunks] of divisions(Buffer.concat(wire))) {
        const connection = new WebServerConnection()
        connection.begin(1)
        expect(feed(connection, chunks, eof), division).toEqual(events)
      }
    })
  }
})

describe('The web server side of FastCGI', () => {
  const c = new WebServerConnection()
  const SENT: [name: string, bytes: Buffer, expected: string][] = [
    ['BEGIN_REQUEST', c.begin(1), '0101000100080000 0001000000000000'],
    [
      'BEGIN_REQUEST with a role and KEEP_CONN',
      c.begin(2, 3, true),
      '0101000200080000 0003010000000000',
    ],
    [
      'PARAMS',
      Buffer.concat(c.params(1, [['A', 'b']])),
      '0104000100040000 01014162 0104000100000000',
    ],
    ['no PARAMS', Buffer.concat(c.params(1, [])), '0104000100000000'],
    ['STDIN', Buffer.concat(c.stdin(1, hex('61'))), '0105000100010000 61'],
    ['no STDIN', Buffer.concat(c.stdin(1, hex(''))), ''],
    ['the end of STDIN', c.endStdin(1), '0105000100000000'],
    ['ABORT_REQUEST', c.abort(1), '0102000100000000'],
    ['GET_VALUES', c.getValues(['A']), '0109000000030500 010041 0000000000'],
  ]
  for (const [name, bytes, expected] of SENT) {
    it(`writes ${name} as ${expected}`, () => {
      expect(bytes.toString('hex')).toBe(expected.replaceAll(' ', ''))
    })
  }

  it('accepts ids from 1 to 65,535 that are not active', () => {
    const connection = new WebServerConnection()
    for (const id of [0, -1, 65_536, 1.5, Number.NaN]) {
      expect(() => connection.begin(id)).toThrow(RangeError)
    }
    connection.begin(65_535)
    expect(() => connection.begin(65_535)).toThrow('active already')
    expect(connection.active).toEqual([65_535])
  })
})

describe('The two sides of FastCGI', () => {
  it('carry two requests and their responses over one connection', () => {
    const server = new WebServerConnection()
    const application = new ApplicationConnection({ maxConns: 3 })
    const pairs = [
      ['REQUEST_METHOD', 'POST'],
      ['X', 'v'.repeat(70_000)],
    ] as const
    const body = Buffer.alloc(150_000, 'body')
    const response = Buffer.alloc(140_000, 'response')
    for (const keepConn of [true, false]) {
      const sent = [
        server.begin(5, 1, keepConn),
        server.getValues(['FCGI_MAX_CONNS', 'constructor']),
        ...server.params(5, pairs),
        ...server.stdin(5, body),
        server.endStdin(5),
      ]
      const got = feed(decoding(application), sent)
      expect(got.map((event) => event['type'])).toEqual(['reply', 'request', 'stdin', 'stdin-end'])
      expect(got[1]).toMatchObject({ id: 5, keepConn, params: pairs.flat() })
      expect(got[2]?.['data']).toBe(body.toString())
      const back = [
        Buffer.from(String(got[0]?.['data']), 'hex'),
        ...buffersOf(application.stderr(5, 'oops')),
        ...buffersOf(application.stdout(5, [response])),
        ...buffersOf(application.end(5, [], 3)),
      ]
      expect(feed(server, back)).toEqual([
        { type: 'values', values: ['FCGI_MAX_CONNS', '3'] },
        { type: 'stderr', id: 5, data: 'oops' },
        { type: 'stdout', id: 5, data: response.toString() },
        { type: 'stderr-end', id: 5 },
        { type: 'stdout-end', id: 5 },
        { type: 'end', id: 5, appStatus: 3, protocolStatus: 0 },
      ])
      expect(application.closing).toBe(!keepConn)
    }
  })
})

/** Records of all kinds, most of them legal, in any order. */
const anyRecord = fc
  .record({
    type: fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom(1, 4, 5, 5) },
      fc.integer({ min: 0, max: 13 }),
    ),
    id: fc.integer({ min: 0, max: 3 }),
    content: fc.oneof(
      fc.constant('\0\x01\x01\0\0\0\0\0'),
      fc.constant(''),
      fc.constant('\x01\x01AB'),
      fc.string({ maxLength: 40 }),
    ),
    padding: fc.integer({ min: 0, max: 20 }),
  })
  .map(({ type, id, content, padding }) => record(type, id, content, padding))
const anyStream = fc.array(anyRecord, { maxLength: 30 }).map((records) => Buffer.concat(records))
const anyCuts = fc
  .array(fc.nat({ max: 1000 }), { maxLength: 30 })
  .map((at) => at.toSorted((a, b) => a - b))

/** An application that responds to each request as soon as its body has arrived. */
function respondToAll(connection: ApplicationConnection, chunks: Buffer[]): object[] {
  const events: object[] = []
  for (const chunk of chunks) {
    connection.receive(chunk)
    for (let event = connection.next(); event !== null; event = connection.next()) {
      events.push(event)
      if (event.type === 'stdin-end' || event.type === 'abort') connection.end(event.id, ['h', 'b'])
    }
  }
  connection.receiveEof()
  return merged([...events, ...drain(connection)])
}

describe('A FastCGI stream', () => {
  it('gives the application side the same events wherever it is split', () => {
    fc.assert(
      fc.property(anyStream, anyCuts, (bytes, cuts) => {
        expect(respondToAll(new ApplicationConnection(), cut(bytes, cuts))).toEqual(
          respondToAll(new ApplicationConnection(), [bytes]),
        )
      }),
      { numRuns: 500 },
    )
  })

  it('of any bytes gives events, at most one error, and never an exception', () => {
    const bytes = fc.oneof(
      anyStream,
      fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b)),
    )
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 5 }), (chunks) => {
        const server = new WebServerConnection()
        for (const id of [1, 2, 3]) server.begin(id)
        for (const connection of [new ApplicationConnection(), server]) {
          const events = feed<object>(connection, chunks, true)
          const errors = events.filter((event) => event['type'] === 'error')
          expect(errors.length).toBeLessThanOrEqual(1)
          expect(events.slice(-errors.length || events.length)).toEqual(errors)
          expect(connection.next()).toBe(null)
        }
      }),
      { numRuns: 500 },
    )
  })
})

/** The bytes that are copied, and thus the work, while these chunks are taken in. */
function bytesCopied(chunks: Iterable<Buffer>): number {
  const set = vi.spyOn(Uint8Array.prototype, 'set')
  try {
    const connection = new ApplicationConnection({ maxParamsBytes: 1e9 })
    for (const chunk of chunks) {
      connection.receive(chunk)
      drain(connection)
    }
    return set.mock.calls.reduce((sum, [source]) => sum + source.length, 0)
  } finally {
    set.mockRestore()
  }
}

function tinyParams(count: number): Buffer[] {
  return [
    new WebServerConnection().begin(1),
    ...Array.from({ length: count }, () => record(4, 1, 'x')),
  ]
}

describe('The work of the FastCGI reader', () => {
  const STREAMS: [name: string, chunks: (n: number) => Buffer[]][] = [
    ['many tiny records in one chunk', (n) => [Buffer.concat(tinyParams(n))]],
    ['many tiny records, a chunk each', tinyParams],
    [
      'one value of PARAMS byte by byte',
      (n) => {
        const bytes = Buffer.concat([
          new WebServerConnection().begin(1),
          ...new WebServerConnection().params(1, [['A', 'x'.repeat(n)]]),
        ])
        return cut(bytes, bytes.keys())
      },
    ],
  ]
  for (const [name, chunks] of STREAMS) {
    it(`for ${name} grows no faster than the stream`, () => {
      const few = bytesCopied(chunks(5000))
      expect(few).toBeGreaterThanOrEqual(5000)
      // Four times as much, with slack for the doubling; quadratic work would be sixteen times.
      expect(bytesCopied(chunks(20_000))).toBeLessThan(8 * few)
    })
  }

  it('for a body copies no byte', () => {
    const body = Buffer.alloc(1e6, 'x')
    const head = [
      new WebServerConnection().begin(1),
      ...new WebServerConnection().params(1, []),
      ...new WebServerConnection().stdin(1, body),
    ]
    expect(bytesCopied([Buffer.concat(head)])).toBeLessThan(100)
  })
})
