/**
 * The examples as users run them. The package's `run` makes each program a CGI script, a FastCGI
 * process and an HTTP server, and a TestApp sends requests through the gateway.
 */
import { createHash } from 'node:crypto'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  cgiClient,
  type Client,
  fastcgiClient,
  httpClient,
  TestApp,
  type TestSession,
} from '../../src/exports/testing.ts'
import { makeDirectory, openSocket } from '../servers/process.ts'

let directory: string
beforeAll(async () => {
  directory = await makeDirectory()
})
afterAll(() => rm(directory, { recursive: true, force: true }))

const GATEWAYS = ['cgi', 'fastcgi', 'http'] as const
type Gateway = (typeof GATEWAYS)[number]

const text = 'text/plain; charset=utf-8'
const count = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

const counts = (mine: number, all: number) =>
  `You were here ${mine} times, everyone together ${all} times.\n`

/** @param other another browser at the same program. */
type Check = (app: TestSession, gateway: Gateway, other: TestSession) => Promise<void>

const EXAMPLES: Readonly<Record<string, Check>> = {
  async 'hello.mjs'(app) {
    await app.get('/').expect(200, 'Hello, world!\n').expect('Content-Type', text)
    await app.head('/').expect(200).expect('Content-Length', '14').expect('')
  },
  async 'generator.mjs'(app) {
    const numbers = count(10).toReversed().join('\n')
    await app.get('/').expect(200, `${numbers}\nLift-off!\n`)
  },
  async 'async-generator.mjs'(app) {
    await app.get('/').expect(200, /^(?:\d{4}-\d\d-\d\dT[\d:.]{12}Z\n){10}$/)
  },
  async 'class.mjs'(app, gateway) {
    const { errors } = await app.get('/').expect(200, 'p\no\nr\nt\ni\nc\no\n')
    // Elsewhere the response ends before the body is closed.
    if (gateway === 'cgi') expect(errors).toBe('All letters are delivered.\n')
  },
  async 'write.mjs'(app) {
    const lines = count(10).map((n) => `${n} × ${n} = ${n * n}\n`)
    await app.get('/').expect(200, lines.join(''))
  },
  async 'upload.mjs'(app) {
    const body = Buffer.alloc(300_000, 'x\0\xff')
    const hash = createHash('sha256').update(body).digest('hex')
    await app.put('/').send(body).expect(200, `300000 bytes\nsha256 ${hash}\n`)
  },
  async 'validated.mjs'(app, gateway) {
    await app.get('/').expect(200, 'All is well.\n')
    const { errors } = await app.get('/wrong').expect(500, /^A server error occurred/)
    if (gateway !== 'http') expect(errors).toMatch(/ApplicationError: [^]*Content-Type/)
  },
  async 'guestbook.mjs'(app, gateway) {
    await app.get('/sign').expect(200, /<form method="post">/)
    const signed = new URLSearchParams({ name: `Zoë\n <${gateway}>` })
    await app.post('/sign').send(signed).expect(303)
    await app.post('/sign').send(signed).redirects(1).expect(200)
    await app.get('/').expect(200, new RegExp(`(?:<li>Zoë &lt;${gateway}&gt;\n){2}</ul>`))
    await app
      .post('/sign')
      .send(new URLSearchParams({ name: ' ' }))
      .expect(400, /A name, please/)
    await app.post('/sign').send('x'.repeat(2000)).set('Content-Type', FORM).expect(413)
    await app.get('/constructor').expect(404)
  },
  async 'routes.mjs'(app) {
    await app.get('/notes').expect(200, '1: Buy milk\n')
    await app
      .post('/notes')
      .send('Eat')
      .expect(201, /\/notes\/2\n$/)
    await app.delete('/notes').expect(405).expect('Allow', 'GET, POST')
    await app.get('/').expect(404)
  },
  async 'sign-in.mjs'(app) {
    await app.get('/').expect(200, /name="user"/)
    const form = new URLSearchParams({ user: 'ada', password: 'lovelace' })
    await app
      .post('/')
      .send(form)
      .redirects(1)
      .expect(200, /Hello, ada!/)
    await app
      .post('/')
      .send(new URLSearchParams({ out: '1' }))
      .redirects(1)
      .expect(/name="user"/)
  },
  async 'sandwich.mjs'(app, gateway, other) {
    const page = `/${gateway}`
    await app.get(page).expect(200, counts(1, 1))
    await app.get(page).expect(200, counts(2, 2))
    await other.get(page).expect(200, counts(1, 3))
    // More at once than there are connections, under CGI each in a process of its own.
    const responses = await Promise.all(count(6).map(() => other.get(page).expect(200)))
    const numbers = responses.map((response) => Number(/together (\d+)/.exec(response.text)?.[1]))
    expect(numbers.toSorted((a, b) => a - b)).toEqual([4, 5, 6, 7, 8, 9])
    await app.get(page).expect(200, counts(3, 10))
  },
  async 'echo.mjs'(app) {
    await app.get('/a?b').expect(200, 'GET /a?b\n')
  },
  async 'demo.mjs'(app) {
    const front =
      /<h1>Portico<\/h1>[^]*GET \/\?a=b[^]*portico\.gateway<td>http<td>cgi<td>fastcgi<td>scgi/
    await app.get('/?a=b').expect(200, front)
    await app.get('/base64/encode?mystring=Zo%C3%AB').expect(200, /Wm\/Dqw==/)
    await app
      .post('/form')
      .send(new URLSearchParams({ name: 'Zoë' }))
      .expect(200, /Hello, Zoë!/)
    await app.get('/environ').expect(200, /SCRIPT_NAME/)
    await app.get('/hello').expect(200, 'Hello, world!\n')
  },
}

