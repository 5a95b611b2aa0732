import { Buffer } from 'node:buffer'
import { expect, test } from 'vitest'
import { COPIED, joinParts, type Part } from '../../src/protocol/part.ts'

const LONG = Buffer.alloc(COPIED + 1, 'x')
const MEBIBYTE = 'x'.repeat(1024 * 1024)

test.each<[what: string, parts: Part[], joined: Part[]]>([
  ['no parts', [], []],
  ['empty parts', ['', Buffer.alloc(0)], []],
  ['text and short Buffers', ['a', Buffer.from('\xff', 'latin1'), 'b'], ['a\xffb']],
  ['a long Buffer between texts', ['a', 'b', LONG, 'c'], ['ab', LONG, 'c']],
  ['long Buffers without text', [LONG, LONG], [LONG, LONG]],
  ['more text than one part holds', [MEBIBYTE, 'a', 'b'], [MEBIBYTE, 'ab']],
])('joinParts() joins %s', (_, parts, joined) => {
  const result = joinParts(parts)
  expect(result.length).toBe(joined.length)
  // The comparison by expect() would print a mebibyte.
  expect(result.every((part, index) => part === joined[index])).toBe(true)
})
