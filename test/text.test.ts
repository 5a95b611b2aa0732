import { describe, expect, test } from 'vitest'
import { asLogEntry, escapeControl, percentEncode, quote, show } from '../src/text.ts'

test.each([
  ['plain', 'plain'],
  ['tab\tand\nnewline', 'tab\tand\nnewline'],
  ['\x1b[2J\r\x00\x7f\x9b', '\\x1b[2J\\x0d\\x00\\x7f\\x9b'],
  ['ä€', 'ä€'],
])('escapeControl() turns %j into %j', (text, expected) => {
  expect(escapeControl(text)).toBe(expected)
})

describe('asLogEntry()', () => {
  test.each([
    ['one line', 'one line\n'],
    ['Error: x\n    at f (a.js:1:1)', 'Error: x\n    at f (a.js:1:1)\n'],
    ['Error: x\nGET /admin: PORTICO_TIMEOUT', 'Error: x\n  GET /admin: PORTICO_TIMEOUT\n'],
    ['a\n\nb', 'a\n  \n  b\n'],
    ['a\r\n\n', 'a\\x0d\n'],
    ['a\r\nb', 'a\\x0d\n  b\n'],
    ['a\n\tb', 'a\n  \tb\n'],
    ['a.js:1\nx = = 5\n    ^\n\nSyntaxError', 'a.js:1\n  x = = 5\n      ^\n  \n  SyntaxError\n'],
    ["Error: x {\n  code: 'E'\n}", "Error: x {\n    code: 'E'\n  }\n"],
  ])('makes of %j the entry %j', (text, expected) => {
    expect(asLogEntry(text)).toBe(expected)
  })

  test('takes linear time for a text of newlines', () => {
    // Quadratic work would take longer than any test may.
    const count = 600_000
    expect(asLogEntry(`x${'\n'.repeat(count)}x`)).toBe(`x${'\n  '.repeat(count)}x\n`)
  })
})

describe('show()', () => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const throwing = {
    [Symbol.for('nodejs.util.inspect.custom')]() {
      throw new Error('shown')
    },
  }
  test.each([
    ['undefined', () => undefined],
    ["'text'", () => 'text'],
    ['{ a: 1 }', () => ({ a: 1 })],
    ['<Revoked Proxy>', () => proxy],
    ['[a value whose inspection throws]', () => throwing],
  ])('returns %s', (expected, value) => {
    expect(show(value())).toBe(expected)
  })
})

test.each([
  ['plain', '"plain"'],
  ['say "\\"', '"say \\"\\\\\\""'],
  ['a\nb\x00ä', '"a\\u000ab\\u0000\\u00e4"'],
  ['x'.repeat(81), `"${'x'.repeat(80)}..."`],
])('quote() turns %j into %s', (text, expected) => {
  expect(quote(text)).toBe(expected)
})

test('percentEncode encodes the bytes that the expression matches, and no others', () => {
  expect(percentEncode('/a b\xe4%\n~', /[^\w.~/-]/g)).toBe('/a%20b%E4%25%0A~')
})
