/** Responses that wait in the process are abandoned when the peer stops reading. */
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
import { temporaryDirectory } from '../server/child.ts'
import { fastcgi, http, scgi } from './peer.ts'

const directory = temporaryDirectory()
afterAll(directory.remove)

/** Far more than both ends of a socket buffer. */
const SIZE = 16 * 1024 * 1024
const whole = Buffer.alloc(SIZE, 'whole ')
/** How much a slow peer reads at a time; it never reads all. */
const SLOW_READ = SIZE / 64

const bodies: Readonly<Record<string, () => Iterable<Chunk>>> = {
  '/whole': () => [whole],
  *'/blocks'() {
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

/** Reads about `size` bytes, then pauses. */
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
    'abandons %s when the peer reads nothing for writeTimeout',
    async (path) => {
      let aborted: AbortSignal | undefined
      const application: Application = (environ, startResponse) => {
        aborted = environ['portico.signal']
        startResponse('200 OK', [['Content-Type', 'text/plain']])
        return bodies[path]!()
      }
      const listen = `unix:${join(directory.path, `${name}${path.replace('/', '-')}`)}`
      const options = { listen, shutdownTimeout: 0, writeTimeout: 2 * SWEEP_TIME }
      const server = await new Handler(options).run(application)
      const socket = connect(listen.slice(5))
      socket.on('error', () => {})
      socket.pause()
      socket.write(request(path))
      // Slow reads for longer than the limit: each sweep finds that the peer has read something.
      let taken = 0
      for (const end = performance.now() + 5 * SWEEP_TIME; performance.now() < end;) {
        taken += await take(socket, SLOW_READ)
        await sleep(SWEEP_TIME / 4)
      }
      expect(taken).toBeLessThan(SIZE)
      expect(server.connections).toBe(1)
      while (server.connections > 0) await sleep(50)
      if (path === '/blocks') expect(aborted!.aborted).toBe(true)
      // What the kernel buffered still arrives, but not the whole response.
      const rest: Buffer[] = []
      for await (const chunk of socket) rest.push(chunk as Buffer)
      expect(taken + Buffer.concat(rest).length).toBeLessThan(SIZE)
      await server.close()
    },
  )

  it.concurrent('abandons a response that the application extends without waiting', async () => {
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
    const listen = `unix:${join(directory.path, `${name}-adding`)}`
    const options = { listen, shutdownTimeout: 0, writeTimeout: 2 * SWEEP_TIME }
    const server = await new Handler(options).run(application)
    const socket = connect(listen.slice(5))
    socket.on('error', () => {})
    socket.pause()
    socket.write(request('/'))
    await vi.waitFor(() => expect(closed).toBe(1), 20 * SWEEP_TIME)
    await vi.waitFor(() => expect(server.connections).toBe(0), 20 * SWEEP_TIME)
    for (const timer of adding) clearInterval(timer)
    socket.destroy()
    await server.close()
  })
})
