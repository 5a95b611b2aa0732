/**
 * Keeps the coverage of wsgiref's and cgi's documented behaviour from rotting: each of their facts,
 * which are numbered in the order of CPython's own tests, is cited by a test of ours. One that
 * Portico means to differ from has its reason in SPEC.md, and a test of what is so instead.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { expect, test } from 'vitest'

/** wsgiref: server, util, headers, handlers; then cgi: forms. */
const RANGES = [
  [1, 99],
  [263, 275],
] as const

const LIST = /\bfacts? (\d+(?:(?:, | and | to |-)\d+)*)/gi

/** The numbers in 'fact 5', 'facts 1, 79 to 90 and 95', and in tables whose title has 'fact %i'. */
function citations(source: string): number[] {
  const numbers: number[] = []
  for (const [, list = ''] of source.matchAll(LIST)) {
    for (const [, first, last = first] of list.matchAll(/(\d+)(?:(?: to |-)(\d+))?/g)) {
      for (let n = Number(first); n <= Number(last); n += 1) numbers.push(n)
    }
  }
  for (const part of source.split(/\.each(?:<[^(]*>)?\(\[/).slice(1)) {
    const [, rows = ''] = /^([^]*?)\n *\]\)\(\s*['"`][^\n]*fact %i/.exec(part) ?? []
    if (rows.includes('])(')) continue // The title of another table.
    for (const [, number] of rows.matchAll(/^ *\[\s*(\d+),/gm)) numbers.push(Number(number))
  }
  return numbers
}

test.each([
  ["test('it works (fact 7)'", [7]],
  ["test('it works (facts 1, 79 to 81 and 95-96)'", [1, 79, 80, 81, 95, 96]],
  ["test.each([\n  [14, ''],\n  [\n    15,\n    ''\n  ],\n])('fact %i: %j'", [14, 15]],
  ["test.each<[number]>([\n  [14, ''],\n])('f, fact %i'", [14]],
  ["test.each([\n  [14, ''],\n])('%j'\ntest.each([\n  [2, ''],\n])('fact %i'", [2]],
  ['artefact 12 of 3 facts', []],
])('%j cites %j', (source, numbers) => {
  expect(citations(source)).toEqual(numbers)
})

const cited = new Set(
  readdirSync('test', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts') && file !== basename(import.meta.filename))
    .flatMap((file) => citations(readFileSync(join('test', file), 'utf8'))),
)

test.each(RANGES)('each fact from %i to %i is cited by a test', (first, last) => {
  const numbers = Array.from({ length: last - first + 1 }, (_, i) => first + i)
  expect(numbers.filter((number) => !cited.has(number))).toEqual([])
})

test('each fact that SPEC.md means to differ from is one of them, in order, with a reason', () => {
  const [, table = ''] =
    /\| fact \|.*\n\|[-|]+\|\n([^]*?)(?:\n\n|\n*$)/.exec(readFileSync('SPEC.md', 'utf8')) ?? []
  const rows = table.split('\n').map((line) => line.slice(2, -2).split(' | '))
  expect(rows.length).toBeGreaterThan(5)
  const numbers = rows.map(([number]) => Number(number))
  expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
  for (const [number, ...cells] of rows) {
    expect(RANGES.some(([first, last]) => Number(number) >= first && Number(number) <= last)).toBe(
      true,
    )
    expect([number, cells.filter((cell) => cell.trim() !== '').length]).toEqual([number, 3])
  }
})
