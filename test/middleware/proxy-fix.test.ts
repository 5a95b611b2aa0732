/** `proxyFix`: which proxies are trusted, for which fields, and how many in a row. */
import { describe, expect, it } from 'vitest'
import { assert, property, string } from 'fast-check'
import { ConfigurationError } from '../../src/errors.ts'
import { parseForwarded } from '../../src/middleware/forwarded.ts'
import { proxyFix, type ProxyFixOptions } from '../../src/exports/middleware.ts'
import type { Application, Environ } from '../../src/types.ts'
import { makeEnviron, OK } from '../validate/harness.ts'
import { GATEWAYS, runCgi, through } from './gateways.ts'

const LOOKED_AT = [
  'REMOTE_ADDR',
  'REMOTE_PORT',
  'wsgi.url_scheme',
  'HTTPS',
  'HTTP_HOST',
  'SERVER_NAME',
  'SERVER_PORT',
  'SCRIPT_NAME',
  'REQUEST_URI',
] as const
const ALL = ['for', 'proto', 'host', 'port', 'prefix'] as const

/** The variables that proxyFix changes. */
function fixed(
  variables: Record<string, unknown>,
  options: Partial<ProxyFixOptions>,
): Record<string, unknown> {
  const given = {
    REMOTE_ADDR: '10.0.0.1',
    REMOTE_PORT: '5',
    HTTP_HOST: 'inner:8000',
    SERVER_NAME: 'inner',
    SERVER_PORT: '8000',
    ...variables,
  }
  const before = makeEnviron(given)
  const after = makeEnviron(given)
  void proxyFix(() => [], { trusted: ['10.0.0.0/8'], ...options })(after, () => async () => {})
  const changed: Record<string, unknown> = {}
  for (const name of LOOKED_AT) if (after[name] !== before[name]) changed[name] = after[name]
  return changed
}

const whoIsThere: Application = (environ, startResponse) => {
  startResponse(OK, [])
  return [String(environ['REMOTE_ADDR'])]
}

describe('proxyFix with X-Forwarded-For', () => {
  it.each<[what: string, value: string, count: number, client: string | undefined]>([
    ['the last value', '6.6.6.6, 192.0.2.1', 1, '192.0.2.1'],
    ['the only value', '192.0.2.1', 1, '192.0.2.1'],
    ['IPv6', '2001:db8::1', 1, '2001:db8::1'],
    ['IPv6 with a port', '[2001:db8::1]:80', 1, '2001:db8::1'],
    ['IPv4 with a port', '192.0.2.1:80', 1, '192.0.2.1'],
    ['the value before a trusted proxy', '6.6.6.6, 192.0.2.1, 10.0.0.2', 2, '192.0.2.1'],
    ['at most `count` values back', '192.0.2.1, 10.0.0.2', 1, '10.0.0.2'],
    ['at most the first proxy that is not trusted', '6.6.6.6, 192.0.2.1', 2, '192.0.2.1'],
    ['the first value if there are fewer than proxies', '10.0.0.3, 10.0.0.2', 5, '10.0.0.3'],
    ['no value that is a name', 'unknown', 1, undefined],
    ['no name before a proxy', 'unknown, 10.0.0.2', 2, undefined],
    ['no address with a zone', 'fe80::1%eth0', 1, undefined],
    ['nothing', '', 1, undefined],
    ['no empty value', '192.0.2.1,', 1, undefined],
    ['no address with text after it', '192.0.2.1 x', 1, undefined],
  ])('takes the client from %s', (_what, value, count, client) => {
    expect(fixed({ HTTP_X_FORWARDED_FOR: value }, { count })['REMOTE_ADDR']).toBe(client)
  })

  it.each<[what: string, peer: string | undefined, trusted: string[], believed: boolean]>([
    ['a trusted proxy', '10.1.2.3', ['10.0.0.0/8'], true],
    ['another', '192.0.2.9', ['10.0.0.0/8'], false],
    ['a trusted proxy on a dual-stack socket', '::ffff:10.1.2.3', ['10.0.0.0/8'], true],
    ['a Unix socket', undefined, ['unix'], true],
    ['a Unix socket beside addresses', undefined, ['unix', '10.0.0.1'], true],
    ['a Unix socket that is not trusted', undefined, ['10.0.0.1'], false],
    ['an address where only Unix sockets are trusted', '10.0.0.1', ['unix'], false],
  ])('decides whether to trust %s', (_what, peer, trusted, believed) => {
    const variables: Partial<Environ> = { HTTP_X_FORWARDED_FOR: '192.0.2.1' }
    variables['REMOTE_ADDR'] = peer
    expect(fixed(variables, { trusted })['REMOTE_ADDR']).toBe(believed ? '192.0.2.1' : undefined)
  })

  it('removes the variables that described the proxy', () => {
    const changed = fixed({ HTTP_X_FORWARDED_FOR: '192.0.2.1' }, {})
    expect(changed).toEqual({ REMOTE_ADDR: '192.0.2.1', REMOTE_PORT: undefined })
  })
})

