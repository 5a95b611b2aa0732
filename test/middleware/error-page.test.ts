/** `errorPage`: what is shown, and above all to whom it is not. */
import { afterEach, describe, expect, it, vi } from 'vitest'
import { PeerError } from '../../src/errors.ts'
import { errorPage } from '../../src/exports/middleware.ts'
import type { Application, HeaderList } from '../../src/types.ts'
import { OK } from '../validate/harness.ts'
import { GATEWAYS, runCgi, through, valueOf } from './gateways.ts'

const failure = new Error('<b>so it is</b>\x1b[31m')
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
    'fails behind its head',
    async function* (_environ, startResponse) {
      startResponse(OK, [['Content-Length', '3']])
      yield await Promise.reject(failure)
    },
  ],
]

describe.each(GATEWAYS)('behind %s', (gateway) => {
  it.each(applications)('shows the error of an application that %s', async (_what, app) => {
    vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    const page = errorPage(app, development)
    const answer = await through(gateway, page, (ask) => ask({ target: '/a?b', headers: HTML }))
    vi.restoreAllMocks()
    expect(answer.status).toBe('500 Internal Server Error')
    expect(valueOf(answer, 'Content-Type')).toBe('text/html; charset=utf-8')
    expect(valueOf(answer, 'Cache-Control')).toBe('no-store')
    const text = answer.body.toString()
    expect(text).toContain('<h1>Error: &lt;b&gt;so it is&lt;/b&gt;\\x1b[31m</h1>')
    expect(text).toContain('error-page.test.ts')
    expect(text).toContain('<tr><th>QUERY_STRING</th><td>b</td></tr>')
    expect(text.endsWith('</html>\n')).toBe(true)
    expect(answer.broken).toBe(false)
  })
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
])('sends to a client that accepts %s %s (fact 185)', async (accept, type) => {
  const answer = await runCgi(errorPage(failing, development), '/', { HTTP_ACCEPT: accept })
  expect(valueOf(answer, 'Content-Type')).toBe(`${type}; charset=utf-8`)
  expect(answer.body.includes('<b>so')).toBe(type === 'text/plain')
})

it.each<
  [what: string, options: object, variables: Record<string, string | undefined>, shown: boolean]
>([
  ['on this machine', development, {}, true],
  ['on this machine by IPv6', development, { REMOTE_ADDR: '::1' }, true],
  [
    'on this machine, seen by a socket for both',
    development,
    { REMOTE_ADDR: '::ffff:127.0.0.5' },
    true,
  ],
  ['elsewhere', development, { REMOTE_ADDR: '192.0.2.1' }, false],
  ['that begins like this machine', development, { REMOTE_ADDR: '127.0.0.1.example.com' }, false],
  ['without an address', development, { REMOTE_ADDR: undefined }, false],
  ['behind a proxy', development, { HTTP_X_FORWARDED_FOR: '127.0.0.1' }, false],
  ['behind a proxy that says Forwarded', development, { HTTP_FORWARDED: 'for=127.0.0.1' }, false],
  ['behind a proxy that says Via', development, { HTTP_VIA: '1.1 x' }, false],
  ['of a server in production', { development: false }, {}, false],
  ['of a server that says nothing', {}, {}, false],
])('to a client %s', async (_what, options, variables, shown) => {
  vi.stubEnv('NODE_ENV', '')
  const answer = await runCgi(errorPage(failing, options), '/', variables)
  expect(answer.body.includes('so it is')).toBe(shown)
  if (!shown) expect(answer.body.toString()).toBe(FIXED)
  // It is written down in any case, once, and drives no terminal.
  expect(answer.errors.match(/so it is/g)).toHaveLength(1)
})

it('is on where NODE_ENV says development', async () => {
  vi.stubEnv('NODE_ENV', 'development')
  const answer = await runCgi(errorPage(failing), '/')
  expect(answer.body.toString()).toContain('so it is')
  expect(answer.errors).not.toContain('\x1b')
})

it('hides what gives access', async () => {
  const variables = {
    HTTP_COOKIE: 'hush1',
    HTTP_AUTHORIZATION: 'hush2',
    API_TOKEN: 'hush3',
    REDIRECT_HTTP_AUTHORIZATION: 'hush4',
    HTTP_X_SHOWN: '<i>',
  }
  const answer = await runCgi(
    errorPage(failing, development),
    { target: '/', headers: HTML },
    variables,
  )
  expect(answer.body.toString()).not.toContain('hush')
  expect(answer.body.toString()).toContain('&lt;i&gt;')
})

it('leaves the faults of the peer to the handler', async () => {
  const app = errorPage(() => {
    throw new PeerError('PORTICO_TOO_LARGE', 'too large', '413 Content Too Large')
  }, development)
  expect((await runCgi(app, '/')).status).toBe('413 Content Too Large')
})

it('breaks an answer off whose head has gone', async () => {
  const app = errorPage(function* (_environ, startResponse) {
    startResponse(OK, [['Content-Length', '9']])
    yield 'abc'
    throw failure
  }, development)
  const answer = await runCgi(app, '/')
  expect([answer.status, answer.body.toString(), answer.broken]).toEqual([OK, 'abc', true])
  expect(answer.errors.match(/so it is/g)).toHaveLength(1)
})

it.each([['a string'], [undefined], [null], [{ toString: 1 }]])(
  'shows %s, thrown',
  async (thrown) => {
    const app = errorPage(() => {
      throw thrown as unknown
    }, development)
    const answer = await runCgi(app, '/')
    expect([answer.status, valueOf(answer, 'Content-Type')]).toEqual([
      '500 Internal Server Error',
      'text/plain; charset=utf-8',
    ])
  },
)