const FORM = 'application/x-www-form-urlencoded'

/** Other tests run these, with the packages that they need. */
const ELSEWHERE = ['express.mjs', 'fastify.mjs', 'hono.mjs', 'koa.mjs', 'opentelemetry.mjs']

test('Some test runs every example', async () => {
  const names = (await readdir('examples')).filter((name) => name.endsWith('.mjs'))
  expect(names).toEqual(expect.arrayContaining(Object.keys(EXAMPLES)))
  const others = names.filter((name) => !(name in EXAMPLES))
  const suites = await Promise.all(
    ['test/bridge', 'test/middleware'].map(async (tests) => {
      const files = await readdir(tests)
      return Promise.all(files.map((file) => readFile(join(tests, file), 'utf8')))
    }),
  )
  const sources = suites.flat().join('\n')
  expect(others.filter((name) => !sources.includes(name.replace('.mjs', '')))).toEqual([])
  expect(others).toEqual(expect.arrayContaining(ELSEWHERE))
})

interface Running {
  readonly client: Client
  stop(): Promise<void>
}

function start(script: string, env: Record<string, string>): ChildProcess {
  return spawn(process.execPath, [script], { env, stdio: ['ignore', 'ignore', 'pipe'] })
}

async function stop(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  expect(await exited).toEqual([0, null])
}

async function serve(name: string, gateway: Gateway): Promise<Running> {
  const script = resolve('examples', name)
  const secret = 'x'.repeat(32)
  const env = {
    GUESTBOOK: join(directory, `guests-${gateway}`),
    VISITS: join(directory, 'visits.db'),
    SESSION_SECRET: secret,
  }
  if (gateway === 'cgi') {
    const command: [string, string] = [process.execPath, script]
    const client = cgiClient({ command, scriptFilename: script, variables: env })
    return { client, stop: () => client.close() }
  }
  if (gateway === 'http') {
    const child = start(script, { ...env, PORTICO_LISTEN: '127.0.0.1:0' })
    const [line] = (await once(createInterface(child.stderr!), 'line')) as [string]
    const port = Number(/:(\d+)\/$/.exec(line)?.[1])
    return { client: httpClient({ port }), stop: () => stop(child) }
  }
  const path = join(directory, `${name}.sock`)
  const child = start(script, {
    ...env,
    PORTICO_GATEWAY: 'fastcgi',
    PORTICO_LISTEN: `unix:${path}`,
  })
  child.stderr?.resume()
  try {
    const opened = () =>
      openSocket(path).then(
        () => true,
        () => false,
      )
    await expect.poll(opened).toBe(true)
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
  return { client: fastcgiClient({ path }), stop: () => stop(child) }
}

describe.each(GATEWAYS)('Over %s, examples/', (gateway) => {
  test.each(Object.keys(EXAMPLES))('%s gives the response that it describes', async (name) => {
    const running = await serve(name, gateway)
    try {
      const [app, other] = [TestApp.over(running.client), TestApp.over(running.client)]
      await EXAMPLES[name]!(app, gateway, other)
    } finally {
      await running.stop()
    }
  })
})

test('examples/sandwich.mjs lets processes of all gateways count in one database at once', async () => {
  const running: Running[] = []
  try {
    for (const gateway of GATEWAYS) running.push(await serve('sandwich.mjs', gateway))
    let cookie = ''
    for (let n = 1; n <= 6; n += 1) {
      const app = TestApp.over(running[n % running.length]!.client)
      const response = await app.get('/all').set('Cookie', cookie).expect(200, counts(n, n))
      cookie = response.header('Set-Cookie')!.split(';')[0]!
    }
  } finally {
    for (const program of running) await program.stop()
  }
})

test.each([
  ['sign-in.mjs', new URLSearchParams({ user: 'ada', password: 'lovelace' }), '/'],
  ['routes.mjs', 'Eat', '/notes/2'],
])('examples/%s redirects correctly below any mount point', async (name, body, end) => {
  const script = resolve('examples', name)
  const client = cgiClient({
    command: [process.execPath, script],
    variables: { SCRIPT_NAME: '/caf\xc3\xa9', PATH_INFO: '/notes' },
  })
  const app = TestApp.over(client)
  await app.post('/notes').send(body).expect('Location', `/caf%C3%A9${end}`)
})
