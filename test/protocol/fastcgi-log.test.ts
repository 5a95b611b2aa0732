/** Text for the log as STDERR records that nginx writes in full. */
import { Buffer } from 'node:buffer'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RecordReader } from '../../src/protocol/fastcgi-records.ts'
import { encodeLog } from '../../src/protocol/fastcgi-log.ts'
import { buffersOf } from '../../src/protocol/part.ts'

/** The contents of the records. */
function contents(text: string): string[] {
  const reader = new RecordReader()
  reader.receive(Buffer.concat(buffersOf(encodeLog(1, text))))
  const records: string[] = []
  while (reader.read()) {
    expect([reader.type, reader.id]).toEqual([7, 1])
    records.push(reader.bytes.toString('utf8', reader.start, reader.end))
  }
  return records
}

describe('A text for the log', () => {
  it.each<[what: string, text: string, lengths: number[]]>([
    ['nothing', '', []],
    ['a short line', 'x\n', [2]],
    ['1900 bytes', 'x'.repeat(1_900), [1_900]],
    ['a line of 1901 bytes', 'x'.repeat(1_901), [1_900, 1]],
    ['30 lines of 108 bytes', `${'x'.repeat(107)}\n`.repeat(30), [1_836, 1_404]],
    ['a short line before a long one', `a\n${'x'.repeat(2_000)}\n`, [2, 1_900, 101]],
    ['a line that ends with the record', `${'x'.repeat(1_899)}\n${'y'.repeat(50)}`, [1_900, 50]],
    ['characters of four bytes', `x${'🚪'.repeat(500)}`, [1_897, 104]],
  ])('of %s is split after lines, or between characters', (_, text, lengths) => {
    const records = contents(text)
    expect(records.join('')).toBe(text)
    expect(records.map((record) => Buffer.byteLength(record))).toEqual(lengths)
  })

  it('is unchanged when its records are joined, whatever it contains', () => {
    const line = fc.string({ unit: 'grapheme', maxLength: 900 })
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), (lines) => {
        const text = lines.join('\n')
        const records = contents(text)
        expect(records.join('')).toBe(text)
        for (const record of records) expect(Buffer.byteLength(record)).toBeLessThanOrEqual(1_900)
      }),
      { numRuns: 300 },
    )
  })
})
