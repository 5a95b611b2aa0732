/**
 * Portico compared with Python's own wsgiref: the output of both handlers for the same application and
 * request, byte for byte. For each intended difference, a row of DIFFERENCES gives the reason and
 * converts Python's bytes into the expected ones.
 */
import { Buffer } from 'node:buffer'
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { BaseCGIHandler, SimpleHandler } from '../../handlers/simple.ts'
import { ErrorLog } from '../../src/request/error-log.ts'
import { demoApp, makeServer } from '../../src/exports/wsgiref.ts'
import { bytesSource, Input } from '../../src/request/input.ts'
import type { Application } from '../../src/types.ts'
import { application, applications } from '../fixtures/wsgiref-applications.ts'
import { buildScript } from '../fixtures/script.ts'
import { installed } from '../servers/process.ts'
import { request as runScript } from '../support/cgi.ts'

const PYTHON = join(import.meta.dirname, '../fixtures/python_side.py')
const { available, hint } = installed('python3')

interface Request {
  readonly name: string
  readonly environ: Readonly<Record<string, string>>
  readonly body?: string
}

const GET = {
  GATEWAY_INTERFACE: 'CGI/1.1',
  REQUEST_METHOD: 'GET',
  SCRIPT_NAME: '',
  PATH_INFO: '/',
  QUERY_STRING: '',
  SERVER_NAME: 'localhost',
  SERVER_PORT: '80',
  SERVER_PROTOCOL: 'HTTP/1.1',
}

const POST = { ...GET, REQUEST_METHOD: 'POST', CONTENT_LENGTH: '11' }

const REQUESTS: readonly Request[] = [
  { name: 'GET', environ: GET },
  { name: 'GET by HTTP/1.0', environ: { ...GET, SERVER_PROTOCOL: 'HTTP/1.0' } },
  { name: 'GET by HTTP/0.9', environ: { ...GET, SERVER_PROTOCOL: 'HTTP/0.9' } },
  {
    name: 'GET of a path below a mount point, over HTTPS',
    environ: {
      ...GET,
      SCRIPT_NAME: '/app',
      PATH_INFO: '/caf\xe9//x',
      QUERY_STRING: 'a=%20&b',
      HTTP_X_BYTES: '\xff',
      HTTPS: 'on',
    },
  },
  { name: 'HEAD', environ: { ...GET, REQUEST_METHOD: 'HEAD' } },
  { name: 'POST', environ: POST, body: 'hello\nworld' },
]

interface Output {
  readonly output: string
  /** How often the body was closed. */
  readonly closed: number
}

interface Case extends Request {
  readonly handler: string
  readonly app: string
  /** The value of the Server header, if any. */
  readonly software?: string
}

/** A parsed response, so that a difference can be described in its terms. */
interface Parts {
  head: string[]
  body: string
  closed: number
}

interface Difference {
  readonly reason: string
  applies(given: Case, parts: Parts): boolean
  /** Changes Python's response to the one that is expected of Portico. */
  change(parts: Parts, given: Case): void
}

const isHead = ({ environ }: Request) => environ['REQUEST_METHOD'] === 'HEAD'
const withoutLength = (head: string[]) => head.filter((line) => !/^content-length:/i.test(line))

const DIFFERENCES: readonly Difference[] = [
  {
    reason: 'an array of several chunks also has a length, on which an HTTP client can rely',
    applies: ({ app }) => /^(?:two chunks|an empty chunk and another)$/.test(app),
    change: ({ head, body }) => void head.push(`Content-Length: ${body.length}`),
  },
  {
    reason: 'a 204 has neither body nor Content-Length (RFC 9110, section 8.6)',
    applies: ({ app }) => app === '204',
    change: (parts) => (parts.head = withoutLength(parts.head)),
  },
  {
    reason: 'Content-Length: 0 of a 304 would say that the page is empty (RFC 9110, section 8.6)',
    applies: ({ app }) => app === '304',
    change: (parts) => (parts.head = withoutLength(parts.head)),
  },
  {
    reason:
      'what is over Content-Length would be read as the next response (RFC 9112, section 6.3)',
    applies: ({ app }) => app === 'more than its length',
    change: (parts) => (parts.body = parts.body.slice(0, 2)),
  },
  {
    reason: 'an empty body for HEAD does not mean an empty page, so no length is added',
    applies: (given, { body }) => isHead(given) && body === '' && given.app !== '204',
    change: (parts, { app }) => {
      if (!app.startsWith('a length')) parts.head = withoutLength(parts.head)
    },
  },
  {
    reason: 'a response to HEAD has no body (RFC 9110, section 9.3.2)',
    applies: (given, { body }) => isHead(given) && body !== '',
    change: (parts) => (parts.body = ''),
  },
]

const END = '\r\n\r\n'

