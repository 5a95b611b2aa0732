/** `errorPage`: what it shows, and to whom it must not show it. */
import { afterEach, describe, expect, it, vi } from 'vitest'
import { PeerError } from '../../src/errors.ts'
import { errorPage } from '../../src/exports/middleware.ts'
import type { Application, HeaderList } from '../../src/types.ts'
import { OK } from '../validate/harness.ts'
import { GATEWAYS, runCgi, through, valueOf } from './gateways.ts'

const failure = new Error('<b>broken</b>\x1b[31m')
const failing: Application = () => {
  throw failure
}
const FIXED = 'A server error occurred.  Please contact the administrator.'
const HTML: HeaderList = [['Accept', 'text/html,application/xhtml+xml;q=0.9,*/*;q=0.8']]
const development = { development: true }

afterEach(() => vi.unstubAllEnvs())

const applications: [what: string, app: Application][] = [
  ['throws', failing],
  ['rejects', () => Promise.reject(failure)],
  [
    'fails at its first step',
    async function* () {
      yield await Promise.reject(failure)
    },
  ],
  [
    'fails after its head',
    async function* (_environ, startResponse) {
      startResponse(OK, [['Content-Length', '3']])
      yield await Promise.reject(failure)
    },
  ],
]

describe.each(GATEWAYS)('over %s', (gateway) => {
  it.each(applications)(
    'errorPage shows the error of an application that %s',
    async (_what, app) => {
      vi.spyOn(process.stderr, 'write').mockReturnValue(true)
      const page = errorPage(app, development)
      const response = await through(gateway, page, (ask) => ask({ target: '/a?b', headers: HTML }))
      vi.restoreAllMocks()
      expect(response.status).toBe('500 Internal Server Error')
      expect(valueOf(response, 'Content-Type')).toBe('text/html; charset=utf-8')
      expect(valueOf(response, 'Cache-Control')).toBe('no-store')
      const text = response.body.toString()
      expect(text).toContain('<h1>Error: &lt;b&gt;broken&lt;/b&gt;\\x1b[31m</h1>')
      expect(text).toContain('error-page.test.ts')
      expect(text).toContain('<tr><th>QUERY_STRING</th><td>b</td></tr>')
      expect(text.endsWith('</html>\n')).toBe(true)
      expect(response.broken).toBe(false)
    },
  )
})

it.each<[accept: string | undefined, type: string]>([
  ['text/html', 'text/html'],
  ['application/json, TEXT/HTML;q=0.5', 'text/html'],
  ['text/html;q=0', 'text/plain'],
  ['text/html; q=0.000', 'text/plain'],
  ['text/html; q=0.001', 'text/html'],
  ['*/*', 'text/plain'],
  ['application/json', 'text/plain'],
  [undefined, 'text/plain'],
])('errorPage sends to a client that accepts %s the type %s', async (accept, type) => {
  const response = await runCgi(errorPage(failing, development), '/', { HTTP_ACCEPT: accept })
  expect(valueOf(response, 'Content-Type')).toBe(`${type}; charset=utf-8`)
  expect(response.body.includes('<b>broken')).toBe(type === 'text/plain')
})

it.each<
  [what: string, options: object, variables: Record<string, string | undefined>, shown: boolean]
