/** The functions of wsgiref.util, with the results that CPython's own tests expect. */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createEnviron } from '../../src/environ/environ.ts'
import { ApplicationError } from '../../src/errors.ts'
import type { Environ } from '../../src/types.ts'
import { validator } from '../../src/validate/validator.ts'
import {
  applicationUri,
  guessScheme,
  isHopByHop,
  requestUri,
  setupTestingDefaults,
  shiftPathInfo,
} from '../../src/wsgiref/util.ts'

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}

describe('shiftPathInfo', () => {
  test.each([
    ['', '/', '', '/', ''],
    ['', '/x', 'x', '/x', ''],
    ['/', '', null, '/', ''],
    ['/a', '/x/y', 'x', '/a/x', '/y'],
    ['/a', '/x/', 'x', '/a/x', '/'],
    ['/a/b', '/../y', '..', '/a', '/y'],
    ['', '/../y', '..', '', '/y'],
    ['/a/b', '//y', 'y', '/a/b/y', ''],
    ['/a/b', '//y/', 'y', '/a/b/y', '/'],
    ['/a/b', '/./y', 'y', '/a/b/y', ''],
    ['/a/b', '/./y/', 'y', '/a/b/y', '/'],
    ['/a/b', '///./..//y/.//', '..', '/a', '/y/'],
    ['/a/b', '///', '', '/a/b/', ''],
    ['/a/b', '/.//', '', '/a/b/', ''],
    ['/a/b', '/x//', 'x', '/a/b/x', '/'],
    ['/a/b', '/.', null, '/a/b', ''],
  ])(
    'shiftPathInfo for SCRIPT_NAME %j and PATH_INFO %j returns %j and leaves %j and %j',
    (script, path, segment, newScript, newPath) => {
      const environ = { SCRIPT_NAME: script, PATH_INFO: path }
      expect(shiftPathInfo(environ)).toBe(segment)
      expect(environ).toEqual({ SCRIPT_NAME: newScript, PATH_INFO: newPath })
    },
  )

  test('shiftPathInfo returns null for an environ without paths, and does not change it', () => {
    const environ = {}
    expect(shiftPathInfo(environ)).toBeNull()
    expect(environ).toEqual({})
  })

  test('shiftPathInfo reads a PATH_INFO without a first slash as if it had one', () => {
    const environ: Partial<Environ> = { PATH_INFO: 'x/y' }
    expect(shiftPathInfo(environ)).toBe('x')
    expect(environ).toEqual({ SCRIPT_NAME: '/x', PATH_INFO: '/y' })
  })

  test('repeated shiftPathInfo ends for every path, and each result is empty or begins with a slash', () => {
    const path = fc
      .array(fc.constantFrom('', '.', '..', 'a', 'b c'))
      .map((parts) => parts.map((part) => `/${part}`).join(''))
    fc.assert(
      fc.property(path, path, (script, info) => {
        const environ = { SCRIPT_NAME: script, PATH_INFO: info }
        for (let left = info.length; environ.PATH_INFO; left--) {
          expect(left).toBeGreaterThan(0)
          shiftPathInfo(environ)
          expect(environ.PATH_INFO).toMatch(/^(?:\/|$)/)
          expect(environ.SCRIPT_NAME).toMatch(/^(?:\/(?!\/)|$)/)
        }
      }),
    )
  })
})