/** Python's response, and the response that is expected of Portico. */
function expected(python: Output, given: Case, used: Set<Difference>): Output {
  // A client of HTTP/0.9 gets no head from an origin server.
  const bare = given.environ['SERVER_PROTOCOL'] === 'HTTP/0.9' && given.handler === 'SimpleHandler'
  const [head = '', ...rest] = (bare ? `\r\n\r\n${python.output}` : python.output).split(END)
  const parts: Parts = {
    head: head.split('\r\n'),
    body: rest.join(END),
    closed: python.closed,
  }
  for (const difference of DIFFERENCES) {
    if (!difference.applies(given, parts)) continue
    used.add(difference)
    difference.change(parts, given)
  }
  const sent = bare ? '' : parts.head.join('\r\n') + END
  return { output: sent + parts.body, closed: parts.closed }
}

/** The time of a response, which must have the right form and changes each time. */
function withoutTime(text: string): string {
  return text.replace(/^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r$/gm, 'Date: now\r')
}

function askPython(cases: readonly Case[]): Output[] {
  const input = cases.map(({ app, environ, ...rest }) => ({
    body: '',
    ...rest,
    environ: { ...environ, HTTP_APPLICATION: app },
  }))
  const { stdout, stderr } = spawnSync('python3', [PYTHON], {
    input: JSON.stringify(input),
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
  })
  if (stdout === '') throw new Error(stderr)
  return JSON.parse(stdout) as Output[]
}

async function askPortico(given: Case, asked: Application = application): Promise<Output> {
  const { handler, app, environ, body = '', software } = given
  let output = ''
  let errors = ''
  const Handler = handler === 'SimpleHandler' ? SimpleHandler : BaseCGIHandler
  const made = new Handler(
    new Input(bytesSource(Buffer.from(body, 'latin1'))),
    { write: (bytes) => void (output += bytes.toString('latin1')) },
    new ErrorLog((text) => (errors += text)),
    { ...environ, HTTP_APPLICATION: app },
  )
  made.serverSoftware = software || null
  await made.run(asked)
  return { output, closed: errors.split('closed\n').length - 1 }
}

const names = Object.keys(applications)

const HANDLERS = [
  { handler: 'BaseCGIHandler', software: '' },
  { handler: 'SimpleHandler', software: '' },
  { handler: 'SimpleHandler', software: 'Thing/1' },
]

describe.skipIf(!available)(`The output of Portico and wsgiref${hint}`, () => {
  const used = new Set<Difference>()

  test.each(HANDLERS)(
    'is the same from $handler for each application and request, as $software',
    async (how) => {
      const cases = names.flatMap((app) => REQUESTS.map((request) => ({ ...request, ...how, app })))
      const outputs = askPython(cases)
      for (const [i, given] of cases.entries()) {
        const { output, closed } = await askPortico(given)
        const wanted = expected(outputs[i]!, given, used)
        const where = `${given.app}, ${given.name}`
        expect([where, withoutTime(output), closed]).toEqual([
          where,
          withoutTime(wanted.output),
          wanted.closed,
        ])
      }
    },
  )

  test.each(DIFFERENCES)('differs intentionally: $reason', (difference) => {
    expect(used).toContain(difference)
  })
})

/** Keys that the two languages show differently, or that only one has. wsgi.url_scheme is text. */
const OBJECTS = /^(?:portico\.\w+|wsgi\.(?!url_scheme)\w+) = .*\n/gm

describe.skipIf(!available)(`demoApp()${hint}`, () => {
  const odd = {
    // Portico refuses a header with a line break.
    X_BYTES: Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1)).join(''),
    HTTP_X_SINGLE: "it's",
    HTTP_X_DOUBLE: '"so"',
    HTTP_X_BOTH: `it's "so"`,
    HTTP_X_TICKS: `it's "so" \`there\``,
    HTTP_X_BACKSLASH: '\\n',
    HTTP_X_EMPTY: '',
  }
  const requests = [...REQUESTS, { name: 'a GET of odd text', environ: { ...GET, ...odd } }]

  test.each(requests)('prints the same as demo_app for $name', async ({ environ, ...request }) => {
    const given = { ...request, environ, handler: 'BaseCGIHandler', app: 'demo_app' }
    const [python] = askPython([given])
    const [theirs, ours] = [python!, await askPortico(given, demoApp)].map(({ output }) => {
      const [head = '', ...body] = output.split(END)
      return [head.replace(/\d+$/, 'N'), body.join(END).replaceAll(OBJECTS, '')]
    })
    expect(ours![0]).toBe(
      'Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: N',
    )
    if (environ['REQUEST_METHOD'] === 'HEAD') theirs![1] = ''
    expect(ours).toEqual(theirs)
  })

  test.each([
    ['wsgi.version', '(1, 0)', '[ 1, 0 ]'],
    ['wsgi.multithread', 'True', 'false'],
    ['wsgi.multiprocess', 'False', 'false'],
    ['wsgi.run_once', 'False', 'false'],
  ])('shows %s, there %s, as %s', async (key, there, here) => {
    const given = { name: 'GET', environ: GET, handler: 'BaseCGIHandler', app: 'demo_app' }
    const [python] = askPython([given])
    const { output } = await askPortico(given, demoApp)
    expect(python!.output).toContain(`\n${key} = ${there}\n`)
    expect(output).toContain(`\n${key} = ${here}\n`)
  })
})