>([
  ['on this machine', development, {}, true],
  ['on this machine by IPv6', development, { REMOTE_ADDR: '::1' }, true],
  [
    'on this machine, on a dual-stack socket',
    development,
    { REMOTE_ADDR: '::ffff:127.0.0.5' },
    true,
  ],
  ['elsewhere', development, { REMOTE_ADDR: '192.0.2.1' }, false],
  ['that begins like this machine', development, { REMOTE_ADDR: '127.0.0.1.example.com' }, false],
  ['without an address', development, { REMOTE_ADDR: undefined }, false],
  ['behind a proxy', development, { HTTP_X_FORWARDED_FOR: '127.0.0.1' }, false],
  ['behind a proxy that sends Forwarded', development, { HTTP_FORWARDED: 'for=127.0.0.1' }, false],
  ['behind a proxy that sends Via', development, { HTTP_VIA: '1.1 x' }, false],
  ['for localhost', development, { HTTP_HOST: 'localhost:8000' }, true],
  ['for a name below localhost', development, { HTTP_HOST: 'app.localhost' }, true],
  ['for 127.0.0.1', development, { HTTP_HOST: '127.0.0.1:8000' }, true],
  ['for [::1]', development, { HTTP_HOST: '[::1]:8000' }, true],
  ['for a public name', development, { HTTP_HOST: 'evil.example' }, false],
  ['for a name like localhost', development, { HTTP_HOST: 'localhost.evil.example' }, false],
  ['that speaks HTTP/1.0', development, { SERVER_PROTOCOL: 'HTTP/1.0' }, false],
  ['behind a proxy with X-Forwarded-Proto', development, { HTTP_X_FORWARDED_PROTO: 'http' }, false],
  ['behind a proxy with X-Real-IP', development, { HTTP_X_REAL_IP: '1.2.3.4' }, false],
  ['of Cloudflare', development, { HTTP_CF_CONNECTING_IP: '1.2.3.4' }, false],
  ['of a server in production', { development: false }, {}, false],
  ['of a server without NODE_ENV', {}, {}, false],
])(
  'errorPage decides whether to show errors to a client %s',
  async (_what, options, variables, shown) => {
    vi.stubEnv('NODE_ENV', '')
    const response = await runCgi(errorPage(failing, options), '/', variables)
    expect(response.body.includes('broken')).toBe(shown)
    if (!shown) expect(response.body.toString()).toBe(FIXED)
    // It is logged in any case, once.
    expect(response.errors.match(/broken/g)).toHaveLength(1)
  },
)

it('errorPage is on if NODE_ENV is development', async () => {
  vi.stubEnv('NODE_ENV', 'development')
  const response = await runCgi(errorPage(failing), '/')
  expect(response.body.toString()).toContain('broken')
  expect(response.errors).not.toContain('\x1b')
})

it('errorPage hides secrets', async () => {
  const variables = {
    HTTP_COOKIE: 'hush1',
    HTTP_AUTHORIZATION: 'hush2',
    API_TOKEN: 'hush3',
    REDIRECT_HTTP_AUTHORIZATION: 'hush4',
    HTTP_X_SHOWN: '<i>',
  }
  const response = await runCgi(
    errorPage(failing, development),
    { target: '/', headers: HTML },
    variables,
  )
  expect(response.body.toString()).not.toContain('hush')
  expect(response.body.toString()).toContain('&lt;i&gt;')
})

it('errorPage leaves errors of the peer to the handler', async () => {
  const app = errorPage(() => {
    throw new PeerError('PORTICO_TOO_LARGE', 'too large', '413 Content Too Large')
  }, development)
  expect((await runCgi(app, '/')).status).toBe('413 Content Too Large')
})

it('errorPage aborts a response whose head has been sent', async () => {
  const app = errorPage(function* (_environ, startResponse) {
    startResponse(OK, [['Content-Length', '9']])
    yield 'abc'
    throw failure
  }, development)
  const response = await runCgi(app, '/')
  expect([response.status, response.body.toString(), response.broken]).toEqual([OK, 'abc', true])
  expect(response.errors.match(/broken/g)).toHaveLength(1)
})

it.each([['a string'], [undefined], [null], [{ toString: 1 }]])(
  'errorPage shows a thrown %s',
  async (thrown) => {
    const app = errorPage(() => {
      throw thrown as unknown
    }, development)
    const response = await runCgi(app, '/')
    expect([response.status, valueOf(response, 'Content-Type')]).toEqual([
      '500 Internal Server Error',
      'text/plain; charset=utf-8',
    ])
  },
)
