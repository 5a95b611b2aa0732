import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ApplicationError, ConfigurationError } from '../../src/errors.ts'
import { escapeHtml, parseHeader, parseQs, parseQsl } from '../../src/exports/forms.ts'

const entries = (text: string, options = {}): Record<string, string[]> => ({
  ...parseQs(text, options),
})

describe('parseQs in strict mode', () => {
  it.each<[text: string, fields: Record<string, string[]>]>([
    ['', {}],
    ['=', {}],
    ['=&=', {}],
    ['=a', { '': ['a'] }],
    ['b=a', { b: ['a'] }],
    ['b+=a', { 'b ': ['a'] }],
    ['a=b=a', { a: ['b=a'] }],
    ['a=+b=a', { a: [' b=a'] }],
    ['a=a+b&b=b+c', { a: ['a b'], b: ['b c'] }],
    ['a=a+b&a=b+a', { a: ['a b', 'b a'] }],
    ['x=1&y=2.0&z=2-3.%2b0', { x: ['1'], y: ['2.0'], z: ['2-3.+0'] }],
    ['_to=31392&SUBMIT=Browse', { _to: ['31392'], SUBMIT: ['Browse'] }],
  ])('reads %j', (text, fields) => {
    expect(entries(text, { strictParsing: true })).toEqual(fields)
  })

  it.each([
    ['&', ''],
    ['&&', ''],
    ['&=a', ''],
    ['=a&', ''],
    ['=&a', 'a'],
    ['&b=a', ''],
    ['b&=a', 'b'],
  ])('refuses %j', (text, field) => {
    expect(() => parseQs(text, { strictParsing: true })).toThrow(
      expect.objectContaining({
        code: 'PORTICO_BAD_REQUEST',
        status: '400 Bad Request',
        message: `Malformed form: invalid query field "${field}"`,
      }),
    )
  })

  it('quotes at most 80 characters of an invalid field', () => {
    expect(() => parseQs(`\n\xff${'x'.repeat(1e5)}`, { strictParsing: true })).toThrow(
      new RegExp(String.raw`^Malformed form: invalid query field "\\u000a\\u00ffx{78}\.{3}"$`),
    )
  })
})

describe('parseQs', () => {
  it.each<[text: string, fields: Record<string, string[]>]>([
    ['x=1;y=2.0', { x: ['1'], y: ['2.0'] }],
    ['x=1;y=2.0;z=2-3.%2b0', { x: ['1'], y: ['2.0'], z: ['2-3.+0'] }],
    ['a=a+b;a=b+a', { a: ['a b', 'b a'] }],
  ])('splits %j at ";" only with that separator', (text, fields) => {
    expect(entries(text, { separator: ';' })).toEqual(fields)
    expect(Object.keys(parseQs(text))).toHaveLength(1)
  })

  it('accepts a separator of several characters, and refuses an empty one', () => {
    expect(entries('a=1&amp;b=2', { separator: '&amp;' })).toEqual({ a: ['1'], b: ['2'] })
    expect(() => parseQs('a=1', { separator: '' })).toThrow(ConfigurationError)
  })

  it('omits empty values unless keepBlankValues is set', () => {
    expect(parseQsl('a=&b&&c=1')).toEqual([['c', '1']])
    expect(parseQsl('a=&b&&c=1', { keepBlankValues: true })).toEqual([
      ['a', ''],
      ['b', ''],
      ['c', '1'],
    ])
  })

  it('counts fields, including empty ones, and stops at 1,000 by default', () => {
    const refusal = expect.objectContaining({
      code: 'PORTICO_TOO_LARGE',
      status: '413 Content Too Large',
    })
    expect(parseQsl('a=a&'.repeat(999) + 'a=a')).toHaveLength(1000)
    expect(() => parseQsl('a=a&'.repeat(1000))).toThrow(refusal)
    expect(() => parseQsl('&'.repeat(10), { maxNumFields: 10 })).toThrow(refusal)
    expect(parseQsl('&'.repeat(9), { maxNumFields: 10 })).toEqual([])
    expect(parseQsl('a=a&'.repeat(1e5), { maxNumFields: Infinity })).toHaveLength(1e5)
  })

  it('treats __proto__ as an ordinary name', () => {
    const fields = parseQs('__proto__=1&constructor=2&toString=3&__proto__=4')
    expect(Object.getPrototypeOf(fields)).toBeNull()
    expect(Object.entries(fields)).toEqual([
      ['__proto__', ['1', '4']],
      ['constructor', ['2']],
      ['toString', ['3']],
    ])
  })

  it.each([
    ['a=%E7%F1%80', 'iso-8859-1', 'çñ\u0080'],
    ['a=\xe7\xf1\x80', 'latin-1', 'çñ\u0080'],
    ['a=%80', 'windows-1252', '€'],
    ['a=%C3%A7%C3%B1%C2%80', undefined, 'çñ\u0080'],
    ['a=\xc3\xa7', undefined, 'ç'],
    ['a=%C3\xa7', undefined, 'ç'],
    ['a=%82%a0', 'shift_jis', 'あ'],
    ['a=%FF%zz%', undefined, '\ufffd%zz%'],
    ['a=%EF%BB%BFx', undefined, '\ufeffx'],
  ])('reads the bytes of %j in %s', (text, charset, value) => {
    const options = charset === undefined ? {} : { charset }
    expect(parseQsl(text, options)).toEqual([['a', value]])
  })

  it('refuses an unknown charset and text that is not a byte string', () => {
    expect(() => parseQs('a=1', { charset: 'klingon' })).toThrow(ConfigurationError)
    expect(() => parseQs('a=€')).toThrow(ApplicationError)
    for (const text of [undefined, null, 5, new URLSearchParams('a=1')]) {
      expect(() => parseQs(text as unknown as string)).toThrow(ApplicationError)
    }
  })

  // ASCII only: Node 20 takes a raw U+0080 beside an invalid escape for the byte 0x80.
  it('agrees with URLSearchParams on any ASCII text if empty values are kept', () => {
    const chunk = fc.constantFrom('&', '=', '+', '%', '%2', '%C3', '%a9', '%E2%82', '%00', 'a', ';')
    const text = fc.array(fc.oneof(chunk, fc.string({ unit: 'binary-ascii' })))
    fc.assert(
      fc.property(text, (parts) => {
        const query = `a=b&${parts.join('')}`
        const options = { keepBlankValues: true, maxNumFields: Infinity }
        expect(parseQsl(query, options)).toEqual([...new URLSearchParams(query)])
      }),
      { numRuns: 1000 },
    )
  })

  it('reads what URLSearchParams has written', () => {
    const pair = fc.tuple(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }))
    fc.assert(
      fc.property(fc.array(pair), (pairs) => {
        const text = new URLSearchParams(pairs).toString()
        expect(parseQsl(text, { keepBlankValues: true })).toEqual(pairs)
      }),
    )
  })
})