it.each([
  ['::ffff:203.0.113.9', '203.0.113.9'],
  ['::FFFF:203.0.113.9', '203.0.113.9'],
  ['[::ffff:203.0.113.9]:80', '203.0.113.9'],
  ['::ffff:cb00:7109', '203.0.113.9'],
  ['0:0:0:0:0:ffff:203.0.113.9', '203.0.113.9'],
  ['::ffff:0:1', '0.0.0.1'],
  ['2001:0DB8:0:0::0001', '2001:db8::1'],
  ['::1', '::1'],
  ['2001:db8::1', '2001:db8::1'],
])('proxyFix writes the client %s as a direct connection does: %s', (value, client) => {
  expect(fixed({ HTTP_X_FORWARDED_FOR: value }, {})).toMatchObject({ REMOTE_ADDR: client })
})

it.each<[prefix: string, uri: string | undefined, changed: object]>([
  ['/api', '/users/a%2Fb', { SCRIPT_NAME: '/api', REQUEST_URI: '/api/users/a%2Fb' }],
  ['/api/', '/x?q', { SCRIPT_NAME: '/api', REQUEST_URI: '/api/x?q' }],
  ['/caf%c3%a9', '/x', { SCRIPT_NAME: '/caf\xc3\xa9', REQUEST_URI: '/caf%c3%a9/x' }],
  ['/api', undefined, { SCRIPT_NAME: '/api' }],
  ['/api', 'http://h/x', { SCRIPT_NAME: '/api' }],
  ['/a%2Fb', '/x', {}],
  ['/%2e%2e', '/x', {}],
  ['/a%00', '/x', {}],
  ['/a%0d%0ab', '/x', {}],
  ['/a%7f', '/x', {}],
  ['/a%', '/x', {}],
])('proxyFix puts the prefix %s in front of %s', (prefix, REQUEST_URI, changed) => {
  const variables = {
    HTTP_X_FORWARDED_PREFIX: prefix,
    SCRIPT_NAME: '',
    ...(REQUEST_URI && { REQUEST_URI }),
  }
  expect(fixed(variables, { fields: ['prefix'] })).toEqual(changed)
})

it.each<[gateway: 'http' | 'fastcgi' | 'scgi' | 'cgi', peer: string | undefined, client: string]>([
  ['http', undefined, '192.0.2.1'],
  ['fastcgi', 'unix:', '192.0.2.1'],
  ['fastcgi', undefined, 'undefined'],
  ['cgi', '', ''],
])("proxyFix with 'unix' over %s trusts the peer %s or not", async (gateway, peer, client) => {
  const app = proxyFix(
    (environ, startResponse) => {
      startResponse('200 OK', [])
      return [String(environ['REMOTE_ADDR'])]
    },
    { trusted: ['unix'] },
  )
  const response = await runCgi(
    (environ, startResponse) => {
      environ['portico.gateway'] = gateway
      if (peer === undefined) delete environ['REMOTE_ADDR']
      else environ['REMOTE_ADDR'] = peer
      return app(environ, startResponse)
    },
    { target: '/', headers: [['X-Forwarded-For', '192.0.2.1']] },
  )
  expect(String(response.body)).toBe(client)
})

