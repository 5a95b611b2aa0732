/** Connections read into shared memory: readers must not notice, and peers must not make it grow. */
import { Buffer } from 'node:buffer'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { takeConnections, type Receiver } from '../../src/node-internals/accept-onread.ts'
import { temporaryDirectory } from '../server/child.ts'

const directory = temporaryDirectory()
afterAll(() => directory.remove())

const servers: ReturnType<typeof createServer>[] = []
const sockets: Socket[] = []
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const server of servers.splice(0)) server.close()
})

/** What one connection has received. */
class Collector implements Receiver {
  keepsBody = true
  chunks: Buffer[] = []
  borrowed = 0
  ended = false
  readonly socket: Socket

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('end', () => this.receiveEof())
  }

  receive(memory: Buffer, size: number, borrowed: boolean): void {
    const chunk = memory.subarray(0, size)
    if (borrowed) this.borrowed += 1
    this.chunks.push(borrowed ? Buffer.from(chunk) : chunk)
  }

  receiveEof(): void {
    this.ended = true
  }

  get hash(): string {
    return hashOf(Buffer.concat(this.chunks))
  }
}

function hashOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

let count = 0

async function taking(): Promise<{ path: string; collectors: Collector[] }> {
  const path = `${directory.path}/${(count += 1)}.sock`
  const server = createServer({ allowHalfOpen: true }).listen(path)
  servers.push(server)
  await once(server, 'listening')
  const collectors: Collector[] = []
  const taken = takeConnections(server, { allowHalfOpen: true }, (socket) => {
    sockets.push(socket)
    const collector = new Collector(socket)
    collectors.push(collector)
    return collector
  })
  expect(taken).toBe(true)
  return { path, collectors }
}

function noReceiver(): undefined {}

async function open(path: string): Promise<Socket> {
  const socket = connect(path)
  sockets.push(socket)
  await once(socket, 'connect')
  return socket
}

describe('Connections that takeConnections() has taken over', () => {
  it('receive their own bytes in large and small chunks, though they share one buffer', async () => {
    const { path, collectors } = await taking()
    const clients = await Promise.all(Array.from({ length: 8 }, () => open(path)))
    await expect.poll(() => collectors.length).toBe(8)
    for (const [i, collector] of collectors.entries()) collector.keepsBody = i % 2 === 0
    const bodies = clients.map((_, i) => Buffer.alloc(3_000_000 + i, `body ${i} of eight `))
    for (let at = 0; at < 3_000_100;) {
      const size = at % 3 === 0 ? 70_001 : 1_003
      for (const [i, client] of clients.entries()) client.write(bodies[i]!.subarray(at, at + size))
      at += size
      await new Promise(setImmediate)
    }
    for (const client of clients) client.end()
    await expect.poll(() => collectors.every(({ ended }) => ended)).toBe(true)
    const sent = new Set(bodies.map(hashOf))
    expect(new Set(collectors.map(({ hash }) => hash))).toEqual(sent)
    // Both ways of reading have been used.
    expect(collectors.some(({ borrowed, chunks }) => borrowed < chunks.length)).toBe(true)
    expect(collectors.every(({ borrowed }) => borrowed > 0)).toBe(true)
  })

  it('hold no more memory than was received, however small the chunks are', async () => {
    const { path, collectors } = await taking()
    const client = await open(path)
    await expect.poll(() => collectors.length).toBe(1)
    const [collector] = collectors
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 1000; i += 1) {
      client.write('x')
      // Each byte is read by itself.
      await expect.poll(() => collector!.chunks.length, { interval: 0 }).toBeGreaterThan(i)
    }
    // 64 KiB for each would be 62 MiB.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024)
  })

  it('are closed if the reader throws, because the rest would be read from reused memory', async () => {
    const { path, collectors } = await taking()
    const client = await open(path)
    await expect.poll(() => collectors.length).toBe(1)
    const failure = new Error('not taken')
    vi.spyOn(collectors[0]!, 'receive').mockImplementation(() => {
      throw failure
    })
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    try {
      client.write('x')
      const [[error]] = await Promise.all([
        once(process, 'uncaughtException'),
        once(client.resume(), 'close'),
      ])
      expect(error).toBe(failure)
    } finally {
      for (const listener of listeners) process.on('uncaughtException', listener)
    }
  })

  it('count for the server, which closes after the last of them and obeys maxConnections', async () => {
    const { path } = await taking()
    const [server] = servers
    server!.maxConnections = 1
    const first = await open(path)
    await expect.poll(() => sockets.length).toBe(2)
    const dropped = once(server!, 'drop')
    const second = await open(path)
    await Promise.all([dropped, once(second.resume(), 'close')])
    let closed = false
    server!.close(() => (closed = true))
    await new Promise(setImmediate)
    expect(closed).toBe(false)
    first.destroy()
    sockets[1]!.destroy()
    await expect.poll(() => closed).toBe(true)
    servers.length = 0
  })

  it('are left to Node if its internals are unknown', () => {
    expect(takeConnections(createServer(), {}, noReceiver)).toBe(false)
    for (const internals of [{}, { _handle: {} }, { _handle: { onconnection: noReceiver } }]) {
      expect(takeConnections(internals as never, {}, noReceiver)).toBe(false)
    }
  })
})
