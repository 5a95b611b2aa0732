import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ApplicationError } from '../../src/errors.ts'
import { checkHeader, checkStatus, Headers } from '../../src/response/headers.ts'
import type { HeaderList, HeaderPairs } from '../../src/types.ts'

const pairs: HeaderList = [
  ['A', '1'],
  ['b', '2'],
  ['a', '3'],
]

describe('Headers', () => {
  test('are empty if they are made from nothing', () => {
    expect(new Headers().size).toBe(0)
    expect(new Headers([]).size).toBe(0)
  })

  test('keep keys, values and items in order, and items is a copy', () => {
    const headers = new Headers(pairs)
    expect(headers.keys()).toEqual(['A', 'b', 'a'])
    expect(headers.values()).toEqual(['1', '2', '3'])
    expect(headers.items()).toEqual(pairs)
    expect([...headers]).toEqual(pairs)
    headers.items()[0]![1] = 'changed'
    headers.items().pop()
    expect(headers.items()).toEqual(pairs)
  })

  test('do not change if the original list does', () => {
    const list: HeaderList = [['A', '1']]
    const headers = new Headers(list)
    list[0]![1] = '2\r\nSet-Cookie: x'
    list.push(['B', '2'])
    expect(headers.toString()).toBe('A: 1\r\n\r\n')
  })

  test.each([
    ['a string', 'A: 1', 'Headers must be an array of pairs (got string)'],
    ['null', null, 'Headers must be an array of pairs (got null)'],
    ['an object', { A: '1' }, 'Headers must be an array of pairs (got Object)'],
    ['a number', 1, 'Headers must be an array of pairs (got number)'],
    ['a Set of strings', new Set(['A: 1']), 'A header must be a pair of strings (got string)'],
    ['strings', ['A', '1'], 'A header must be a pair of strings (got string)'],
    ['three in a row', [['A', '1', '2']], 'A header must be a pair of strings (got Array)'],
    ['no prototype', [Object.create(null)], 'A header must be a pair of strings (got object)'],
    ['a number', [['A', 1]], 'Value of header "A" must be of type string (got number)'],
    ['no value', [['A', null]], 'Value of header "A" must be of type string (got null)'],
    ['no name', [[undefined, '1']], 'Header name must be of type string (got undefined)'],
  ])('cannot be made from %s', (_, list, message) => {
    const attempt = () => new Headers(list as unknown as HeaderList)
    expect(attempt).toThrow(ApplicationError)
    expect(attempt).toThrow(message)
  })

  const constant = [['A', '1']] as const
  test.each<[what: string, headers: HeaderPairs]>([
    ['a constant array', constant],
    ['a Map', new Map([['A', '1']])],
    ['a Headers object', new Headers([['A', '1']])],
    ['entries of an object', Object.entries({ A: '1' })],
    ['a generator, which can be iterated once', [['A', '1'] as const].values()],
  ])('can be made from %s', (_, headers) => {
    expect(new Headers(headers).items()).toEqual([['A', '1']])
  })

  test('made from Headers of the Fetch API keep each cookie', () => {
    const fetched = new globalThis.Headers([
      ['Set-Cookie', 'a=1'],
      ['Set-Cookie', 'b=2'],
    ])
    expect(new Headers(fetched).getAll('Set-Cookie')).toEqual(['a=1', 'b=2'])
  })

  test('ignore the deletion of a missing name', () => {
    const headers = new Headers(pairs)
    headers.delete('c')
    expect(headers.size).toBe(3)
  })

  test('compare names without case', () => {
    const headers = new Headers(pairs)
    expect(headers.has('B')).toBe(true)
    expect(headers.has('bb')).toBe(false)
    expect(headers.get('B')).toBe('2')
    expect(headers.get('a')).toBe('1')
    expect(headers.getAll('A')).toEqual(['1', '3'])
    headers.delete('a')
    expect(headers.items()).toEqual([['b', '2']])
  })

  test('replace all earlier values in set()', () => {
    const headers = new Headers(pairs)
    headers.set('a', '4')
    expect(headers.getAll('A')).toEqual(['4'])
    expect(headers.keys()).toEqual(['b', 'a'])
  })

  test('return the fallback of get() for a missing name', () => {
    const headers = new Headers([['Empty', '']])
    expect(headers.get('none')).toBeNull()
    expect(headers.get('none', 'default')).toBe('default')
    expect(headers.get('Empty', 'default')).toBe('')
  })

  test('return the old value from setDefault(), or store the new one', () => {
    const headers = new Headers([['Empty', '']])
    expect(headers.setDefault('empty', 'x')).toBe('')
    expect(headers.setDefault('foo', 'bar')).toBe('bar')
    expect(headers.setDefault('Foo', 'whee')).toBe('bar')
    expect(headers.toString()).toBe('Empty: \r\nfoo: bar\r\n\r\n')
  })

  test('as text end each line in CRLF, and end with an empty line', () => {
    expect(String(new Headers())).toBe('\r\n')
    expect(String(new Headers(pairs))).toBe('A: 1\r\nb: 2\r\na: 3\r\n\r\n')
  })

  test.each([
    ['a value', { baz: 'spam' }, 'bar; baz="spam"'],
    ['no value', { cheese: null }, 'bar; cheese'],
    ['an empty value', { cheese: '' }, 'bar; cheese'],
    ['an underscore', { max_age: '1' }, 'bar; max-age="1"'],
    ['a quote and a backslash', { f: 'a"b\\c' }, 'bar; f="a\\"b\\\\c"'],
  ])('accept in addHeader() a parameter with %s', (_, parameters, value) => {
    const headers = new Headers([['foo', 'first']])
    headers.addHeader('foo', 'bar', parameters)
    expect(headers.getAll('Foo')).toEqual(['first', value])
  })

  test.each([
    ['naïve.txt', 'filename="na_ve.txt"; filename*=UTF-8\'\'na%C3%AFve.txt'],
    ['100%.txt', 'filename="100%.txt"'],
    ['a%41.txt', 'filename="a%41.txt"; filename*=UTF-8\'\'a%2541.txt'],
    ['файл.txt', 'filename="____.txt"; filename*=UTF-8\'\'%D1%84%D0%B0%D0%B9%D0%BB.txt'],
    ['🦀 "a".txt', 'filename="_ \\"a\\".txt"; filename*=UTF-8\'\'%F0%9F%A6%80%20%22a%22.txt'],
    ['plain.txt', 'filename="plain.txt"'],
  ])('addHeader() sends the file name %s in a form that browsers understand', (filename, value) => {
    const headers = new Headers()
    headers.addHeader('Content-Disposition', 'attachment', { filename })
    expect(headers.get('Content-Disposition')).toBe(`attachment; ${value}`)
  })

  test.each([
    ["UTF-8''%D1%84.png", "filename*=UTF-8''%D1%84.png"],
    ['ф.png', "filename*=UTF-8''%D1%84.png"],
    ['100%', "filename*=UTF-8''100%25"],
  ])('addHeader() sends filename* %s without quotes', (text, value) => {
    const headers = new Headers()
    headers.addHeader('Content-Disposition', 'attachment', { 'filename*': text })
    expect(headers.get('Content-Disposition')).toBe(`attachment; ${value}`)
  })

  test('addHeader() sends one filename* if both forms are given', () => {
    const headers = new Headers()
    const parameters = { filename: 'ф.txt', 'filename*': "UTF-8''%D1%84.txt" }
    headers.addHeader('Content-Disposition', 'attachment', parameters)
    const expected = `attachment; filename="_.txt"; filename*=UTF-8''%D1%84.txt`
    expect(headers.get('Content-Disposition')).toBe(expected)
  })

  test('addHeader() refuses a parameter that is not a string', () => {
    const parameters = { size: 5 } as unknown as Record<string, string>
    expect(() => new Headers().addHeader('A', 'b', parameters)).toThrow(
      'The parameter "size" must be a string or null (got number)',
    )
  })

  test('contain only the parameters after addHeader() without a value', () => {
    const headers = new Headers()
    headers.addHeader('foo', null, { a: '1', b: '2' })
    expect(headers.get('foo')).toBe('a="1"; b="2"')
  })

  const ways: [string, (name: string, value: string) => unknown][] = [
    ['the constructor', (name, value) => new Headers([[name, value]])],
    ['append', (name, value) => new Headers().append(name, value)],
    ['set', (name, value) => new Headers().set(name, value)],
    ['setDefault', (name, value) => new Headers().setDefault(name, value)],
    ['addHeader', (name, value) => new Headers().addHeader(name, value)],
    ['a parameter of addHeader', (name, value) => new Headers().addHeader(name, '', { p: value })],
  ]

  test.each(ways)('accept no control character through %s', (_, put) => {
    for (const bad of ['a\r\nX: y', 'a\n', '\r', '\0', '\x1b[0m', '\x7f', '\u0100', '\ud800']) {
      if (_ === 'a parameter of addHeader' && bad > '\x7f') continue // That is encoded.
      expect(() => put('A', bad), JSON.stringify(bad)).toThrow(ApplicationError)
      expect(() => put(`A${bad}`, 'a'), JSON.stringify(bad)).toThrow(ApplicationError)
    }
    expect(() => put('A', 'tab\tand \xff')).not.toThrow()
  })

  test('do not change when set() throws', () => {
    const headers = new Headers(pairs)
    expect(() => headers.set('a', '\n')).toThrow(ApplicationError)
    expect(headers.items()).toEqual(pairs)
  })
})

