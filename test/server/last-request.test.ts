/**
 * close() and kept-alive connections: a request that a web server sends at that moment gets its
 * response. nginx does not send a POST a second time, but responds with a 502.
 */
import type { Buffer } from 'node:buffer'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import type { Application } from '../../src/types.ts'
import { fastcgi, Peer } from '../hostile/peer.ts'
import { bundle, start, temporaryDirectory } from './child.ts'

const directory = temporaryDirectory()
afterAll(directory.remove)

const application: Application = async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [`<${body.toString()}>`]
}

const POST = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: '

const gateways = [
  {
    name: 'FastCGIHandler',
    Handler: FastCGIHandler,
    request: (body: string) => fastcgi(1, '/', body),
    last: /<last>/,
  },
  {
    name: 'HTTPHandler',
    Handler: HTTPHandler,
    request: (body: string) => `${POST}${body.length}\r\n\r\n${body}`,
    last: /Connection: close\r\n[^]*<last>$/,
  },
]

test.each(gateways)(
  'A request on a kept-alive connection of $name, sent after close(), gets the last response',
  async ({ name, Handler, request, last }) => {
    const path = join(directory.path, name)
    const server = await new Handler({ listen: `unix:${path}` }).run(application)
    const [busy, idle] = [new Peer(path), new Peer(path)]
    for (const peer of [busy, idle]) {
      peer.send(request('first'))
      await peer.until(has('<first>'))
    }
    const closed = server.close()
    // More than the turns in which close() takes what the kernel has.
    for (let turn = 0; turn < 30; turn += 1) await new Promise(setImmediate)
    busy.send(request('last'))
    await busy.closed
    expect(busy.text).toMatch(last)
    await idle.closed
    await closed
  },
)

test('A request that arrives while the event loop is blocked, and idle connections should be closed, gets the last response', async () => {
  const script = await bundle(
    directory.path,
    'blocked',
    `import fs from 'node:fs'
    import { FastCGIHandler } from '#src/../handlers/fastcgi.ts'
    const { SOCKET } = process.env
    const server = await new FastCGIHandler({ listen: 'unix:' + SOCKET }).run(async (environ, startResponse) => {
      const body = await environ['wsgi.input'].read()
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return ['<' + body + '>']
    })
    process.once('SIGTERM', () => {
      const began = performance.now()
      server.close()
      // In the check phase: timers are the next to run, before the loop reads from any socket.
      setTimeout(() => setImmediate(() => {
        fs.writeSync(1, 'blocked\\n')
        // Until after the moment in which idle connections are closed, and the request has been sent.
        while (performance.now() < began + 700 || !fs.existsSync(SOCKET + '.sent')) {
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
        }
      }), 50)
    })
    console.log('listening')`,
  )
  const path = join(directory.path, 'blocked')
  const child = start(process.execPath, [script], { env: { SOCKET: path } })
  await child.printed('listening')
  const peer = new Peer(path).send(fastcgi(1, '/', 'first'))
  await peer.until(has('<first>'))
  child.process.kill('SIGTERM')
  await child.printed('blocked')
  await new Promise((resolve) => peer.socket.write(fastcgi(1, '/', 'last'), resolve))
  writeFileSync(`${path}.sent`, '')
  await peer.closed
  expect(peer.text).toContain('<last>')
  expect(await child.ended).toMatchObject({ code: 0 })
})

function has(text: string) {
  return (received: Buffer) => received.includes(text) || undefined
}