describe.skipIf(!available)(`CGIHandler prints the same as in wsgiref${hint}`, () => {
  let directory: string
  let script: string
  let iisScript: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'portico-wsgiref-'))
    script = await buildScript(directory, 'test/fixtures/wsgiref-applications.ts', 'application')
    iisScript = join(directory, 'iis.cgi')
    const code = await readFile(script, 'utf8')
    await writeFile(iisScript, code.replaceAll('CGIHandler', 'IISCGIHandler'))
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  test.each([
    ['GET', names],
    ['HEAD', ['one chunk', 'nothing', 'a generator']],
    ['POST', ['the request', 'the environ']],
    ['GET of a path below a mount point, over HTTPS', ['the environ']],
  ])('for a %s', async (name, apps) => {
    const request = REQUESTS.find((one) => one.name === name)!
    const environ = withoutBytes(request.environ)
    const cases = apps.map((app) => ({ ...request, environ, app, handler: 'CGIHandler' }))
    const outputs = askPython(cases)
    for (const [i, given] of cases.entries()) {
      const { app, body = '' } = given
      const env = { ...environ, HTTP_APPLICATION: app }
      const { stdout, stderr } = await runScript(script, { env, body })
      const wanted = expected(outputs[i]!, given, new Set())
      expect([app, stdout, stderr.split('closed\n').length - 1]).toEqual([
        app,
        wanted.output,
        wanted.closed,
      ])
    }
  })

  test.each([
    ['/app/x.cgi', '/app/x.cgi/a'],
    ['/app/x.cgi', '/app/x.cgi'],
    ['/app/x.cgi', '/app/x.cgi2'],
    ['', '/a'],
  ])('with IISCGIHandler, mounted at %j, for %j', async (SCRIPT_NAME, PATH_INFO) => {
    const environ = { ...GET, SCRIPT_NAME, PATH_INFO }
    const given = { name: 'GET', environ, app: 'the environ', handler: 'IISCGIHandler' }
    const [received] = askPython([given])
    const env = { ...environ, HTTP_APPLICATION: given.app }
    const { stdout } = await runScript(iisScript, { env })
    expect(stdout).toBe(received!.output)
  })
})

/** Node encodes the environment of a child as text. The tests of CGI cover other bytes. */
function withoutBytes(environ: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(environ).filter(([, value]) => !/[^ -~]/.test(value)))
}

/** Over sockets these differ for every response. */
const SERVER_DIFFERENCES: readonly [reason: string, from: RegExp, to: string][] = [
  ['the server speaks HTTP/1.1', /^HTTP\/1\.0 /, 'HTTP/1.1 '],
  ['each says its own name', /^Server: WSGIServer\/.*$/m, 'Server: Portico'],
  ['the end of the connection is announced', /\r\n\r\n/, '\r\nConnection: close\r\n\r\n'],
]

async function ask(to: number, text: string): Promise<string> {
  const socket = connect(to, '127.0.0.1')
  let received = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => (received += chunk))
  socket.write(text, 'latin1')
  await once(socket, 'close')
  return received
}

describe.skipIf(!available)(`makeServer() sends the same as simple_server${hint}`, () => {
  let python: ChildProcess
  let pythonPort: number
  const server = makeServer('127.0.0.1', 0, application, { validate: false })
  let port: number

  beforeAll(async () => {
    vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    const child = spawn('python3', [PYTHON, 'serve'], { stdio: ['pipe', 'pipe', 'inherit'] })
    python = child
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
    pythonPort = Number(line)
    const address = await server.start()
    port = address.kind === 'tcp' ? address.port : 0
  })
  afterAll(async () => {
    python?.stdin?.end()
    await server.close()
    vi.restoreAllMocks()
  })

  const requests = REQUESTS.filter(({ name }) => /^(?:GET|HEAD|POST)$/.test(name))

  test.each(requests)('for a $name', async (request) => {
    for (const app of names) {
      const { environ, body = '' } = request
      const length = body === '' ? '' : `Content-Length: ${body.length}\r\n`
      const text =
        `${environ['REQUEST_METHOD']} /a%20b?c HTTP/1.0\r\nHost: localhost\r\n` +
        `Application: ${app}\r\nX-Bytes: \xe9\r\n${length}\r\n${body}`
      const given = { ...request, app, handler: 'HTTPRequestHandler' }
      let { output } = expected(
        { output: await ask(pythonPort, text), closed: 0 },
        given,
        new Set(),
      )
      for (const [, from, to] of SERVER_DIFFERENCES) output = output.replace(from, to)
      const ours = await ask(port, text)
      expect([app, withoutTime(ours)]).toEqual([app, withoutTime(output)])
    }
  })
})