/** RFC 9110, section 5.6.2: a token is of these characters. */
const TOKEN_CHARACTERS =
  "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

test('A header name is valid exactly if it is a token (RFC 9110, section 5.6.2)', () => {
  for (let code = 0; code <= 0x17f; code += 1) {
    const name = `A${String.fromCharCode(code)}`
    const attempt = () => checkHeader(name, '')
    if (TOKEN_CHARACTERS.includes(name[1]!)) expect(attempt, name).not.toThrow()
    else expect(attempt, JSON.stringify(name)).toThrow(ApplicationError)
  }
  expect(() => checkHeader('', 'x')).toThrow('"" is not a header name')
})

test('A header value is valid exactly if its only control characters are tabs', () => {
  for (let code = 0; code <= 0x17f; code += 1) {
    const value = `a${String.fromCharCode(code)}b`
    const legal = code === 9 || (code >= 0x20 && code !== 0x7f && code <= 0xff)
    const attempt = () => checkHeader('A', value)
    if (legal) expect(attempt, JSON.stringify(value)).not.toThrow()
    else expect(attempt, JSON.stringify(value)).toThrow(ApplicationError)
  }
})

test('Each accepted header makes exactly one line (security: response splitting)', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.string(), fc.string({ unit: 'binary' }))), (list) => {
      const headers = new Headers()
      for (const [name, value] of list) {
        try {
          headers.append(name, value)
        } catch (error) {
          if (!(error instanceof ApplicationError)) throw error
        }
      }
      const lines = Buffer.from(String(headers), 'latin1').toString('latin1').split('\r\n')
      expect(lines.slice(0, -2)).toEqual(headers.items().map((pair) => pair.join(': ')))
      expect(lines.slice(-2)).toEqual(['', ''])
    }),
  )
})