describe('setupTestingDefaults', () => {
  test('setupTestingDefaults without an argument makes an environ that the validator accepts', async () => {
    const environ = setupTestingDefaults()
    expect(Object.getPrototypeOf(environ)).toBe(Object.getPrototypeOf(createEnviron()))
    expect(environ['portico.signal']).toBeInstanceOf(AbortSignal)
    const application = validator((_environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return ['x']
    })
    const body = await application(environ, () => async () => {})
    await body.close?.()
  })

  test('setupTestingDefaults adds the CGI variables of GET / to an empty environ', () => {
    const environ = setupTestingDefaults({})
    const variables = Object.entries(environ).filter(([key]) => !key.includes('.'))
    expect(Object.fromEntries(variables)).toEqual({
      SERVER_NAME: '127.0.0.1',
      SERVER_PORT: '80',
      SERVER_PROTOCOL: 'HTTP/1.0',
      HTTP_HOST: '127.0.0.1',
      REQUEST_METHOD: 'GET',
      SCRIPT_NAME: '',
      PATH_INFO: '/',
      QUERY_STRING: '',
    })
  })

  test('setupTestingDefaults adds the keys of PEP 3333, with streams that work', async () => {
    const environ = setupTestingDefaults({})
    expect(environ).toMatchObject({
      'wsgi.version': [1, 0],
      'wsgi.run_once': false,
      'wsgi.multithread': false,
      'wsgi.multiprocess': false,
      'wsgi.url_scheme': 'http',
    })
    const input = environ['wsgi.input']
    expect(await input.read()).toEqual(Buffer.alloc(0))
    expect(await input.readline()).toEqual(Buffer.alloc(0))
    expect(await input.readlines()).toEqual([])
    for (const iterable of [input, input.chunks(), input.stream()]) {
      expect(await collect<unknown>(iterable)).toEqual([])
    }
    const errors = environ['wsgi.errors']
    errors.write('one\n')
    errors.writelines(['two\n', 'three\n'])
    errors.flush()
    // oxlint-disable-next-line typescript/no-base-to-string -- the one made for tests has its own
    expect(String(errors)).toBe('one\ntwo\nthree\n')
  })

  test.each<[Partial<Environ>, Partial<Environ>]>([
    [{ SERVER_NAME: 'foo.bar' }, { HTTP_HOST: 'foo.bar' }],
    [{ HTTPS: 'on' }, { 'wsgi.url_scheme': 'https' }],
    [{ HTTPS: '1' }, { 'wsgi.url_scheme': 'https' }],
    [{ HTTPS: 'yes' }, { 'wsgi.url_scheme': 'https' }],
    [{ HTTPS: 'foo' }, { 'wsgi.url_scheme': 'http' }],
    [{ HTTPS: 'foo' }, { SERVER_PORT: '80' }],
    [{ HTTPS: 'on' }, { SERVER_PORT: '443' }],
  ])('setupTestingDefaults for %j adds %j', (given, expected) => {
    expect(setupTestingDefaults({ ...given })).toMatchObject(expected)
  })

  test('setupTestingDefaults keeps existing keys and returns the same object', () => {
    const given = { REQUEST_METHOD: 'PUT', SCRIPT_NAME: '/app', 'wsgi.run_once': true }
    const environ = setupTestingDefaults(given)
    expect(environ).toBe(given)
    expect(environ).toMatchObject({
      REQUEST_METHOD: 'PUT',
      SCRIPT_NAME: '/app',
      PATH_INFO: '',
      'wsgi.run_once': true,
    })
  })
})

test.each<[Partial<Environ>, string]>([
  [{}, 'http'],
  [{ HTTPS: 'foo' }, 'http'],
  [{ HTTPS: 'off' }, 'http'],
  [{ HTTPS: 'on' }, 'https'],
  [{ HTTPS: 'yes' }, 'https'],
  [{ HTTPS: '1' }, 'https'],
  [{ HTTPS: 'ON' }, 'https'],
  [{ HTTPS: 'Yes' }, 'https'],
])('guessScheme of %j is %s', (environ, scheme) => {
  expect(guessScheme(environ)).toBe(scheme)
})

test.each<[Partial<Environ>, string]>([
  [{}, 'http://127.0.0.1/'],
  [{ SCRIPT_NAME: '/spam' }, 'http://127.0.0.1/spam'],
  [{ SCRIPT_NAME: '/sp\u00e4m' }, 'http://127.0.0.1/sp%E4m'],
  [{ HTTP_HOST: 'spam.example.com:2071', SERVER_PORT: '2071' }, 'http://spam.example.com:2071/'],
  [{ SERVER_NAME: 'spam.example.com' }, 'http://spam.example.com/'],
  [{ HTTP_HOST: 'spam.example.com', SERVER_NAME: 'x.com' }, 'http://spam.example.com/'],
  [{ HTTPS: 'on' }, 'https://127.0.0.1/'],
  [{ SERVER_PORT: '8000', HTTP_HOST: undefined }, 'http://127.0.0.1:8000/'],
])('applicationUri of %j is %s', (environ, uri) => {
  expect(applicationUri(setupTestingDefaults({ ...environ }))).toBe(uri)
})

