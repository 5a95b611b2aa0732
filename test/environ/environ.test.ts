import { Buffer } from 'node:buffer'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  completeEnviron,
  contentLength,
  createEnviron,
  decodeText,
  encodeText,
  setVariable,
  setVariables,
} from '../../src/environ/environ.ts'
import { PeerError } from '../../src/errors.ts'
import type { Environ } from '../../src/types.ts'

/** What an application sees of variables that a gateway received in this order. */
function seen(...list: string[]): Environ {
  const environ = createEnviron()
  setVariables(environ, list)
  completeEnviron(environ, {})
  return environ
}

const DEFAULTS = {
  REQUEST_METHOD: 'GET',
  SCRIPT_NAME: '',
  PATH_INFO: '/',
  QUERY_STRING: '',
  SERVER_NAME: 'localhost',
  SERVER_PORT: '80',
  SERVER_PROTOCOL: 'HTTP/1.0',
}

describe('A complete environ', () => {
  test('has exactly the required variables if the peer has sent nothing', () => {
    expect({ ...seen() }).toEqual(DEFAULTS)
  })

  test('has no empty value for a variable that must not be empty', () => {
    const names = Object.keys(DEFAULTS)
    expect({ ...seen(...names.flatMap((name) => [name, ''])) }).toEqual(DEFAULTS)
  })

  test('keeps what the peer sent', () => {
    const sent = {
      REQUEST_METHOD: 'PROPFIND',
      SCRIPT_NAME: '/cgi-bin/app.cgi',
      PATH_INFO: '/a b/\xe9',
      QUERY_STRING: 'a=%20&b',
      SERVER_NAME: '2001:db8::1',
      SERVER_PORT: '8443',
      SERVER_PROTOCOL: 'INCLUDED',
      CONTENT_TYPE: 'text/plain',
      CONTENT_LENGTH: '3',
      REQUEST_URI: '/x',
      REMOTE_ADDR: '192.0.2.1',
      REMOTE_PORT: '1234',
      REMOTE_USER: 'jos\xe9',
      AUTH_TYPE: 'Basic',
      HTTPS: 'on',
      GATEWAY_INTERFACE: 'CGI/1.1',
      SSL_CLIENT_S_DN: '',
      HTTP_HOST: 'example.com:8443',
      HTTP_X_EMPTY: '',
      'a-b': 'c',
    }
    expect({ ...seen(...Object.entries(sent).flat()) }).toEqual(sent)
  })

  test.each([
    ['an empty CONTENT_TYPE', 'CONTENT_TYPE', ''],
    ['an empty CONTENT_LENGTH', 'CONTENT_LENGTH', ''],
    ['HTTP_PROXY (httpoxy, CVE-2016-5385)', 'HTTP_PROXY', 'http://evil.example/'],
    ['an empty HTTP_PROXY', 'HTTP_PROXY', ''],
    ['HTTP_CONTENT_TYPE', 'HTTP_CONTENT_TYPE', 'text/plain'],
    ['HTTP_CONTENT_LENGTH', 'HTTP_CONTENT_LENGTH', '5'],
    ['a variable without a name', '', 'x'],
    ['wsgi.url_scheme', 'wsgi.url_scheme', 'https'],
    ['wsgi.input', 'wsgi.input', 'x'],
    ['portico.signal', 'portico.signal', 'x'],
    ['a header with a dot', 'HTTP_X.Y', 'x'],
    ['a dot', '.', 'x'],
  ])('does not have %s', (_, name, value) => {
    expect({ ...seen(name, value) }).toEqual(DEFAULTS)
  })

  test('has headers whose names only resemble HTTP_PROXY', () => {
    expect(seen('HTTP_PROXY_AUTHORIZATION', 'x')['HTTP_PROXY_AUTHORIZATION']).toBe('x')
  })
})

