/** Peers that do not read responses, or read them slowly. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, expect, it, vi } from 'vitest'
import { FastCGIHandler, type FastCGIOptions } from '../../handlers/fastcgi.ts'
import { encodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import { SWEEP_TIME } from '../../src/server/deadlines.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application } from '../../src/types.ts'
import { record } from '../protocol/fastcgi-helpers.ts'
import { temporaryDirectory } from '../server/child.ts'
import { fastcgi } from './peer.ts'

const MiB = 1024 * 1024
const directory = temporaryDirectory()
const path = join(directory.path, 'socket')
afterAll(directory.remove)

/** More than both ends of a socket buffer: a part of such a response waits in the process. */
const large = Buffer.alloc(4 * MiB, 'large ')
const middling = large.subarray(0, MiB / 16)

const application: Application = (environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [environ.PATH_INFO === '/large' ? large : middling]
}

let server: GatewayServer
let socket: Socket
afterEach(async () => {
  vi.useRealTimers()
  socket.destroy()
  await server.close()
})

async function open(options: FastCGIOptions = {}): Promise<void> {
  server = await new FastCGIHandler({ listen: `unix:${path}`, shutdownTimeout: 0, ...options }).run(
    application,
  )
  socket = connect(path)
  await once(socket, 'connect')
}

/** Reads until the server closes or `found` returns true. */
async function receive(found?: (received: Buffer) => boolean): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    if (found?.(Buffer.concat(chunks))) break
  }
  return Buffer.concat(chunks)
}

/** Sends until the server has read nothing for 500 ms; returns the number of turns. */
async function flood(batch: (turn: number) => Buffer): Promise<number> {
  for (let turn = 0; ; turn += 1) {
    if (turn * batch(turn).length > 32 * MiB) throw new Error('The server reads without limit')
    if (socket.write(batch(turn))) continue
    const drained = await Promise.race([
      once(socket, 'drain').then(() => true),
      sleep(500).then(() => false),
    ])
    if (!drained) return turn + 1
  }
}

/** Counts the records of a type. */
function countRecords(received: Buffer, type: number): number {
  let count = 0
  for (let at = 0; at + 8 <= received.length;) {
    if (received[at + 1] === type) count += 1
    at += 8 + received.readUInt16BE(at + 4) + received[at + 6]!
  }
  return count
}

const values = record(9, 0, encodePairs([['FCGI_MAX_CONNS', '']]))
const requests = (turn: number) => {
  const first = 8 * (turn % 4096)
  return Buffer.concat([1, 2, 3, 4, 5, 6, 7, 8].map((id) => fastcgi(first + id, '/')))
}

it.each([
  { name: 'requests', batch: requests, perBatch: 8, type: 3 },
  {
    name: 'GET_VALUES',
    batch: () => Buffer.concat(Array(100).fill(values)),
    perBatch: 100,
    type: 10,
  },
])(
  '$name from a peer that does not read wait in its socket, and get responses when it reads',
  async ({ batch, perBatch, type }) => {
    await open()
    const turns = await flood(batch)
    const expected = turns * perBatch
    socket.end()
    expect(countRecords(await receive(), type)).toBe(expected)
  },
  20_000,
)

it('idleTimeout does not truncate a response that the peer is still reading', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'performance'] })
  await open({ idleTimeout: 500 })
  socket.write(fastcgi(1, '/large'))
  await once(socket, 'readable')
  vi.advanceTimersByTime(5 * SWEEP_TIME)
  await sleep(50)
  const received = await receive((all) => countRecords(all, 3) === 1)
  expect(received.length).toBeGreaterThan(large.length)
})

it('idleTimeout begins when the peer has read the last response', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'performance'] })
  await open({ idleTimeout: 2 * SWEEP_TIME })
  socket.write(fastcgi(1, '/large'))
  await once(socket, 'readable')
  vi.advanceTimersByTime(5 * SWEEP_TIME)
  const received = receive()
  while (!socket.closed) {
    await sleep(50)
    vi.advanceTimersByTime(SWEEP_TIME)
  }
  expect(countRecords(await received, 3)).toBe(1)
})

it('A request beyond maxRequestsPerConnection does not damage the last response', async () => {
  await open({ maxRequestsPerConnection: 1 })
  socket.write(fastcgi(1, '/large'))
  await once(socket, 'readable')
  socket.write(fastcgi(2, '/'))
  await sleep(50)
  const received = await receive()
  expect(received.length).toBeGreaterThan(large.length)
  expect(countRecords(received, 3)).toBe(1)
})
