/** Requests on `node:diagnostics_channel`, through every gateway. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import type { Runnable } from '../../src/application/to-application.ts'
import { toFetch } from '../../src/exports/fetch.ts'
import {
  type Client,
  fastcgiClient,
  httpClient,
  inProcessClient,
  scgiClient,
} from '../../src/exports/testing.ts'
import type { RequestMessage } from '../../src/request/trace.ts'
import type { Application } from '../../src/types.ts'
import { bundleCGI, request as runScript, writeScript } from '../support/cgi.ts'

type Event = [name: string, message: RequestMessage, seen: Partial<RequestMessage>]
const events: Event[] = []
const names = ['start', 'end', 'error'].map((name) => `portico:request:${name}`)

function record(message: unknown, name: string | symbol): void {
  const { status, complete, error } = message as RequestMessage
  const event = String(name).replace('portico:request:', '')
  events.push([event, message as RequestMessage, { status, complete, error }])
}

afterEach(() => {
  for (const name of names) unsubscribe(name, record)
  events.length = 0
})

function subscribeAll(): void {
  for (const name of names) subscribe(name, record)
}

/** What was published: 'start', 'end 200 OK', 'end null incomplete', 'error message'. */
function published(): string[] {
  return events.map(([name, , { status, complete, error }]) => {
    if (name === 'error') return `error ${(error as Error).message}`
    return name === 'end' ? `end ${status}${complete ? '' : ' incomplete'}` : name
  })
}

const application: Application = (environ, startResponse) => {
  if (environ.PATH_INFO === '/throws') throw new Error('thrown')
  startResponse('201 Created', [['Content-Type', 'text/plain']])
  if (environ.PATH_INFO === '/short') {
    return (function* () {
      yield 'a'
      throw new Error('late')
    })()
  }
  return ['hello']
}

/** The same as an application of node:http, which HTTPHandler runs without a bridge. */
const listener = createServer((request, response) => {
  if (request.url === '/throws') throw new Error('thrown')
  response.writeHead(201, { 'Content-Type': 'text/plain' })
  if (request.url === '/short') {
    response.write('a')
    response.socket?.destroySoon()
    return
  }
  response.end('hello')
})

const gateways: [name: string, serve: (app: Runnable) => Promise<Client & { stop?(): unknown }>][] =
  [
    ['FastCGI', async (app) => served(await new FastCGIHandler(ANY).run(app), fastcgiClient)],
    ['SCGI', async (app) => served(await new SCGIHandler(ANY).run(app), scgiClient)],
    ['HTTP', async (app) => served(await new HTTPHandler(ANY).run(app), httpClient)],
    ['TestApp', (app) => Promise.resolve(inProcessClient(app, { validate: false }))],
  ]
const ANY = { listen: '127.0.0.1:0' } as const

function served(
  server: Awaited<ReturnType<HTTPHandler['run']>>,
  client: typeof httpClient,
): Client & { stop(): unknown } {
  return { ...client(server.address), stop: () => server.close() }
}