describe('proxyFix with other fields accepts', () => {
  it.each<
    [what: string, variables: Partial<Environ>, options: Partial<ProxyFixOptions>, changed: object]
  >([
    [
      'proto',
      { HTTP_X_FORWARDED_PROTO: 'https' },
      {},
      { 'wsgi.url_scheme': 'https', HTTPS: 'on', SERVER_PORT: '443' },
    ],
    [
      'proto of the client, of two',
      { HTTP_X_FORWARDED_PROTO: 'http, https' },
      {},
      { 'wsgi.url_scheme': 'https', HTTPS: 'on', SERVER_PORT: '443' },
    ],
    ['no other proto', { HTTP_X_FORWARDED_PROTO: 'gopher' }, {}, {}],
    [
      'http for a request that arrived over https',
      { HTTP_X_FORWARDED_PROTO: 'http', HTTPS: 'on' },
      {},
      { 'wsgi.url_scheme': 'http', HTTPS: undefined, SERVER_PORT: '80' },
    ],
    ['host only if trusted', { HTTP_X_FORWARDED_HOST: 'a.example' }, {}, {}],
    [
      'host',
      { HTTP_X_FORWARDED_HOST: 'a.example' },
      { fields: ALL },
      { HTTP_HOST: 'a.example', SERVER_NAME: 'a.example', SERVER_PORT: '80' },
    ],
    [
      'host without :80 on http',
      { HTTP_X_FORWARDED_HOST: 'a.example:80' },
      { fields: ALL },
      { HTTP_HOST: 'a.example', SERVER_NAME: 'a.example', SERVER_PORT: '80' },
    ],
    [
      'host with :443 on http',
      { HTTP_X_FORWARDED_HOST: 'a.example:443' },
      { fields: ALL },
      { HTTP_HOST: 'a.example:443', SERVER_NAME: 'a.example', SERVER_PORT: '443' },
    ],
    [
      'host without :443 on https',
      { HTTP_X_FORWARDED_HOST: 'a.example:443', HTTP_X_FORWARDED_PROTO: 'https' },
      { fields: ALL },
      {
        'wsgi.url_scheme': 'https',
        HTTPS: 'on',
        HTTP_HOST: 'a.example',
        SERVER_NAME: 'a.example',
        SERVER_PORT: '443',
      },
    ],
    [
      'host as IPv6',
      { HTTP_X_FORWARDED_HOST: '[::1]:81' },
      { fields: ALL },
      { HTTP_HOST: '[::1]:81', SERVER_NAME: '[::1]', SERVER_PORT: '81' },
    ],
    [
      'host with an empty port as host',
      { HTTP_X_FORWARDED_HOST: 'a.example:', HTTP_X_FORWARDED_PROTO: 'https' },
      { fields: ALL },
      {
        'wsgi.url_scheme': 'https',
        HTTPS: 'on',
        HTTP_HOST: 'a.example',
        SERVER_NAME: 'a.example',
        SERVER_PORT: '443',
      },
    ],
    [
      'host as IPv6 with an empty port',
      { HTTP_X_FORWARDED_HOST: '[::1]:' },
      { fields: ALL },
      { HTTP_HOST: '[::1]', SERVER_NAME: '[::1]', SERVER_PORT: '80' },
    ],
    [
      'port beside a Host with an empty port',
      { HTTP_HOST: 'inner:', HTTP_X_FORWARDED_PORT: '81' },
      { fields: ALL },
      { HTTP_HOST: 'inner:81', SERVER_PORT: '81' },
    ],
    ['no host without a name', { HTTP_X_FORWARDED_HOST: ':' }, { fields: ALL }, {}],
    ['no invalid host', { HTTP_X_FORWARDED_HOST: 'a/b@c' }, { fields: ALL }, {}],
    [
      'port',
      { HTTP_X_FORWARDED_PORT: '81' },
      { fields: ALL },
      { HTTP_HOST: 'inner:81', SERVER_PORT: '81' },
    ],
    ...['8x', '0', '65536', '-1', '0443'].map(
      (port): [string, Partial<Environ>, object, object] => [
        `no invalid port ${port}`,
        { HTTP_X_FORWARDED_PORT: port },
        { fields: ALL },
        {},
      ],
    ),
    [
      'no host with an invalid port',
      { HTTP_X_FORWARDED_HOST: 'a.example:65536' },
      { fields: ALL },
      {},
    ],
    ['prefix', { HTTP_X_FORWARDED_PREFIX: '/a/b/' }, { fields: ALL }, { SCRIPT_NAME: '/a/b' }],
    [
      'prefix in front of SCRIPT_NAME',
      { HTTP_X_FORWARDED_PREFIX: '/a', SCRIPT_NAME: '/b' },
      { fields: ALL },
      { SCRIPT_NAME: '/a/b' },
    ],
    ...['a', '//evil.example', '/a/../b', '/a b', '/a%2f', '/', '/a"'].map(
      (prefix): [string, Partial<Environ>, object, object] => [
        `no prefix ${prefix}`,
        { HTTP_X_FORWARDED_PREFIX: prefix },
        { fields: ALL },
        {},
      ],
    ),
    [
      'Forwarded',
      { HTTP_FORWARDED: 'for=6.6.6.6, For="[2001:db8::1]:47";Proto=https;host="a.example:444"' },
      { forwarded: true, fields: ALL },
      {
        REMOTE_ADDR: '2001:db8::1',
        REMOTE_PORT: undefined,
        'wsgi.url_scheme': 'https',
        HTTPS: 'on',
        HTTP_HOST: 'a.example:444',
        SERVER_NAME: 'a.example',
        SERVER_PORT: '444',
      },
    ],
    [
      'Forwarded of two proxies',
      { HTTP_FORWARDED: 'for=192.0.2.1;proto=https, for=10.0.0.2;proto=http' },
      { forwarded: true, count: 2 },
      {
        REMOTE_ADDR: '192.0.2.1',
        REMOTE_PORT: undefined,
        'wsgi.url_scheme': 'https',
        HTTPS: 'on',
        SERVER_PORT: '443',
      },
    ],
    [
      'no malformed Forwarded',
      { HTTP_FORWARDED: 'for=192.0.2.1;proto="https' },
      { forwarded: true },
      {},
    ],
    [
      'Forwarded after an unterminated string of the client',
      { HTTP_FORWARDED: 'for="6.6.6.6, for=192.0.2.1' },
      { forwarded: true },
      { REMOTE_ADDR: '192.0.2.1', REMOTE_PORT: undefined },
    ],
    [
      'no Forwarded that hides its client',
      { HTTP_FORWARDED: 'for=_hidden' },
      { forwarded: true },
      {},
    ],
    [
      'no X-Forwarded-* if Forwarded is trusted',
      { HTTP_X_FORWARDED_FOR: '192.0.2.1' },
      { forwarded: true },
      {},
    ],
    ['no Forwarded if X-Forwarded-* is trusted', { HTTP_FORWARDED: 'for=192.0.2.1' }, {}, {}],
  ])('%s', (_what, variables, options, changed) => {
    expect(fixed({ SCRIPT_NAME: '', ...variables }, options)).toEqual(changed)
  })
})