describe('A variable that the peer sends twice', () => {
  test.each([
    ['HTTP_X_FOO', ['bar', 'baz'], 'bar, baz'],
    ['HTTP_COOKIE', ['a=1', 'b=2', 'c=3'], 'a=1; b=2; c=3'], // RFC 6265, section 5.4.
    ['HTTP_X_FOO', ['', 'a', ''], ', a, '],
    ['HTTP_ACCEPT', ['text/html,text/plain', '*/*'], 'text/html,text/plain, */*'],
    ['REMOTE_USER', ['first', 'last'], 'last'],
    ['REMOTE_USER', ['forged', ''], ''],
    // `include fastcgi_params`, followed by another line.
    ['HTTP_HOST', ['example.org', 'example.org:8080'], 'example.org:8080'],
    ['HTTP_X_FORWARDED_PROTO', ['http', 'https'], 'https'],
    ['HTTP_X_FORWARDED_HOST', ['a', 'b'], 'b'],
    ['HTTP_X_FORWARDED_PORT', ['80', '443'], '443'],
    ['HTTP_X_REAL_IP', ['192.0.2.1', '192.0.2.2'], '192.0.2.2'],
    // Proxies add a line each.
    ['HTTP_X_FORWARDED_FOR', ['192.0.2.1', '192.0.2.2'], '192.0.2.1, 192.0.2.2'],
    // Two are not credentials: joined, they are invalid whatever the web server has checked.
    ['HTTP_AUTHORIZATION', ['Basic YTpi', 'Basic YzpE'], 'Basic YTpi, Basic YzpE'],
    ['CONTENT_LENGTH', ['7', ''], undefined],
    ['CONTENT_LENGTH', ['7', '', '8'], '8'],
    ['CONTENT_LENGTH', ['', '7'], '7'],
    ['CONTENT_TYPE', ['text/plain', ''], undefined],
    ['CONTENT_TYPE', ['text/plain', 'text/html'], 'text/html'],
  ])('%s %j becomes %j', (name, values, joined) => {
    expect(seen(...values.flatMap((value) => [name, value]))[name as 'HTTP_COOKIE']).toBe(joined)
  })
})

test.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf', 'HTTP___PROTO__'])(
  'A variable named %s is like any other (security: prototype pollution)',
  (name) => {
    expect(name in createEnviron()).toBe(false)
    const environ = createEnviron()
    setVariable(environ, name, 'polluted')
    expect(environ[name as 'X']).toBe('polluted')
    expect(Object.keys(environ)).toEqual([name])
    expect({}.constructor).toBe(Object)
    expect(Reflect.get({}, 'polluted')).toBeUndefined()
    expect(name in createEnviron()).toBe(false)
    expect(Reflect.get(createEnviron(), name)).toBeUndefined()
  },
)

test('A name without a value at the end of a list is dropped', () => {
  expect({ ...seen('A', '1', 'B') }).toEqual({ ...DEFAULTS, A: '1' })
})

describe('A CONTENT_LENGTH', () => {
  test.each([
    ['0', 0],
    ['5', 5],
    ['007', 7],
    ['999999999999999', 999_999_999_999_999],
    ['', undefined],
  ])('of %j is read as %j', (value, bytes) => {
    expect(contentLength(seen('CONTENT_LENGTH', value))).toBe(bytes)
  })

  test.each([
    '-1',
    '-0',
    '+5',
    '1_000',
    '0x5',
    '5 5',
    '1e3',
    ' ',
    ' 5',
    '5 ',
    '5\n',
    '5,5',
    '1.0',
    'five',
    '\xb2',
    '\u0665',
    '1000000000000000',
    '0000000000000005',
  ])('of %j is a 400 (security: request smuggling)', (value) => {
    const environ = createEnviron()
    setVariable(environ, 'CONTENT_LENGTH', value)
    expect(() => completeEnviron(environ, {})).toThrow(
      new PeerError('PORTICO_BAD_REQUEST', 'CONTENT_LENGTH is not a number of bytes'),
    )
  })

  test('is a 400 unless it is one to fifteen digits', () => {
    const value = fc.oneof(
      fc.string({ minLength: 1 }),
      fc.double().map(String),
      fc.bigInt().map(String),
    )
    fc.assert(
      fc.property(value, (text) => {
        const environ = createEnviron()
        setVariable(environ, 'CONTENT_LENGTH', text)
        let refused = false
        try {
          completeEnviron(environ, {})
        } catch {
          refused = true
        }
        expect(refused).toBe(!/^[0-9]{1,15}$/.test(text))
      }),
    )
  })
})

test.each(['PATH_INFO', 'SCRIPT_NAME', 'REQUEST_URI'])('A NUL in %s is a 400', (name) => {
  const environ = createEnviron()
  setVariable(environ, name, name === 'REQUEST_URI' ? '/a%00b' : '/a\0b')
  expect(() => completeEnviron(environ, {})).toThrow(
    new PeerError('PORTICO_BAD_REQUEST', 'The path contains a NUL'),
  )
})

test('decodeText and encodeText are inverses', () => {
  expect(decodeText('caf\xc3\xa9')).toBe('café')
  expect(encodeText('café')).toBe('caf\xc3\xa9')
  expect(decodeText('caf\xe9')).toBe('caf\ufffd')
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      expect(decodeText(encodeText(text))).toBe(text)
      expect(Buffer.from(encodeText(text), 'latin1').equals(Buffer.from(text))).toBe(true)
    }),
  )
})