describe('parseHeader', () => {
  it.each<[line: string, value: string, params: Record<string, string>]>([
    ['text/plain', 'text/plain', {}],
    ['text/vnd.just.made.this.up ; ', 'text/vnd.just.made.this.up', {}],
    ['text/plain;charset=us-ascii', 'text/plain', { charset: 'us-ascii' }],
    ['text/plain ; charset="us-ascii"', 'text/plain', { charset: 'us-ascii' }],
    [
      'text/plain ; CharSet="us-ascii"; another=opt',
      'text/plain',
      { charset: 'us-ascii', another: 'opt' },
    ],
    ['attachment; filename="silly.txt"', 'attachment', { filename: 'silly.txt' }],
    ['attachment; filename="strange;name"', 'attachment', { filename: 'strange;name' }],
    [
      'attachment; filename="strange;name";size=123;',
      'attachment',
      { filename: 'strange;name', size: '123' },
    ],
    [
      String.raw`form-data; name="files"; filename="fo\"o;bar"`,
      'form-data',
      { name: 'files', filename: 'fo"o;bar' },
    ],
    [
      String.raw`f; filename="C:\new\a\\b.txt"; x=1`,
      'f',
      { filename: String.raw`C:\new\a\b.txt`, x: '1' },
    ],
    [String.raw`f; a="\\"; b=";"`, 'f', { a: '\\', b: ';' }],
    ['f; a="; b=1', 'f', { a: '"; b=1' }],
    ['f; a=voil\xc3\xa0', 'f', { a: 'voil\xc3\xa0' }],
    ['', '', {}],
  ])('reads %j', (line, value, params) => {
    const [actual, actualParams] = parseHeader(line)
    expect([actual, { ...actualParams }]).toEqual([value, params])
  })

  it('treats __proto__ as an ordinary parameter', () => {
    const [, params] = parseHeader('f; __proto__=1')
    expect(Object.entries(params)).toEqual([['__proto__', '1']])
  })
})

describe('escapeHtml', () => {
  it('escapes quotes as well, and each character once', () => {
    expect(escapeHtml(`<a href="x?a=1&b='2'">&amp;</a>`)).toBe(
      '&lt;a href=&quot;x?a=1&amp;b=&#x27;2&#x27;&quot;&gt;&amp;amp;&lt;/a&gt;',
    )
  })
})
