import { existsSync } from 'node:fs'
import { createServer as createHTTPServer, get } from 'node:http'
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { ConfigurationError } from '../../src/errors.ts'
import { allowClients } from '../../src/address-list.ts'
import { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Connection } from '../../src/server/connection.ts'
import type { ServerOptions, ServerPolicy } from '../../src/server/gateway-server.ts'
import type { Address } from '../../src/server/listen.ts'
import { bundle, start, temporaryDirectory } from './child.ts'

const directory = temporaryDirectory()
afterAll(directory.remove)
const SOCKET = join(directory.path, 'app.sock')

/** A protocol of one byte: the response to 'a' is 'A' a little later; 'h' gets none. */
class Letters implements Connection {
  readonly #socket: Socket
  #running = 0
  #ending = false

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('error', () => {})
    socket.setEncoding('latin1').on('data', (letters: string) => {
      for (const letter of letters) {
        this.#running++
        if (letter === 'a') setTimeout(() => this.#respond(), 20)
      }
    })
  }

  #respond(): void {
    this.#running--
    this.#socket.write('A')
    if (this.#ending) this.end()
  }

  end(): void {
    this.#ending = true
    if (this.#running === 0) this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

const gateways: GatewayServer[] = []

async function serve(
  options: ServerOptions,
  policy: Partial<ServerPolicy> = {},
): Promise<GatewayServer> {
  const gateway = await GatewayServer.start(
    createServer(),
    { listen: 0, ...options },
    {
      gateway: 'scgi',
      connect: (socket) => new Letters(socket),
      ...policy,
    },
  )
  gateways.push(gateway)
  return gateway
}

afterEach(async () => {
  await Promise.all(gateways.splice(0).map((gateway) => gateway.close()))
})

function reach(address: Address): Socket {
  if (address.kind === 'fd') throw new Error('no address')
  return connect(address).on('error', () => {})
}

/** Everything that comes until the connection is closed. */
function all(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    socket.setEncoding('latin1').on('data', (letter: string) => (text += letter))
    socket.on('close', () => resolve(text))
  })
}

const event = (socket: Socket, name: string) =>
  new Promise((resolve) => {
    socket.once(name, resolve)
  })

describe.each([
  ['unix', `unix:${SOCKET}`],
  ['tcp', ':0'],
])('close() on %s', (kind, given) => {
  test('finishes active requests, closes idle connections and then resolves', async () => {
    const gateway = await serve({ listen: given })
    expect(gateway.address.kind).toBe(kind)
    const [idle, running] = [reach(gateway.address), reach(gateway.address)]
    const [idleHeard, runningHeard] = [all(idle), all(running)]
    idle.write('a')
    await event(idle, 'data')
    running.write('aa')
    let over = false
    const closed = gateway.close().then(() => (over = true))
    expect(await idleHeard).toBe('A')
    expect(await runningHeard).toBe('AA')
    await closed
    expect(over).toBe(true)
    expect(existsSync(SOCKET)).toBe(false)
  })

  test('finishes every request that was sent before, even on connections not yet accepted', async () => {
    const gateway = await serve({ listen: given })
    const clients = Array.from({ length: 200 }, () => {
      const socket = reach(gateway.address)
      socket.write('a')
      return all(socket)
    })
    await gateway.close()
    expect(await Promise.all(clients)).toEqual(Array.from({ length: 200 }, () => 'A'))
  })

  test('loses no request under load', async () => {
    const gateway = await serve({ listen: given })
    let responses = 0
    let closing: Promise<void> | undefined
    const lost: string[] = []
    const client = async () => {
      for (;;) {
        const socket = reach(gateway.address)
        const heard = all(socket)
        let connected = false
        socket.once('connect', () => (connected = closing === undefined))
        socket.write('a')
        await Promise.race([event(socket, 'data'), heard])
        socket.end()
        const response = await heard
        if (response === 'A') responses++
        else if (connected) lost.push(response)
        if (responses > 100) closing ??= gateway.close()
        if (closing) break
      }
    }
    await Promise.all(Array.from({ length: 20 }, client))
    await closing
    expect(responses).toBeGreaterThan(100)
    expect(lost).toEqual([])
  })

  test('waits for the request of a peer that has just connected', async () => {
    const gateway = await serve({ listen: given })
    const client = reach(gateway.address)
    const heard = all(client)
    await event(client, 'connect')
    const closed = gateway.close()
    setTimeout(() => client.write('a'), 50)
    expect(await heard).toBe('A')
    await closed
  })

  test('does not wait for a peer that sends nothing', async () => {
    const gateway = await serve({ listen: given })
    const silent = reach(gateway.address)
    await event(silent, 'connect')
    const heard = all(silent)
    await gateway.close()
    expect(await heard).toBe('')
  })

  test('closes requests that are still active after shutdownTimeout', async () => {
    const gateway = await serve({ listen: given, shutdownTimeout: 30 })
    const hanging = reach(gateway.address)
    const heard = all(hanging)
    hanging.write('ah')
    await event(hanging, 'data')
    await gateway.close()
    expect(await heard).toBe('A')
  })

  test('can be called again, and no connection is accepted afterwards', async () => {
    const gateway = await serve({ listen: given })
    const first = gateway.close()
    expect(gateway.close()).toBe(first)
    await first
    await gateway.close()
    expect(await all(reach(gateway.address))).toBe('')
  })
})

test('close() does not remove a Unix socket that another server has put at the same path', async () => {
  const first = await serve({ listen: `unix:${SOCKET}` })
  const hanging = reach(first.address)
  hanging.write('aa')
  await event(hanging, 'data')
  const closed = first.close()
  const second = await serve({ listen: `unix:${SOCKET}` })
  await closed
  const client = reach(second.address)
  client.write('a')
  await event(client, 'data')
  client.end()
})

test('GatewayServer closes an http.Server in the same way', async () => {
  const server = createHTTPServer((_, response) => setTimeout(() => response.end('hello'), 20))
  const gateway = await GatewayServer.start(
    server,
    { listen: 0 },
    {
      gateway: 'http',
      connect: (socket) => ({ end: () => {}, destroy: () => socket.destroy() }),
    },
  )
  const { address } = gateway
  if (address.kind !== 'tcp') throw new Error(address.kind)
  const received = new Promise<string>((resolve) => {
    get(address, (response) => response.setEncoding('utf8').on('data', resolve))
  })
  await new Promise((resolve) => server.once('request', resolve))
  await gateway.close()
  expect(await received).toBe('hello')
})

describe('A server with a list of clients', () => {
  test('closes a peer that is not on the list before it reads from it', async () => {
    const connected = vi.fn<(socket: Socket) => Connection>((socket) => new Letters(socket))
    const gateway = await serve({ allowedClients: '192.0.2.0/24' }, { connect: connected })
    expect(await all(reach(gateway.address))).toBe('')
    expect(connected).not.toHaveBeenCalled()
  })

  test('serves a peer that is on the list', async () => {
    const gateway = await serve({ listen: '*:0', allowedClients: ['::1', '127.0.0.1'] })
    const { address } = gateway
    if (address.kind !== 'tcp') throw new Error(address.kind)
    const client = reach({ ...address, host: '127.0.0.1' })
    client.write('a')
    await event(client, 'data')
    client.destroy()
  })

  test('from FCGI_WEB_SERVER_ADDRS closes a peer without a TCP address (section 3.2)', async () => {
    const admits = allowClients('127.0.0.1')
    const gateway = await serve({ listen: `unix:${SOCKET}` }, { admits })
    expect(await all(reach(gateway.address))).toBe('')
  })

  test('does not start at a Unix socket, where the list would refuse every client', async () => {
    const starting = serve({ listen: `unix:${SOCKET}`, allowedClients: '127.0.0.1' })
    await expect(starting).rejects.toThrow(/^allowedClients: .* Unix socket/)
    expect(existsSync(SOCKET)).toBe(false)
  })

  test('can listen at a wildcard address; without one only HTTP can', async () => {
    await expect(serve({ listen: '*:0' })).rejects.toThrow('allowedClients')
    expect((await serve({ listen: '*:0' }, { gateway: 'http' })).address.kind).toBe('tcp')
  })
})

describe('A limit of a server', () => {
  test('closes connections above maxConnections, and accepts new ones when one has ended', async () => {
    const gateway = await serve({ maxConnections: 2 })
    const clients = [reach(gateway.address), reach(gateway.address)]
    for (const client of clients) {
      client.write('a')
      await event(client, 'data')
    }
    expect(await all(reach(gateway.address))).toBe('')
    const left = all(clients[0]!)
    clients[0]!.end()
    await left
    const later = reach(gateway.address)
    later.write('a')
    await event(later, 'data')
    for (const client of [later, clients[1]!]) client.destroy()
  })

  test.each<[ServerOptions, string]>([
    [{ maxConnections: 0 }, '(got 0)'],
    [{ maxConnections: 1.5 }, '(got 1.5)'],
    [{ maxConnections: Number.POSITIVE_INFINITY }, '(got Infinity)'],
    [{ shutdownTimeout: -1 }, '(got -1)'],
    [{ shutdownTimeout: Number.NaN }, '(got NaN)'],
    [{ shutdownTimeout: 2 ** 31 }, '(got 2147483648)'],
    ...(
      [
        'responseTimeout',
        'headersTimeout',
        'highWaterMark',
        'idleTimeout',
        'maxHeaderBytes',
        'maxHeaders',
        'maxRequestsPerConnection',
      ] as const
    ).flatMap((name): [ServerOptions, string][] => [
      [{ [name]: Number.NaN }, `${name} must be a whole number`],
      [{ [name]: -1 }, '(got -1)'],
      [{ [name]: '5' }, '(got "5")'],
    ]),
    [
      { headersTimeout: 0 },
      'headersTimeout must be a whole number of milliseconds from 1 to 2147483647, or Infinity',
    ],
    [
      { highWaterMark: Number.POSITIVE_INFINITY },
      'highWaterMark must be a whole number of bytes, 1 or more (got Infinity)',
    ],
    [{ allowedClients: 'localhost' }, 'allowedClients: "localhost" '],
  ])('of %j is refused', async (options, message) => {
    const error: unknown = await serve(options).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(ConfigurationError)
    expect(String(error)).toContain(message)
  })
})

test.each([
  { headersTimeout: Infinity, idleTimeout: Infinity, maxHeaders: Infinity },
  { responseTimeout: 0, maxRequestsPerConnection: 0 },
])('Every handler accepts %j, which means no limit', async (limits) => {
  for (const Handler of [FastCGIHandler, SCGIHandler, HTTPHandler]) {
    const server = await new Handler({ listen: '127.0.0.1:0', ...limits }).run(() => [])
    await server.close()
  }
})

test('HTTPHandler names its own option in an error, not the one of Node', async () => {
  const handler = new HTTPHandler({ listen: '127.0.0.1:0', maxHeaderBytes: Number.NaN })
  await expect(handler.run(() => [])).rejects.toThrow(
    'maxHeaderBytes must be a whole number of bytes, 1 or more (got NaN)',
  )
})

describe('A server process', () => {
  let script = ''

  beforeAll(async () => {
    script = await bundle(
      directory.path,
      'process',
      `import { createServer } from 'node:net'
       import { GatewayServer } from '#src/server/gateway-server.ts'
       import { closeOnSignals } from '#src/process/shutdown.ts'
       class Slow {
         running = false; ending = false
         constructor(socket) {
           this.socket = socket.on('error', () => {}).on('data', () => {
             this.running = true
             console.log('running')
             setTimeout(() => { socket.write('A'); this.running = false; if (this.ending) this.end() },
               process.env.HANG ? 1e8 : 100)
           })
         }
         end() { this.ending = true; if (!this.running) this.socket.end() }
         destroy() { this.socket.destroy() }
       }
       if (process.env.BUSY) setInterval(() => {}, 1000)
       const starting = GatewayServer.start(createServer(), { listen: 0 }, { gateway: 'scgi', connect: (socket) => new Slow(socket) })
       closeOnSignals(starting)
       starting.then((gateway) => { console.log('port=' + gateway.address.port) })`,
    )
  })

  async function started(env: NodeJS.ProcessEnv = {}, limit = '') {
    const child = start('/bin/sh', ['-c', `${limit} exec "$0" "$1"`, process.execPath, script], {
      env,
    })
    const output = await child.printed('port=')
    const port = Number(/port=(\d+)/.exec(output)?.[1])
    return { child, address: { kind: 'tcp', host: '127.0.0.1', port } as const }
  }

  test.each([
    ['SIGTERM', {}],
    ['SIGINT', {}],
    ['SIGTERM', { BUSY: '1' }],
  ] as const)('finishes active requests on %s and exits with code 0 (%j)', async (signal, env) => {
    const { child, address } = await started(env)
    const client = reach(address)
    const heard = all(client)
    client.write('a')
    await child.printed('running')
    child.process.kill(signal)
    expect(await heard).toBe('A')
    expect(await child.ended).toMatchObject({ code: 0, signal: null })
  })

  test('ends at once on a second signal', async () => {
    const { child, address } = await started({ HANG: '1' })
    const client = reach(address)
    const heard = all(client)
    client.write('a')
    await child.printed('running')
    child.process.kill('SIGTERM')
    // Refused means that the first signal has arrived.
    for (let response: unknown = 'connect'; response === 'connect';) {
      const probe = reach(address)
      response = await Promise.race([
        event(probe, 'connect').then(() => 'connect'),
        event(probe, 'error'),
      ])
      probe.destroy()
    }
    child.process.kill('SIGINT')
    expect(await child.ended).toMatchObject({ code: null, signal: 'SIGINT' })
    expect(await heard).toBe('')
  })

  test('survives running out of descriptors, and accepts again when some are free', async () => {
    const { child, address } = await started({ HANG: '1' }, 'ulimit -n 40;')
    const clients = Array.from({ length: 60 }, () => {
      const socket = reach(address)
      return { socket, closed: all(socket) }
    })
    // Some of them are accepted and kept, the others closed.
    await Promise.race(clients.map((client) => client.closed))
    for (const { socket } of clients) socket.destroy()
    await Promise.all(clients.map((client) => client.closed))
    for (let heard = ''; !heard.includes('running');) {
      const client = reach(address)
      client.write('a')
      heard = await Promise.race([child.printed('running'), all(client)])
      client.destroy()
    }
    child.process.kill('SIGKILL')
    expect(await child.ended).toMatchObject({ code: null, signal: 'SIGKILL' })
  })
})
