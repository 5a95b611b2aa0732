/** The FastCGI codec: sizes, records, name-value pairs. */
import { Buffer } from 'node:buffer'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  FCGI_STDIN,
  FCGI_STDOUT,
  MAX_CONTENT,
  encodeRecord,
  encodeStream,
  endRequestText,
} from '../../src/protocol/fastcgi.ts'
import { decodePairs, encodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import { buffersOf, COPIED } from '../../src/protocol/part.ts'
import { hex, merged } from './fastcgi-helpers.ts'
import { RecordReader } from '../../src/protocol/fastcgi-records.ts'

describe('A length of a FastCGI name or value (section 3.4)', () => {
  const SIZES: [size: number, coded: string][] = [
    [0, '00'],
    [127, '7f'],
    [128, '80000080'],
    [1000, '800003e8'],
    [70_000, '80011170'],
  ]
  for (const [size, coded] of SIZES) {
    it(`of ${size} is written as ${coded} and read back`, () => {
      const asValue = encodePairs([['N', 'v'.repeat(size)]])
      expect(asValue.toString('hex', 0, asValue.length - size)).toBe(`01${coded}4e`)
      expect(decodePairs(asValue)).toEqual(['N', 'v'.repeat(size)])
      const asName = encodePairs([['n'.repeat(size), 'V']])
      expect(asName.toString('hex', 0, asName.length - size - 1)).toBe(`${coded}01`)
      expect(decodePairs(asName)).toEqual(['n'.repeat(size), 'V'])
    })
  }

  it('that is short is also read in four bytes', () => {
    expect(decodePairs(hex('80000001 80000002 41 6263'))).toEqual(['A', 'bc'])
  })
})

function emptyPairs(count: number): Buffer {
  return encodePairs(Array.from({ length: count }, () => ['', '']))
}

describe('FastCGI pairs', () => {
  const MALFORMED: [name: string, block: string][] = [
    ['a name length alone', '01'],
    ['a name length cut short', '8000'],
    ['a name length of four bytes alone', '80000001'],
    ['a value length cut short', '00 8000'],
    ['a value length of four zeros cut short', '00 80'],
    ['lengths of 50 and 50 in a short block', '32 32 4142'],
    ['a value one byte too long', '01 02 41 42'],
    ['a name one byte too long', '02 00 41'],
    ['lengths whose 32-bit sum wraps around', 'ffffffff ffffffff 4142'],
    ['a sum that would be negative in 32 bits', 'ffffffff 01 4142'],
    ['a good pair before a bad one', '01 01 41 42 01'],
  ]
  for (const [name, block] of MALFORMED) {
    it(`are malformed with ${name}`, () => {
      expect(decodePairs(hex(block))).toBe('malformed')
    })
  }

  it('keep order, repetitions, empty names and values, and NULs', () => {
    const pairs = [
      ['B', '1'],
      ['', ''],
      ['A', ''],
      ['B', 'x\0y'],
    ] as const
    expect(decodePairs(encodePairs(pairs))).toEqual(pairs.flat())
  })

  it('are byte strings: one character per byte', () => {
    expect(decodePairs(hex('02 03 c3bc e282ac'))).toEqual(['\u00c3\u00bc', '\u00e2\u0082\u00ac'])
  })

  it('are accepted up to the limit, and refused with one more', () => {
    expect(decodePairs(emptyPairs(3), 3)).toHaveLength(6)
    expect(decodePairs(emptyPairs(4), 3)).toBe('too many')
    expect(decodePairs(emptyPairs(10_000))).toHaveLength(20_000)
    expect(decodePairs(emptyPairs(10_001))).toBe('too many')
  })

  it('have the right name even if it resembles a usual one', () => {
    const names = ['HTTP_HOST', 'HTTP_HOSS', 'HTTPXHOST', 'ITTP_HOST', '__proto__', 'toString']
    expect(decodePairs(encodePairs(names.map((n) => [n, ''])))).toEqual(
      names.flatMap((n) => [n, '']),
    )
  })

  it('of any bytes are read as they were written', () => {
    const byteString = fc
      .uint8Array({ maxLength: 300 })
      .map((bytes) => Buffer.from(bytes).toString('latin1'))
    const name = fc.oneof(byteString, fc.constantFrom('REQUEST_METHOD', 'HTTP_COOKIE', 'PATH'))
    fc.assert(
      fc.property(fc.array(fc.tuple(name, byteString), { maxLength: 20 }), (pairs) => {
        expect(decodePairs(encodePairs(pairs))).toEqual(pairs.flat())
      }),
    )
  })

  it('in malformed blocks give a list or an error, and no byte beyond the end is read', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const inside = Buffer.alloc(bytes.length + 40, 0x41)
        inside.set(bytes, 20)
        const pairs = decodePairs(inside.subarray(20, 20 + bytes.length))
        if (typeof pairs === 'string') expect(pairs).toBe('malformed')
        else expect(pairs.join('').length).toBeLessThanOrEqual(bytes.length)
      }),
      { numRuns: 1000 },
    )
  })
})

