/**
 * A thousand clients listen to events and disconnect. Afterwards no request, listener, timer or socket
 * is left.
 */
import { getEventListeners, once } from 'node:events'
import { rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { FCGI_RESPONDER } from '../../src/protocol/fastcgi.ts'
import { WebServerConnection } from '../../src/protocol/fastcgi-web-server.ts'
import { toApplication } from '../../src/application/to-application.ts'
import { cgiVariables } from '../../src/exports/testing.ts'
import type { Application } from '../../src/types.ts'
import { addressOf } from '../fixtures/gateways.ts'
import { makeDirectory } from '../servers/process.ts'
import { frameworks, loadExample } from './frameworks.ts'
import { turns } from './harness.ts'

const CLIENTS = 1_000
const AT_ONCE = 50

let directory: string
let collect: () => void

beforeAll(async () => {
  directory = await makeDirectory()
  setFlagsFromString('--expose-gc')
  collect = runInNewContext('gc') as () => void
  // Koa logs every stream whose client has disconnected.
  vi.spyOn(console, 'error').mockReturnValue()
})
afterAll(async () => {
  vi.restoreAllMocks()
  await rm(directory, { recursive: true, force: true })
})

/** The resources that keep the process alive, by kind. */
function resources(): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}

const TARGET = '/events'

function overHttp(): (string | Uint8Array)[] {
  return [`GET ${TARGET} HTTP/1.1\r\nHost: localhost\r\n\r\n`]
}

function overFastcgi(): (string | Uint8Array)[] {
  const protocol = new WebServerConnection()
  return [
    protocol.begin(1, FCGI_RESPONDER, false),
    ...protocol.params(1, cgiVariables({ target: TARGET }, {})),
    protocol.endStdin(1),
  ]
}

/** A client that disconnects after its first event. */
async function visit(address: ReturnType<typeof addressOf>, request: (string | Uint8Array)[]) {
  const socket: Socket = connect(
    'path' in address ? { path: address.path } : { port: address.port },
  )
  let text = ''
  socket.setEncoding('latin1')
  for (const bytes of request) socket.write(bytes)
  while (!text.includes('data: 1')) {
    const [chunk] = (await once(socket, 'data')) as [string]
    text += chunk
  }
  socket.destroy()
  await once(socket, 'close')
}

let paths = 0

const gateways = [
  {
    gateway: 'HTTPHandler',
    serve: (app: Application) => new HTTPHandler({ listen: 0 }).run(app),
    request: overHttp,
  },
  {
    gateway: 'FastCGIHandler',
    serve: (app: Application) =>
      new FastCGIHandler({ listen: `unix:${join(directory, `events${(paths += 1)}.sock`)}` }).run(
        app,
      ),
    request: overFastcgi,
  },
]

/** Waits until `state` counts nothing, and until timers have had time to stop. */
async function settled(state: { open: number }): Promise<void> {
  while (state.open > 0) await turns(1)
  await new Promise((resolve) => setTimeout(resolve, 50))
}

const cases = frameworks.flatMap(({ name, file }) =>
  gateways.map(({ gateway, serve, request }) => ({ name, file, gateway, serve, request })),
)

test.each(cases)(
  '$name over $gateway leaks nothing after a thousand clients have disconnected',
  async ({ file, serve, request }) => {
    const { application } = await toApplication(await loadExample(file))
    const begun: WeakRef<object>[] = []
    const signals = new Set<AbortSignal>()
    const state = { open: 0 }
    const counted: Application = async (environ, startResponse) => {
      begun.push(new WeakRef(environ))
      state.open += 1
      // One in a hundred is kept to look at: a signal would keep its request if it still knew it.
      if (begun.length % 100 === 0) signals.add(environ['portico.signal'])
      try {
        return await application(environ, startResponse)
      } finally {
        state.open -= 1
      }
    }
    const server = await serve(counted)
    const address = addressOf(server)
    await visit(address, request())
    await settled(state)
    const before = resources()
    for (let count = 0; count < CLIENTS; count += AT_ONCE) {
      await Promise.all(Array.from({ length: AT_ONCE }, () => visit(address, request())))
    }
    await settled(state)
    const after = resources()
    expect(begun).toHaveLength(CLIENTS + 1)
    expect([...signals].map((signal) => getEventListeners(signal, 'abort').length)).toEqual(
      [...signals].map(() => 0),
    )
    const { Timeout: timers = 0, ...sockets } = after
    const { Timeout: timersBefore = 0, ...socketsBefore } = before
    expect(sockets).toEqual(socketsBefore)
    // The test runner has timers of its own that come and go.
    expect(timers - timersBefore).toBeLessThan(5)
    signals.clear()
    for (let i = 0; i < 3; i += 1) {
      collect()
      await turns()
    }
    // What ran last may still be on the stack or in an inline cache.
    expect(begun.filter((ref) => ref.deref() !== undefined).length).toBeLessThan(AT_ONCE / 2)
    await server.close()
  },
)