test.each<[Partial<Environ>, string]>([
  [{ SCRIPT_NAME: '/spammity', PATH_INFO: '/spam' }, 'http://127.0.0.1/spammity/spam'],
  [{ PATH_INFO: '/sp\u00e4m' }, 'http://127.0.0.1/sp%E4m'],
  [{ PATH_INFO: '/spam;ham' }, 'http://127.0.0.1/spam;ham'],
  [{ PATH_INFO: '/spam;cookie=1234,5678' }, 'http://127.0.0.1/spam;cookie=1234,5678'],
  [{ PATH_INFO: '/spam', QUERY_STRING: 'say=ni' }, 'http://127.0.0.1/spam?say=ni'],
  [{ PATH_INFO: '/spam', QUERY_STRING: 's%E4y=ni' }, 'http://127.0.0.1/spam?s%E4y=ni'],
])('requestUri of %j is %s', (environ, uri) => {
  expect(requestUri(setupTestingDefaults({ ...environ }))).toBe(uri)
})

describe('requestUri', () => {
  test('requestUri omits the query if includeQuery is false', () => {
    const environ = setupTestingDefaults({ PATH_INFO: '/spam', QUERY_STRING: 'say=ni' })
    expect(requestUri(environ, false)).toBe('http://127.0.0.1/spam')
  })

  test.each<[string, Partial<Environ>, string]>([
    ['works without any key', {}, 'http://localhost'],
    [
      'encodes what a path cannot contain',
      { PATH_INFO: '/a b%?#\n' },
      'http://localhost/a%20b%25%3F%23%0A',
    ],
    ['keeps repeated slashes', { PATH_INFO: '//a//' }, 'http://localhost//a//'],
    ['puts an IPv6 SERVER_NAME into brackets', { SERVER_NAME: '::1' }, 'http://[::1]'],
    ['keeps brackets', { SERVER_NAME: '[::1]', SERVER_PORT: '81' }, 'http://[::1]:81'],
    ['keeps an IPv6 host', { HTTP_HOST: '[::1]:81' }, 'http://[::1]:81'],
    ['omits the colon of an empty port', { HTTP_HOST: 'a.example:' }, 'http://a.example'],
    ['omits the same after IPv6', { HTTP_HOST: '[::1]:', SERVER_PORT: '81' }, 'http://[::1]'],
    ['ignores a host with two ports', { HTTP_HOST: 'evil:1:', SERVER_NAME: 'a' }, 'http://a'],
    ['ignores a host that is a colon', { HTTP_HOST: ':', SERVER_NAME: 'a' }, 'http://a'],
    ['ignores a host with a path', { HTTP_HOST: 'evil/x', SERVER_NAME: 'a' }, 'http://a'],
    ['ignores a host with a user', { HTTP_HOST: 'u@evil', SERVER_NAME: 'a' }, 'http://a'],
    ['omits port 443 for https', { HTTPS: 'on', SERVER_PORT: '443' }, 'https://localhost'],
    ['includes port 80 for https', { HTTPS: 'on', SERVER_PORT: '80' }, 'https://localhost:80'],
  ])('requestUri %s', (_name, environ, uri) => {
    // The base URI of an application at the root ends in a slash, which PATH_INFO brings along.
    const path = environ.PATH_INFO ?? '/'
    expect(requestUri({ ...environ, PATH_INFO: path })).toBe(uri + (environ.PATH_INFO ? '' : '/'))
  })

  test('requestUri names the variable that is not a byte string', () => {
    expect(() => requestUri({ PATH_INFO: '/\u0416' })).toThrow(
      new ApplicationError(
        'PATH_INFO must be a byte string, but contains "\u0416"; use encodeText()',
        'PORTICO_INVALID_ARGUMENT',
      ),
    )
  })
})

test.each([
  'Connection',
  'Keep-Alive',
  'Proxy-Authenticate',
  'Proxy-Authorization',
  'TE',
  'Trailers',
  'Transfer-Encoding',
  'Upgrade',
])('isHopByHop is true for %s in any case', (name) => {
  for (const form of [name, name.toLowerCase(), name.toUpperCase()]) {
    expect(isHopByHop(form)).toBe(true)
  }
})

test.each([
  'Accept',
  'Cache-Control',
  'Date',
  'Pragma',
  'Trailer',
  'Via',
  'Warning',
  '',
  'Content-Type',
  // As long as a hop-by-hop name, and 32 longer than one.
  'Set-Cookie',
  'X-A-Header-Of-Thirty-Four-Letters1',
])('isHopByHop is false for %j in any case', (name) => {
  for (const form of [name, name.toLowerCase(), name.toUpperCase()]) {
    expect(isHopByHop(form)).toBe(false)
  }
})
