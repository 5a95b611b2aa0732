/**
 * The environ under the validator: one crafted one for each check. Numbers are those of the
 * acceptance facts.
 */
import { describe, expect, test, vi } from 'vitest'
import { ApplicationError } from '../src/errors.ts'
import type { Environ } from '../src/types.ts'
import { validator } from '../src/validate.ts'
import { call, hello, makeEnviron, open, silent, startResponse } from './validate-harness.ts'

const without = (key: string) => {
  const environ: Partial<Environ> = makeEnviron()
  delete environ[key]
  return environ
}
const having = (values: object) => Object.assign(makeEnviron(), values)
const shape = (values: Record<string, unknown>) => having({ 'wsgi.input': values })
const method = () => {}
const input = {
  read: method,
  readline: method,
  readlines: method,
  chunks: method,
  stream: method,
}

describe('an environ that breaks the contract is refused by name', () => {
  const rows: [name: string, environ: unknown, message: string][] = [
    ['undefined', undefined, 'must be an object with a null prototype, not undefined'],
    ['an array', [], 'must be an object with a null prototype, not an array of 0'],
    ['a Map', new Map(), 'but an object of class Map inherits constructor'],
    [
      'an object with the usual prototype',
      { ...makeEnviron() },
      'but an object of class Object inherits',
    ],
    [
      'a frozen one',
      Object.freeze(makeEnviron()),
      'must not be frozen, sealed or closed to new keys',
    ],
    ...[
      'REQUEST_METHOD',
      'SCRIPT_NAME',
      'PATH_INFO',
      'QUERY_STRING',
      'SERVER_NAME',
      'SERVER_PORT',
      'SERVER_PROTOCOL',
      'wsgi.version',
      'wsgi.url_scheme',
      'wsgi.input',
      'wsgi.errors',
      'wsgi.multithread',
      'wsgi.multiprocess',
      'wsgi.run_once',
      'wsgi.input_terminated',
      'portico.signal',
      'portico.gateway',
    ].map((key): [string, unknown, string] => [
      `no ${key}`,
      without(key),
      `the required key ${key} is missing`,
    ]),
    [
      'HTTP_CONTENT_TYPE',
      having({ HTTP_CONTENT_TYPE: '' }),
      'HTTP_CONTENT_TYPE must not be there; use CONTENT_TYPE instead',
    ],
    [
      'HTTP_CONTENT_LENGTH',
      having({ HTTP_CONTENT_LENGTH: '' }),
      'HTTP_CONTENT_LENGTH must not be there; use CONTENT_LENGTH instead',
    ],
    ['HTTP_PROXY', having({ HTTP_PROXY: 'x' }), 'HTTP_PROXY must not be there'],
    ['a number', having({ REMOTE_PORT: 1 }), 'REMOTE_PORT must be a string, not 1'],
    [
      'an undefined variable',
      having({ HTTPS: undefined }),
      'HTTPS must be a string, not undefined',
    ],
    [
      'NUL',
      having({ HTTP_X: 'a\0' }),
      String.raw`HTTP_X must hold bytes other than NUL, not "\u0000"`,
    ],
    [
      'text',
      having({ HTTP_X: '\u0416' }),
      String.raw`HTTP_X must hold bytes other than NUL, not "\u0416"`,
    ],
    [
      'a version that is a string',
      having({ 'wsgi.version': '1.0' }),
      'wsgi.version must be [1, 0], not "1.0"',
    ],
    [
      'another version',
      having({ 'wsgi.version': [1, 1] }),
      'wsgi.version must be [1, 0], not [1, 1]',
    ],
    [
      'a longer version',
      having({ 'wsgi.version': [1, 0, 0] }),
      'wsgi.version must be [1, 0], not [1, 0, 0]',
    ],
    [
      'another scheme',
      having({ 'wsgi.url_scheme': 'ws' }),
      'wsgi.url_scheme must be one of "http", "https", not "ws"',
    ],
    ...['multithread', 'multiprocess', 'run_once', 'input_terminated'].map(
      (flag): [string, unknown, string] => [
        `a ${flag} of 0`,
        having({ [`wsgi.${flag}`]: 0 }),
        `wsgi.${flag} must be one of true, false, not 0`,
      ],
    ),
    [
      'another gateway',
      having({ 'portico.gateway': 'uwsgi' }),
      'portico.gateway must be one of "cgi", "fastcgi", "scgi", "http", not "uwsgi"',
    ],
    [
      'a file_wrapper that is none',
      having({ 'wsgi.file_wrapper': {} }),
      'wsgi.file_wrapper must be a constructor, not an object of class Object',
    ],
    ['an input of null', having({ 'wsgi.input': null }), 'wsgi.input must be an object, not null'],
    ...Object.keys(input).map((name): [string, unknown, string] => [
      `an input without ${name}`,
      shape({ ...input, [Symbol.asyncIterator]: method, [name]: undefined }),
      `wsgi.input has no method ${name}`,
    ]),
    [
      'an input that is not iterable',
      shape(input),
      'wsgi.input has no method Symbol(Symbol.asyncIterator)',
    ],
    ...['write', 'writelines', 'flush'].map((name): [string, unknown, string] => [
      `errors without ${name}`,
      having({ 'wsgi.errors': { write: method, writelines: method, flush: method, [name]: 1 } }),
      `wsgi.errors has no method ${name}`,
    ]),
    [
      'a method with a space',
      having({ REQUEST_METHOD: 'GET /' }),
      'REQUEST_METHOD must be an HTTP token, not "GET /"',
    ],
    [
      'an empty method',
      having({ REQUEST_METHOD: '' }),
      'REQUEST_METHOD must be an HTTP token, not ""',
    ],
    [
      'an empty SERVER_NAME',
      having({ SERVER_NAME: '' }),
      'SERVER_NAME must be a host name or an address, not ""',
    ],
    [
      'a SERVER_NAME with a path',
      having({ SERVER_NAME: 'a/b' }),
      'SERVER_NAME must be a host name or an address, not "a/b"',
    ],
    [
      'an empty SERVER_PORT',
      having({ SERVER_PORT: '' }),
      'SERVER_PORT must be a port number, not ""',
    ],
    [
      'a SERVER_PORT of letters',
      having({ SERVER_PORT: 'http' }),
      'SERVER_PORT must be a port number, not "http"',
    ],
    [
      'another SERVER_PROTOCOL',
      having({ SERVER_PROTOCOL: 'FTP/1.1' }),
      'SERVER_PROTOCOL must be like HTTP/1.1, not "FTP/1.1"',
    ],
    [
      'SCRIPT_NAME /',
      having({ SCRIPT_NAME: '/' }),
      'SCRIPT_NAME cannot be "/"; it should be "", and PATH_INFO should be "/"',
    ],
    [
      'SCRIPT_NAME without its slash',
      having({ SCRIPT_NAME: 'a' }),
      'SCRIPT_NAME must be empty or begin with /, not "a"',
    ],
    [
      'PATH_INFO without its slash',
      having({ PATH_INFO: 'a' }),
      'PATH_INFO must be empty or begin with /',
    ],
    ['PATH_INFO * for GET', having({ PATH_INFO: '*' }), 'PATH_INFO must be empty or begin with /'],
    [
      'neither SCRIPT_NAME nor PATH_INFO',
      having({ PATH_INFO: '' }),
      'one of SCRIPT_NAME and PATH_INFO must be set',
    ],
    [
      'a REQUEST_URI without its slash',
      having({ REQUEST_URI: 'a' }),
      'REQUEST_URI must be a path or an absolute URI',
    ],
    [
      'a REQUEST_URI with a fragment',
      having({ REQUEST_URI: '/a#b' }),
      'REQUEST_URI must be a path or an absolute URI',
    ],
    [
      'REQUEST_URI * for GET',
      having({ REQUEST_URI: '*' }),
      'REQUEST_URI must be a path or an absolute URI',
    ],
    [
      'a path for CONNECT',
      having({ REQUEST_URI: '/', REQUEST_METHOD: 'CONNECT' }),
      'REQUEST_URI must be host:port for CONNECT, not "/"',
    ],
    ...['', '-1', '-0', '+1', '0_1', ' 1', '1 ', '0x5', '1234567890123456'].map(
      (length): [string, unknown, string] => [
        `fact 250: CONTENT_LENGTH "${length}"`,
        having({ CONTENT_LENGTH: length }),
        `CONTENT_LENGTH must be 1 to 15 digits, or have no key, not "${length}"`,
      ],
    ),
    [
      'an empty CONTENT_TYPE',
      having({ CONTENT_TYPE: '' }),
      'CONTENT_TYPE is empty; then it must have no key',
    ],
  ]

  test.each(rows)('%s', (_name, environ, message) => {
    const refused = () => call(validator(hello, silent), environ, startResponse)
    expect(refused).toThrow(ApplicationError)
    expect(refused).toThrow(/^environ: /)
    expect(refused).toThrow(message)
  })

  test.each<[string, object]>([
    ['a CGI request', { 'portico.gateway': 'cgi', 'wsgi.run_once': true, CONTENT_LENGTH: '0' }],
    ['OPTIONS *', { REQUEST_METHOD: 'OPTIONS', PATH_INFO: '*', REQUEST_URI: '*' }],
    ['a mounted application', { SCRIPT_NAME: '/a', PATH_INFO: '' }],
    ['repeated slashes and #', { PATH_INFO: '//a//b#c', REQUEST_URI: '//a//b%23c?d=/' }],
    ['a proxy request', { REQUEST_URI: 'http://example.com/x' }],
    ['CONNECT', { REQUEST_METHOD: 'CONNECT', REQUEST_URI: 'example.com:443' }],
    ['a server-side include', { SERVER_PROTOCOL: 'INCLUDED' }],
    ['IPv6', { SERVER_NAME: '::1', HTTP_HOST: '[::1]:8000' }],
    ['IPv6 in brackets', { SERVER_NAME: '[::1]' }],
    ['bytes', { PATH_INFO: '/\xe3\x81\x82\x01\x7f\xff' }],
    ['names of Object', { constructor: 'a', toString: 'b', HTTP_HASOWNPROPERTY: 'c' }],
    ['keys of others', { 'author.key': undefined, 'x.y': new Map() }],
  ])('%s is fine', async (_name, values) => {
    const environ = Object.assign(makeEnviron(), values)
    await expect(open(hello, environ).then((body) => body.close())).resolves.toBeUndefined()
  })

  test('an instance with only dotted keys on its prototype chain is fine, and none is read', async () => {
    const prototype = Object.create(null)
    const signal = vi.fn()
    Object.defineProperty(prototype, 'portico.signal', { get: signal })
    const { 'portico.signal': _signal, ...rest } = makeEnviron()
    const environ: Environ = Object.assign(Object.create(prototype), rest)
    const body = await open(hello, environ)
    body.close()
    expect(signal).not.toHaveBeenCalled()
  })
})
