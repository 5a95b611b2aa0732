/**
 * The validator rejects, or warns of, one crafted application, environ or gateway for each check
 * that the validators of this family make. Checks are numbered:
 *
 * - 2a wsgiref.validate of CPython 3.11, in its order; 2b what webtest.lint adds; 2c what the
 *   LintMiddleware of werkzeug adds; these three are counted on
 * - 2d Plack::Middleware::Lint; 2e Rack::Lint, in their order
 * - 2f what an asynchronous language needs besides
 *
 * Those that differ here on purpose stand in a table of SPEC.md, with the reason.
 */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { bodyRows } from './rows/body.ts'
import { environRows } from './rows/environ.ts'
import { exchangeRows } from './rows/exchange.ts'
import { gatewayRows } from './rows/gateway.ts'
import { outputRows } from './rows/output.ts'
import { responseRows } from './rows/response.ts'
import { streamRows } from './rows/streams.ts'

const ROWS = [
  ...environRows,
  ...responseRows,
  ...exchangeRows,
  ...bodyRows,
  ...streamRows,
  ...gatewayRows,
  ...outputRows,
]

const SECTIONS = [
  ['2a', 1, 51],
  ['2b', 52, 56],
  ['2c', 57, 67],
  ['2d', 1, 29],
  ['2e', 1, 50],
  ['2f', 1, 13],
] as const

/** What has no meaning here, and why. */
const MEANINGLESS: Record<string, string> = {
  '2a.2': 'there are no keyword arguments',
  '2a.4': 'there are no keyword arguments',
  '2c.57': 'read() without a size is bounded by CONTENT_LENGTH',
  '2d.18': 'a response is no array, and no callback',
  '2d.19': 'a response is no array, and no callback',
  '2e.20': 'there is no rack.protocol',
  '2e.21': 'there is no session in the contract',
  '2e.22': 'there is no logger in the contract',
  '2e.23': 'there is no form parser in the contract',
  '2e.30': 'there is no hijacking',
  '2e.32': 'a response is no array of three',
  '2e.37': 'headers may have capitals',
  '2e.43': 'there is no rack.protocol',
  '2e.48': 'there is no to_ary',
  '2e.49': 'there is no streaming callback',
  '2e.50': 'there is no streaming callback',
}

/** What is not made on purpose. */
const NOT_MADE = ['2b.53', '2e.24', '2e.31', '2f.10']

test.each(ROWS.map(([checks, ...row]) => [checks || 'of our own', ...row] as const))(
  '%s: %s',
  async (_checks, _what, judged, verdict) => {
    expect(await judged()).toBe(verdict)
  },
)

const all = SECTIONS.flatMap(([section, first, last]) =>
  Array.from({ length: last - first + 1 }, (_, i) => `${section}.${first + i}`),
)
const made = new Set(ROWS.flatMap(([checks]) => checks.split(' ').filter(Boolean)))

test('none is missing, and none is made up', () => {
  const covered = new Set([...made, ...Object.keys(MEANINGLESS), ...NOT_MADE])
  expect(all.filter((check) => !covered.has(check))).toEqual([])
  expect([...covered].filter((check) => !all.includes(check))).toEqual([])
  expect([...Object.keys(MEANINGLESS), ...NOT_MADE].filter((check) => made.has(check))).toEqual([])
})

test('what differs is in SPEC.md in order, with a reason, and what is not made is among it', () => {
  const [, table = ''] =
    /\| check \|.*\n\|[-|]+\|\n([^]*?)(?:\n\n|\n*$)/.exec(readFileSync('SPEC.md', 'utf8')) ?? []
  const rows = table.split('\n').map((line) => line.slice(2, -2).split(' | '))
  const differing = rows.map(([checks = '']) => checks.split(', '))
  expect(rows.filter((cells) => cells.length !== 4 || cells.some((cell) => cell === ''))).toEqual(
    [],
  )
  expect(differing.flat().filter((check) => !all.includes(check))).toEqual([])
  expect(NOT_MADE.filter((check) => !differing.flat().includes(check))).toEqual([])
  const order = differing.map(([first = '']) => all.indexOf(first))
  expect(order).toEqual(order.toSorted((a, b) => a - b))
})