describe('checkStatus()', () => {
  test.each(['200 OK', '404 Not Found', '599 ', '100 Continue', '418 Caf\xe9', '200 a\tb'])(
    'accepts %j',
    (status) => {
      expect(() => checkStatus(status)).not.toThrow()
    },
  )

  test.each([
    ['200', 'Status must be at least 4 characters'],
    ['', 'Status must be at least 4 characters'],
    ['20X OK', 'Status message must begin w/3-digit code'],
    ['099 Low', 'Status message must begin w/3-digit code'],
    [' 200 OK', 'Status message must begin w/3-digit code'],
    ['٢٠٠ OK', 'Status message must begin w/3-digit code'],
    ['200OK', 'Status message must have a space after code'],
    ['2000 OK', 'Status message must have a space after code'],
    ['200\tOK', 'Status message must have a space after code'],
    ['200 OK\r\nSet-Cookie: a=b', 'Control characters are not allowed in a status'],
    ['200 \n', 'Control characters are not allowed in a status'],
    ['200 \0', 'Control characters are not allowed in a status'],
    ['200 \x7f', 'Control characters are not allowed in a status'],
    ['200 \u010d\u010a', 'Control characters are not allowed in a status'],
    [200, 'Status must be of type string (got number)'],
    [null, 'Status must be of type string (got null)'],
    [Buffer.from('200 OK'), 'Status must be of type string (got Buffer)'],
  ])('refuses %j', (status, message) => {
    expect(() => checkStatus(status)).toThrow(
      new ApplicationError(message, 'PORTICO_INVALID_STATUS'),
    )
  })
})