describe.each([
  ['an environ application', application as Runnable],
  ['an application of node:http', listener as Runnable],
])('%s', (what, app) => {
  it.each(gateways)('is published with its environ through %s', async (_, serve) => {
    const client = await serve(app)
    await client.request({ target: '/before' })
    subscribeAll()
    await client.request({ target: '/a?b', headers: [['Traceparent', TRACEPARENT]] })
    await expect.poll(published).toEqual(['start', 'end 201 Created'])
    const [[, first], [, second]] = events as [Event, Event]
    expect(second).toBe(first)
    expect(first.environ).toMatchObject({
      PATH_INFO: '/a',
      QUERY_STRING: 'b',
      HTTP_TRACEPARENT: TRACEPARENT,
    })
    events.length = 0

    await client.request({ target: '/throws' })
    await expect.poll(published).toEqual(['start', 'error thrown', 'end 500 Internal Server Error'])
    events.length = 0

    await client.request({ target: '/short' })
    await expect.poll(() => published().at(-1)).toBe('end 201 Created incomplete')
    expect(published().filter((event) => !event.startsWith('error '))).toHaveLength(2)
    await client.stop?.()
  })

  it.each(gateways)('runs with the stores of the channel through %s', async (_, serve) => {
    const storage = new AsyncLocalStorage<string>()
    const start = channel('portico:request:start')
    start.bindStore(storage, (message) => `in ${(message as RequestMessage).environ.PATH_INFO}`)
    const client = await serve(
      what === 'an environ application'
        ? async function* (_environ: unknown, startResponse: Parameters<Application>[1]) {
            startResponse('200 OK', [])
            yield `${storage.getStore()} `
            await Promise.resolve()
            yield String(storage.getStore())
          }
        : createServer(async (_request, response) => {
            response.write(`${storage.getStore()} `)
            await Promise.resolve()
            response.end(storage.getStore())
          }),
    )
    const response = await client.request({ target: '/a' })
    expect(response.body.toString()).toBe('in /a in /a')
    expect(storage.getStore()).toBeUndefined()
    start.unbindStore(storage)
    await client.stop?.()
  })
})

const TRACEPARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

it('publishes a request that HTTPHandler refuses', async () => {
  const server = await new HTTPHandler({ ...ANY, maxHeaders: 1 }).run(listener)
  subscribeAll()
  const response = await httpClient(server.address).request({ target: '/', headers: [['A', 'b']] })
  await expect.poll(() => published().at(-1)).toBe(`end ${response.status}`)
  expect(published()).toEqual(['start', expect.stringMatching('^error '), expect.any(String)])
  expect(response.status).toMatch('431')
  await server.close()
})

it('publishes the end of a request whose client has gone', async () => {
  const server = await new SCGIHandler(ANY).run(async (environ) => {
    const signal = environ['portico.signal']
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    throw signal.reason
  })
  subscribeAll()
  const { port } = server.address as { port: number }
  const socket = connect(port, '127.0.0.1')
  socket.write('24:CONTENT_LENGTH\x000\0SCGI\x001\0,')
  await expect.poll(published).toEqual(['start'])
  socket.destroy()
  await expect.poll(published).toEqual(['start', 'end null incomplete'])
  await server.close()
})

it('publishes a request to toFetch()', async () => {
  subscribeAll()
  await toFetch(application)(new Request('http://localhost/x'))
  expect(published()).toEqual(['start', 'end 201 Created'])
})

describe('CGIHandler', () => {
  let directory: string
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'portico-trace-'))
    await bundleCGI(directory)
  })
  afterAll(() => rmSync(directory, { recursive: true }))

  it('publishes the request to a script that has subscribed', async () => {
    const path = writeScript(
      directory,
      'traced',
      `
const { CGIHandler } = require('./portico.cjs')
const { subscribe } = require('node:diagnostics_channel')
for (const name of ['start', 'end']) {
  subscribe('portico:request:' + name, ({ environ, status }) =>
    console.error(name, environ.REQUEST_METHOD, status))
}
new CGIHandler().run((environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return ['hello']
})`,
      '',
    )
    const { stderr, stdout } = await runScript(path)
    expect(stdout).toMatch(/hello$/)
    expect(stderr).toBe('start GET null\nend GET 200 OK\n')
  })

  it('does not load node:diagnostics_channel', async () => {
    writeFileSync(
      join(directory, 'list.cjs'),
      'const before = process.moduleLoadList.length\n' +
        "exports.loaded = () => process.moduleLoadList.slice(before).filter((m) => m.endsWith('diagnostics_channel'))\n",
    )
    const path = writeScript(
      directory,
      'untraced',
      `
const { loaded } = require('./list.cjs')
const { CGIHandler } = require('./portico.cjs')
new CGIHandler().run((environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [JSON.stringify(loaded())]
})`,
      '',
    )
    expect((await runScript(path)).stdout).toMatch(/\[\]$/)
  })
})
