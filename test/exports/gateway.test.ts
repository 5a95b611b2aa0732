/** `portico/gateway`: examples/uwsgi.ts, a gateway outside the package, is compiled and run. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, copyFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Client,
  cgiVariables,
  httpRequest,
  parseCgiResponse,
  runRow,
  suite,
  type TestRequest,
} from '../../src/exports/testing.ts'
import { BROKEN_WITHOUT_LENGTH } from '../fixtures/gateways.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed, openSocket, type WebServer } from '../servers/process.ts'
import { compileConsumer, makeConsumer } from '../support/consumer.ts'

const PROGRAM = `
import { suiteApplication } from 'portico/testing'
import { UwsgiHandler } from './uwsgi.ts'

const server = await new UwsgiHandler({ listen: process.env['LISTEN'] ?? '' }).run(suiteApplication)
process.on('SIGTERM', () => void server.close())
`

let directory: string
let socket: string
let server: ChildProcess
let log = ''

beforeAll(async () => {
  directory = await makeConsumer()
  await copyFile('examples/uwsgi.ts', join(directory, 'uwsgi.ts'))
  await writeFile(join(directory, 'program.ts'), PROGRAM)
  expect(await compileConsumer(directory)).toBe('')
  socket = join(directory, 'app.sock')
  server = spawn(process.execPath, ['out/program.js'], {
    cwd: directory,
    env: { LISTEN: `unix:${socket}` },
    stdio: ['ignore', 'inherit', 'pipe'],
  })
  server.stderr!.on('data', (text: Buffer) => (log += text.toString()))
  const listening = () =>
    access(socket).then(
      () => true,
      () => false,
    )
  while (!(await listening())) {
    if (server.exitCode !== null) throw new Error(log)
    await sleep(20)
  }
  await openSocket(socket)
})

afterAll(async () => {
  const exited = once(server, 'exit')
  server.kill('SIGTERM')
  expect(await exited).toEqual([0, null])
  await rm(directory, { recursive: true, force: true })
})

/** The packet of a request (https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html). */
function packet(variables: readonly (readonly [name: string, value: string])[]): Buffer {
  const parts = variables.flat().flatMap((text) => {
    const bytes = Buffer.from(text, 'latin1')
    const size = Buffer.alloc(2)
    size.writeUInt16LE(bytes.length)
    return [size, bytes]
  })
  const header = Buffer.alloc(4)
  header.writeUInt16LE(Buffer.concat(parts).length, 1)
  return Buffer.concat([header, ...parts])
}

async function send(request: TestRequest, mount: string): Promise<Buffer> {
  const connection = connect(socket)
  connection.on('error', () => {})
  connection.write(packet(cgiVariables(request, { mount, serverName: '127.0.0.1' })))
  if (request.body !== undefined && request.body.length > 0) connection.write(request.body)
  const chunks: Buffer[] = []
  connection.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(connection, 'close')
  return Buffer.concat(chunks)
}

function uwsgiClient(mount: string): Client {
  return {
    async request(request) {
      const { status, headers, body } = parseCgiResponse(await send(request, mount))
      const length = headers.find(([name]) => name.toLowerCase() === 'content-length')?.[1]
      const bodiless = request.method === 'HEAD' || /^(?:1|204|304)/.test(status)
      const broken = !bodiless && length !== undefined && body.length < Number(length)
      return { status, headers, body, broken }
    },
    close: () => Promise.resolve(),
  }
}

describe.each(['', '/mnt'])("examples/uwsgi.ts mounted at '%s'", (mount) => {
  const mountPoint = { mount, gateway: 'uwsgi', serverName: '127.0.0.1', serverPort: 80 }

  test.each(suite.map((row) => [row.name, row] as const))(
    'examples/uwsgi.ts passes the row: %s',
    async (name, row) => {
      // A Unix socket has no reset, so nothing says that a response without a length is incomplete.
      const expected = BROKEN_WITHOUT_LENGTH.some((beginning) => name.startsWith(beginning))
        ? { broken: null }
        : {}
      expect(await runRow(row, uwsgiClient(mount), mountPoint, { expect: expected })).toEqual([])
    },
  )
})

test('examples/uwsgi.ts closes a connection that speaks another protocol', async () => {
  const connection = connect(socket)
  connection.on('error', () => {})
  connection.end('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  let received = ''
  connection.on('data', (chunk) => (received += chunk.toString()))
  await once(connection, 'close')
  expect(received).toBe('')
})

const { available, hint } = installed('nginx')

describe.skipIf(!available)(`examples/uwsgi.ts behind nginx${hint}`, () => {
  let nginx: WebServer

  beforeAll(async () => {
    nginx = await startNginx({
      extra: `location / { include /etc/nginx/uwsgi_params; uwsgi_pass unix:${socket}; }`,
    })
  })

  afterAll(() => nginx?.stop())

  test("nginx's uwsgi_pass gets the response of examples/uwsgi.ts to an upload", async () => {
    const number = suite.findIndex(({ name }) => name.startsWith('a request body of 96,000 bytes'))
    const { request, expect: expected } = suite[number]!
    const response = await httpRequest(
      { port: nginx.port },
      {
        method: request.method!,
        target: request.target,
        headers: [['X-Portico-Test', String(number)], ...(request.headers ?? [])],
        body: request.body!,
      },
    )
    expect([response.status, response.body]).toEqual([200, expected.body])
  })
})
