/** Requests share a connection, and one of them does not read its body. */
import { Buffer } from 'node:buffer'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, expect, it, vi } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { SWEEP_TIME } from '../../src/server/deadlines.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application } from '../../src/types.ts'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import { temporaryDirectory } from '../server/child.ts'
import { endOf, events, fastcgi, params, Peer } from './peer.ts'

const directory = temporaryDirectory()
afterAll(directory.remove)

/** More than a connection with several requests buffers (16 MiB, and four times that ahead). */
const RECORDS = 1100
const block = record(5, 1, Buffer.alloc(65_528, 'x'))

/** Functions that let a request continue, by its path. */
const release = new Map<string, () => void>()
let aborted = 0

const application: Application = async (environ, startResponse) => {
  const { PATH_INFO: path } = environ
  const released = () => new Promise<void>((resolve) => release.set(path, resolve))
  environ['portico.signal'].addEventListener('abort', () => (aborted += 1))
  if (path !== '/') await released()
  if (path === '/slowly') {
    // Reads once for each release.
    while ((await environ['wsgi.input'].read(65_536)).length > 0) await released()
  }
  startResponse('200 OK', [])
  return ['Hello']
}

let server: GatewayServer
let peer: Peer
let log: string
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'performance'] })
  log = ''
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    log += String(text)
    return true
  })
  release.clear()
  aborted = 0
  const path = join(directory.path, 'socket')
  server = await new FastCGIHandler({ listen: `unix:${path}`, shutdownTimeout: 0 }).run(application)
  peer = new Peer(path)
})
afterEach(async () => {
  vi.restoreAllMocks()
  vi.useRealTimers()
  peer.destroy()
  await server.close()
})

/** Advances the server's clock, one sweep at a time. */
async function pass(seconds: number): Promise<void> {
  for (let passed = 0; passed < seconds * 1000; passed += SWEEP_TIME) {
    vi.advanceTimersByTime(SWEEP_TIME)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Sends request 1 with a body that is not read, and request 3 after it, as far as the server reads. */
async function fill(path: string): Promise<void> {
  const length: [string, string][] = [['CONTENT_LENGTH', String(RECORDS * 65_528)]]
  peer.send(begin(1), params(1, path, length), begin(2), params(2, '/other'), record(5, 2))
  for (let i = 0; i < RECORDS; i += 1) peer.send(block)
  peer.send(fastcgi(3, '/'))
  // On a busy machine that takes its time.
  for (let before = -1; before !== peer.socket.writableLength;) {
    before = peer.socket.writableLength
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
}

const responseTo = (id: number) =>
  events(peer.received)
    .map((event) => (event.type === 'stdout' && event.id === id ? event.data.toString() : ''))
    .join('')

it('A request that does not read its body for 10 s gets a 503, so that the others on its connection continue', async () => {
  await fill('/wait')
  await pass(8)
  expect(responseTo(3)).toBe('')
  expect(responseTo(1)).toBe('')
  const third = peer.until(endOf(3))
  await pass(4)
  await third
  expect(responseTo(1)).toMatch(/^Status: 503 Service Unavailable\r\n/)
  expect(responseTo(3)).toContain('Hello')
  expect(responseTo(2)).toBe('')
  expect(aborted).toBe(1)
  release.get('/other')!()
  await peer.until(endOf(2))
  expect(responseTo(2)).toContain('Hello')
})

it('A request that reads its body from time to time does not count as stalled', async () => {
  await fill('/slowly')
  for (let turn = 0; turn < 4; turn += 1) {
    await pass(8)
    release.get('/slowly')!()
  }
  expect(responseTo(1)).toBe('')
  expect(aborted).toBe(0)
})
