/** `TestApp`: requests, cookies, redirects, and the messages of failed checks. */
import { Buffer } from 'node:buffer'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigurationError } from '../../src/errors.ts'
import { ApplicationError } from '../../src/errors.ts'
import { FieldStorage } from '../../src/exports/forms.ts'
import { TestApp, type TestSession } from '../../src/exports/testing.ts'
import type { Application, HeaderList } from '../../src/types.ts'
import { gateways, type Served } from '../fixtures/gateways.ts'
import { application } from '../fixtures/test-app-application.ts'
import { buildScript } from '../fixtures/script.ts'

let scratch: string
let script: string
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'portico-test-app-'))
  script = await buildScript(scratch, 'test/fixtures/test-app-application.ts', 'application')
})
afterAll(() => rm(scratch, { recursive: true, force: true }))

/** What every TestApp can do, in process or over a gateway. */
async function useOf(app: TestSession): Promise<void> {
  await app
    .get('/echo?a=%20b')
    .expect(200, 'GET /echo a=%20b  \n')
    .expect('Content-Type', /^text\//)
  await app
    .post('/echo')
    .send('hällo')
    .expect(/^POST \/echo  text\/plain;.* hällo\n$/i)
  await app
    .put('/echo')
    .set('Content-Type', 'a/b')
    .send(Buffer.from('x'))
    .expect(/ a\/b x\n$/)
  await app
    .post('/echo')
    .send({ a: [1] })
    .expect(/ application\/json \{"a":\[1\]\}\n$/)
  await app
    .post('/echo')
    .send(new URLSearchParams({ a: 'b c' }))
    .expect(/ application\/x-www-form-urlencoded;.* a=b\+c\n$/i)
  const head = await app.head('/echo').expect(200)
  expect(head.body.length).toBe(0)

  await app.get('/cookie').expect({ cookie: '' })
  await app
    .get('/cookie/set')
    .expect(303)
    .expect('Location', /\/cookie$/)
  await app.get('/cookie').expect({ cookie: 'a=1' })
  await app.get('/cookie').set('Cookie', 'b=2').expect({ cookie: 'b=2' })
  await app.post('/cookie/set').send('x').redirects(1).expect(200, { cookie: 'a=1' })
  await app.get('/cookie/delete').redirects(1).expect({ cookie: '' })

  await app
    .post('/again')
    .send('kept')
    .redirects(2)
    .expect(/^POST \/echo .* kept\n$/)
  await expect(app.get('/loop').redirects(3)).rejects.toThrow('More than 3 redirects')
  await expect(app.get('/elsewhere').redirects(1)).rejects.toThrow(
    'leads outside the application: http://a.b/',
  )
}

/** A TestCall without its types, as JavaScript calls it. */
type Untyped = Record<'set' | 'redirects' | 'expect', (...args: unknown[]) => unknown>

describe.each(gateways)('TestApp over $name', (gateway) => {
  test.each(['', '/mnt'])(
    "gives the same results as in process, mounted at '%s'",
    async (mount) => {
      const served: Served = await gateway.serve({
        application,
        script,
        directory: scratch,
        mount,
        variables: {},
      })
      try {
        await useOf(TestApp.over(served.client, { mount }))
      } finally {
        await served.close()
      }
    },
  )
})

const upload: Application = async (environ, startResponse) => {
  await using form = await FieldStorage.parse(environ)
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return form.list.map(({ name, filename = '' }) => `${name}:${filename} `)
}

const untyped: Application = (_, startResponse) => {
  startResponse('200 OK', [])
  return ['no type']
}

describe('TestApp in process', () => {
  test.each(['', '/mnt'])("keeps cookies and follows redirects, mounted at '%s'", async (mount) => {
    await useOf(new TestApp(application, { mount }))
  })

  test('sends a form with a file as FormData', async () => {
    const form = new FormData()
    form.set('name', 'Zoë')
    form.set('file', new Blob(['x']), 'a.txt')
    await new TestApp(upload).post('/').send(form).expect(200, 'name: file:a.txt ')
  })

  test('sends a request once, however often it is awaited', async () => {
    let count = 0
    const call = new TestApp((_, startResponse) => {
      startResponse('204 No Content', [])
      count += 1
      return []
    }).get('/')
    expect(count).toBe(0)
    expect((await call).code).toBe(204)
    expect((await call).code).toBe(204)
    expect(count).toBe(1)
    for (const late of [
      () => call.expect(500),
      () => call.set('A', 'b'),
      () => call.send('x'),
      () => call.redirects(1),
    ]) {
      expect(late).toThrow('The request has already been sent')
    }
  })

  // In JavaScript nothing else refuses these; redirects() without a number would never end.
  test.each<[string, (call: Untyped) => unknown, string]>([
    ['set', (call) => call.set('A', 5), 'set: the header A must be a string (got 5)'],
    ['redirects', (call) => call.redirects(), 'redirects: max must be a whole number, 0 or more'],
    ['redirects', (call) => call.redirects(Number.NaN), 'redirects: max must be a whole number'],
    ['redirects', (call) => call.redirects(-1), 'redirects: max must be a whole number'],
    [
      'expect',
      (call) => call.expect('A', 5),
      'expect: the header A must be a string or a regular expression (got 5)',
    ],
  ])('%s refuses an argument of the wrong type', (_name, use, message) => {
    const call = new TestApp(application).get('/') as unknown as Untyped
    expect(() => use(call)).toThrow(ConfigurationError)
    expect(() => use(call)).toThrow(message)
  })

  test.each(['g', 'y', 'gy', ''])(
    'an expression with the flags "%s" matches each time',
    async (flags) => {
      const app = new TestApp((_, startResponse) => {
        startResponse('200 OK', [['Content-Type', 'text/plain']])
        return ['abc']
      })
      const body = new RegExp('abc', flags)
      const type = new RegExp('text', flags)
      for (let i = 0; i < 3; i++) await app.get('/').expect(200, body).expect('Content-Type', type)
    },
  )

  test('puts the given variables and a Host into the environ', async () => {
    const app = new TestApp(
      (environ, startResponse) => {
        startResponse('200 OK', [['Content-Type', 'text/plain']])
        return [`${environ['REMOTE_USER']} ${environ['HTTP_HOST']} ${environ['portico.gateway']}`]
      },
      { variables: { REMOTE_USER: 'ada' }, serverPort: 8080 },
    )
    await app.get('/').expect('ada 127.0.0.1:8080 http')
  })

  test('does not validate a framework’s application', async () => {
    const app = { fetch: (request: Request) => new Response(new URL(request.url).pathname) }
    await new TestApp(app).get('/x').expect(200, '/x')
  })

  test.each([42, null])('rejects %j as an application', async (candidate) => {
    await expect(new TestApp(candidate as unknown as Application).get('/')).rejects.toMatchObject({
      code: 'PORTICO_CONFIGURATION',
    })
  })

  test('shows a violation of the contract in full, and the 500', async () => {
    await expect(new TestApp(untyped).get('/').expect(200)).rejects.toThrow(
      /^status: expected 200, got "500 Internal Server Error"[^]*wsgi\.errors: [^]*Content-Type/,
    )
    await new TestApp(untyped, { validate: false }).get('/').expect(200, 'no type')
  })

  test('rejects an aborted response', async () => {
    const app = new TestApp(function* broken(_, startResponse) {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      yield 'begun'
      throw new Error('on purpose')
    })
    await expect(app.get('/').expect(200)).rejects.toThrow(
      /^The response was aborted\n200 OK\nbegun\nwsgi\.errors: GET \/: Error: on purpose/,
    )
  })
})

describe('The message of a failed check', () => {
  const app = new TestApp((_, startResponse) => {
    startResponse('404 Not Found', [['Content-Type', 'application/json']])
    return ['{"a":1}']
  })
  const END = '\n404 Not Found\n{"a":1}'

  test.each<[string, ReturnType<typeof app.get>, string]>([
    ['status', app.get('/').expect(200), 'status: expected 200, got "404 Not Found"'],
    ['header', app.get('/').expect('X-A', '1'), 'X-A: expected "1", got none'],
    [
      'pattern of a header',
      app.get('/').expect('content-type', /^text/),
      'content-type: expected /^text/, got "application/json"',
    ],
    ['text', app.get('/').expect('x'), String.raw`body: expected "x", got "{\"a\":1}"`],
    ['pattern', app.get('/').expect(404, /x/), String.raw`body: expected /x/, got "{\"a\":1}"`],
    [
      'object',
      app.get('/').expect({ a: 2 }),
      String.raw`body: expected "{\"a\":2}", got "{\"a\":1}"`,
    ],
    [
      'bytes',
      app.get('/').expect(Buffer.from('x')),
      String.raw`body: expected "1 bytes", got "{\"a\":1}"`,
    ],
  ])(
    'of the %s shows the expected value, the actual value and the response',
    async (_, call, message) => {
      await expect(call).rejects.toThrow(new ApplicationError(message + END))
    },
  )

  test('by a function is that of the function’s error', async () => {
    const call = app.get('/').expect((response) => expect(response.header('X-B')).toBe('2'))
    await expect(call).rejects.toThrow(/2/)
  })

  test('does not appear if all checks pass', async () => {
    await app.get('/').expect(404, { a: 1 }).expect('{"a":1}').expect(Buffer.from('{"a":1}'))
  })
})

test.each<[string, HeaderList, string, string]>([
  [
    'two',
    [
      ['Set-Cookie', 'a=1'],
      ['Set-Cookie', 'b=2; HttpOnly'],
    ],
    '/',
    'a=1; b=2',
  ],
  [
    'a cookie that is set again',
    [
      ['Set-Cookie', 'a=1; Path=/'],
      ['Set-Cookie', 'a=2; Path=/'],
    ],
    '/',
    'a=2',
  ],
  ['a cookie of another path', [['Set-Cookie', 'a=1; Path=/b']], '/bc', ''],
  [
    'a cookie with a longer path first',
    [
      ['Set-Cookie', 'a=1'],
      ['Set-Cookie', 'b=2; Path=/b'],
    ],
    '/b/c',
    'b=2; a=1',
  ],
  ['an expired cookie', [['Set-Cookie', 'a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT']], '/', ''],
  [
    'Max-Age before Expires',
    [['Set-Cookie', 'a=1; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT']],
    '/',
    'a=1',
  ],
  [
    'none',
    [
      ['Set-Cookie', 'nonsense'],
      ['Set-Cookie', '=x'],
    ],
    '/',
    '',
  ],
])('TestApp handles cookies: %s', async (_, headers, path, cookie) => {
  const app = new TestApp((environ, startResponse) => {
    const first = environ.PATH_INFO === '/first'
    startResponse('200 OK', [['Content-Type', 'text/plain'], ...(first ? headers : [])])
    return [environ['HTTP_COOKIE'] ?? '']
  })
  await app.get('/first').expect(200)
  await app.get(path).expect(200, cookie)
})