describe('A FastCGI record (section 3.3)', () => {
  const RECORDS: [name: string, bytes: Buffer, expected: string][] = [
    ['without content', encodeRecord(FCGI_STDOUT, 1), '0106000100000000'],
    [
      'with padding',
      encodeRecord(FCGI_STDIN, 300, hex('aabb')),
      '0105012c00020600 aabb 000000000000',
    ],
    [
      'of 8 bytes without padding',
      encodeRecord(9, 0, Buffer.alloc(8, 1)),
      '0109000000080000 0101010101010101',
    ],
    [
      'of type END_REQUEST',
      Buffer.from(endRequestText(0xabcd, 0x01020304, 3), 'latin1'),
      '0103abcd00080000 01020304 03000000',
    ],
    [
      'of type END_REQUEST with exit status -1',
      Buffer.from(endRequestText(1, -1, 0), 'latin1'),
      '0103000100080000 ffffffff 00000000',
    ],
  ]
  for (const [name, bytes, expected] of RECORDS) {
    it(`${name} is written as ${expected}`, () => {
      expect(bytes.toString('hex')).toBe(expected.replaceAll(' ', ''))
    })
  }

  it('holds 65,535 bytes at most', () => {
    expect(encodeRecord(6, 1, Buffer.alloc(MAX_CONTENT))).toHaveLength(8 + 65_536)
    expect(() => encodeRecord(6, 1, Buffer.alloc(MAX_CONTENT + 1))).toThrow(RangeError)
  })
})

/** The records of these lengths that hold `bytes`. */
function records(id: number, bytes: Buffer, contents: number[]): Buffer {
  let at = 0
  const parts = contents.flatMap((n) => [
    Buffer.from([1, FCGI_STDOUT, id >> 8, id & 255, n >> 8, n & 255, 0, 0]),
    bytes.subarray(at, (at += n)),
  ])
  return Buffer.concat(parts)
}

describe('A FastCGI stream', () => {
  const LENGTHS: [length: number, contents: number[]][] = [
    [0, []],
    [1, [1]],
    [65_528, [65_528]],
    [65_529, [65_528, 1]],
    [66_000, [65_528, 472]],
    [131_056, [65_528, 65_528]],
    [200_000, [65_528, 65_528, 65_528, 3416]],
  ]
  for (const [length, contents] of LENGTHS) {
    it(`of ${length} bytes has records of ${JSON.stringify(contents)}`, () => {
      const bytes = Buffer.from(Array.from({ length }, (_, i) => i % 251))
      const buffers = buffersOf(encodeStream(FCGI_STDOUT, 300, [bytes]))
      expect(Buffer.concat(buffers).equals(records(300, bytes, contents))).toBe(true)
      const copied = buffers.filter((buffer) => buffer.buffer !== bytes.buffer)
      expect(copied.every((buffer) => buffer.length < COPIED + 100)).toBe(true)
    })
  }

  it('of a text that is longer than a record has the records of its bytes', () => {
    const text = '\xff'.repeat(200_000)
    const [asText, asBytes] = [text, Buffer.from(text, 'latin1')].map((chunk) =>
      Buffer.concat(buffersOf(encodeStream(FCGI_STDOUT, 7, [chunk]))),
    )
    expect(asText!.equals(asBytes!)).toBe(true)
  })

  it('has the same records however its chunks are split, and before any suffix', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.string({ unit: fc.nat(255).map((c) => String.fromCharCode(c)), maxLength: 20 }),
            fc.nat(70_000).map((length) => Buffer.alloc(length, length)),
          ),
          { maxLength: 5 },
        ),
        (chunks) => {
          const all = Buffer.concat(
            chunks.map((chunk) =>
              typeof chunk === 'string' ? Buffer.from(chunk, 'latin1') : chunk,
            ),
          )
          const lengths = [...Array(Math.ceil(all.length / 65_528)).keys()].map((i) =>
            Math.min(65_528, all.length - i * 65_528),
          )
          const sent = Buffer.concat(buffersOf(encodeStream(FCGI_STDOUT, 7, chunks, 'after\xff')))
          const end = Buffer.from('after\xff', 'latin1')
          expect(sent.equals(Buffer.concat([records(7, all, lengths), end]))).toBe(true)
        },
      ),
    )
  })
})

describe('RecordReader', () => {
  it('reads 65,535 bytes of content with 255 of padding (HAProxy mux-fcgi)', () => {
    const header = hex('01050001ffffff00')
    const next = hex('0106000200000000')
    const reader = new RecordReader()
    reader.receive(Buffer.concat([header, Buffer.alloc(65_535 + 255, 1), next]))
    expect(reader.read()).toBe(true)
    expect([reader.type, reader.id, reader.end - reader.start]).toEqual([5, 1, 65_535])
    expect(reader.read()).toBe(true)
    expect([reader.type, reader.id, reader.end - reader.start]).toEqual([6, 2, 0])
    expect(reader.read()).toBe(false)
    expect(reader.insideRecord).toBe(false)
  })

  it('keeps the order of chunks that arrive while others wait', () => {
    const reader = new RecordReader()
    const events: object[] = []
    for (let i = 0; i < 50; i++) {
      reader.receive(encodeRecord(5, 1, Buffer.from([i])))
      reader.receive(hex('01'))
      reader.receive(hex('050001000100 00'))
      if (i % 3 === 0 && reader.read())
        events.push({ type: 'x', id: 1, data: Buffer.from([reader.bytes[reader.start]!]) })
      reader.receive(Buffer.from([i]))
    }
    while (reader.read()) {
      events.push({ type: 'x', id: 1, data: Buffer.from([reader.bytes[reader.start]!]) })
    }
    const expected = Array.from({ length: 50 }, (_, i) => [i, i]).flat()
    expect(merged(events)).toEqual([
      { type: 'x', id: 1, data: Buffer.from(expected).toString('latin1') },
    ])
  })
})
