/** `portico reload` behind web servers that keep connections to the application: no POST is lost. */
import { rm } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { APPLICATION, portico, serve, statusOf, type Served } from '../master/portico.ts'
import { startApache } from './apache.ts'
import { startHaproxy } from './haproxy.ts'
import { replacing } from './mount.ts'
import { startNginx } from './nginx.ts'
import { installed, makeDirectory, type WebServer } from './process.ts'

/** Clients of the web server at once: enough that requests overlap on each worker. */
const CLIENTS = 12

/** Reloads during the requests; each replaces both workers. */
const RELOADS = 2

let directory: string
let served: Served | undefined
let server: WebServer | undefined

beforeEach(async () => void (directory = await makeDirectory()))
afterEach(async () => {
  await server?.stop()
  served?.process.kill()
  await served?.ended
  server = served = undefined
  await rm(directory, { recursive: true, force: true })
})

const to = () => `unix:${join(directory, 'app.sock')}`

const SERVERS = [
  {
    name: 'nginx with keepalive 16',
    program: installed('nginx'),
    start: () => startNginx({ mounts: [{ at: '/', to: to() }], keepalive: 16 }),
  },
  {
    name: 'HAProxy with multiplexed connections',
    program: installed('haproxy'),
    start: () =>
      startHaproxy({
        mounts: [{ at: '/', to: to() }],
        edit: replacing(['option keep-conn', 'option keep-conn\n    option mpxs-conns']),
      }),
  },
  {
    name: 'Apache with enablereuse',
    program: installed('apache2'),
    start: () =>
      startApache({
        extra: `ProxyPass "/" "${to()}|fcgi://app/" enablereuse=on
<Location "/">
  Require all granted
</Location>`,
      }),
  },
] as const

/** Sends POSTs one after another until `done` says so; resolves to what did not succeed. */
async function post(port: number, done: () => boolean, count: () => void): Promise<string[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const failures: string[] = []
  while (!done()) {
    const text = await new Promise<string>((resolve) => {
      const options = { host: '127.0.0.1', port, path: '/path', method: 'POST', agent }
      const sent = request(options, (response) => {
        let body = ''
        response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk))
        response.on('end', () => resolve(`${response.statusCode} ${body}`))
        response.on('error', (error) => resolve(String(error)))
      })
      sent.on('error', (error) => resolve(String(error)))
      sent.end('x'.repeat(1000))
    })
    count()
    if (!/^200 \d+ 1000 true$/.test(text)) failures.push(text)
  }
  agent.destroy()
  return failures
}

describe.each(SERVERS)('$name', ({ program, start }) => {
  test.skipIf(!program.available)(
    `loses no POST while the application is reloaded${program.hint}`,
    async () => {
      served = serve(directory, ['--socket-mode', '0666'], { source: APPLICATION })
      await served.printed('Serving')
      server = await start()
      const { port } = server
      let responses = 0
      let stopped = false
      const clients = Array.from({ length: CLIENTS }, () =>
        post(
          port,
          () => stopped,
          () => (responses += 1),
        ),
      )
      try {
        for (let i = 0; i < RELOADS; i += 1) {
          const before = responses
          expect(await portico('reload', served.control)).toMatchObject({ code: 0 })
          // Each client has sent a request to the new workers, on a connection that has moved.
          await expect.poll(() => responses).toBeGreaterThan(before + CLIENTS)
        }
      } finally {
        stopped = true
      }
      expect((await Promise.all(clients)).flat()).toEqual([])
      const { totals } = await statusOf(served)
      expect(totals).toMatchObject({ reloads: RELOADS, active: 0 })
      expect(totals.requests).toBeGreaterThanOrEqual(responses)
      // The connections are kept alive: otherwise there was nothing to lose.
      expect(totals.idle).toBeGreaterThan(0)
    },
  )
})