it.each<[value: string, hops: object[] | undefined]>([
  ['for=a;by=b, for=c', [{ for: 'a', by: 'b' }, { for: 'c' }]],
  [String.raw`for="a\"b,c;d"`, [{ for: 'a"b,c;d' }]],
  [' for=a ; BY=b', [{ for: 'a', by: 'b' }]],
  ['for', undefined],
  ['for=', undefined],
  ['for="a', undefined],
  ['for=a b', undefined],
  ['for=a,,', [{ for: 'a' }]],
  [', for=a, ,for=b', [{ for: 'a' }, { for: 'b' }]],
  ['for=a;;by=b;', [{ for: 'a', by: 'b' }]],
  [' ;for=a', [{ for: 'a' }]],
  [',;, ', undefined],
  ['', undefined],
  ['for="a, for=c', [{ for: 'c' }]],
  ['for=a, for, for=c', [{ for: 'c' }]],
  [String.raw`for=a\, for="b\\", for=c`, [{ for: 'b\\' }, { for: 'c' }]],
  [String.raw`for=a, host="b,for=c;x=\"d\""`, [{ for: 'a' }, { host: 'b,for=c;x="d"' }]],
])('parseForwarded reads %s', (value, hops) => {
  expect(parseForwarded(value)?.map((hop) => Object.fromEntries(hop))).toEqual(hops)
})

it('parseForwarded takes linear time for any text, and never throws', () => {
  assert(property(string(), (value) => void parseForwarded(value)))
  expect(parseForwarded(`for="${'\\"'.repeat(30_000)}`)).toBeUndefined()
  expect(parseForwarded(`for=${' '.repeat(60_000)}x`)).toBeUndefined()
  expect(parseForwarded('a=b;'.repeat(15_000))).toHaveLength(1)
  expect(parseForwarded('a=b,'.repeat(15_000) + 'a=b')).toHaveLength(15_001)
})

it.each(GATEWAYS)('proxyFix acts over %s', async (gateway) => {
  const response = await through(gateway, proxyFix(whoIsThere, { trusted: ['127.0.0.1'] }), (ask) =>
    ask({ target: '/', headers: [['X-Forwarded-For', '192.0.2.1']] }),
  )
  expect(response.body.toString()).toBe('192.0.2.1')
})

it.each<ProxyFixOptions>([
  { trusted: [] },
  { trusted: ['proxy.example'] },
  { trusted: ['10.0.0.0/33'] },
  { trusted: ['*'] },
  { trusted: ['10.0.0.1'], count: 0 },
  { trusted: ['10.0.0.1'], count: 1.5 },
  { trusted: ['10.0.0.1'], fields: ['for', 'hots'] as unknown as [] },
])('proxyFix refuses the options %j', (options) => {
  expect(() => proxyFix(() => [], options)).toThrow(ConfigurationError)
})
