/** Answers that wait in the process: given up when the peer takes nothing more of them. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { SWEEP_TIME } from '../../src/server/deadlines.ts'
import type { Application, Chunk } from '../../src/types.ts'
import { temporaryFolder } from '../server/child.ts'
import { fastcgi, http, scgi } from './peer.ts'

const folder = temporaryFolder()
afterAll(folder.remove)

/** Far more than a socket's two ends hold. */
const SIZE = 16 * 1024 * 1024
const whole = Buffer.alloc(SIZE, 'whole ')
/** What a peer that reads seldom takes at a time: not all by the end of the test. */
const PIECE = SIZE / 64

const bodies: Readonly<Record<string, () => Iterable<Chunk>>> = {
  '/whole': () => [whole],
  *'/pieces'() {
    for (let at = 0; at < SIZE; at += 65_536) yield whole.subarray(at, at + 65_536)
  },
}

/** Chunks that never come. */
const silence = { next: () => new Promise<never>(() => {}) }

const gateways = {
  fastcgi: { Handler: FastCGIHandler, request: (path: string) => fastcgi(1, path, '', false) },
  scgi: { Handler: SCGIHandler, request: scgi },
  http: { Handler: HTTPHandler, request: (path: string) => http(path) },
}

/** Takes about `size` bytes, and then no more. */
async function take(socket: Socket, size: number): Promise<number> {
  let taken = 0
  socket.resume()
  while (taken < size) {
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    taken += chunk.length
  }
  socket.pause()
  return taken
}

describe.concurrent.each(Object.entries(gateways))('%s', (name, { Handler, request }) => {
  it.concurrent.each(Object.keys(bodies))(
    'gives up %s when the peer takes nothing for writeTimeout',
    async (path) => {
      let aborted: AbortSignal | undefined
      const application: Application = (environ, startResponse) => {
        aborted = environ['portico.signal']
        startResponse('200 OK', [['Content-Type', 'text/plain']])
        return bodies[path]!()
      }
      const listen = `unix:${join(folder.path, `${name}${path.replace('/', '-')}`)}`
      const options = { listen, shutdownTimeout: 0, writeTimeout: 2 * SWEEP_TIME }
      const server = await new Handler(options).run(application)
      const socket = connect(listen.slice(5))
      socket.on('error', () => {})
      socket.pause()
      socket.write(request(path))
      // Slowly, for longer than the limit: each look finds that something was taken.
      let taken = 0
      for (const end = performance.now() + 5 * SWEEP_TIME; performance.now() < end;) {
        taken += await take(socket, PIECE)
        await sleep(SWEEP_TIME / 4)
      }
      expect(taken).toBeLessThan(SIZE)
      expect(server.connections).toBe(1)
      while (server.connections > 0) await sleep(50)
      if (path === '/pieces') expect(aborted!.aborted).toBe(true)
      // What the kernel had is still there, and it is not all.
      const rest: Buffer[] = []
      for await (const chunk of socket) rest.push(chunk as Buffer)
      expect(taken + Buffer.concat(rest).length).toBeLessThan(SIZE)
      await server.close()
    },
  )

  it.concurrent('gives up an answer to which the application adds without waiting', async () => {
    const adding: NodeJS.Timeout[] = []
    let closed = 0
    const application: Application = (_environ, startResponse) => {
      const write = startResponse('200 OK', [['Content-Type', 'text/event-stream']])
      const add = (chunk: Chunk) => void write(chunk).catch(() => {})
      add(whole)
      // Not ASCII: a character is not a byte.
      adding.push(setInterval(() => add('\u20ac'.repeat(8192)), SWEEP_TIME / 4))
      return { close: () => (closed += 1), [Symbol.asyncIterator]: () => silence }
    }
    const listen = `unix:${join(folder.path, `${name}-adding`)}`
    const options = { listen, shutdownTimeout: 0, writeTimeout: 2 * SWEEP_TIME }
    const server = await new Handler(options).run(application)
    const socket = connect(listen.slice(5))
    socket.on('error', () => {})
    socket.pause()
    socket.write(request('/'))
    await vi.waitFor(() => expect(closed).toBe(1), 10 * SWEEP_TIME)
    await vi.waitFor(() => expect(server.connections).toBe(0))
    for (const timer of adding) clearInterval(timer)
    socket.destroy()
    await server.close()
  })
})
