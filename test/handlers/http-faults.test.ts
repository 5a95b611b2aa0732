/** Faults that `HTTPHandler` had: each test fails without its fix. */
import type { IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { HTTPHandler, HTTPRequestHandler, type HTTPOptions } from '../../src/exports/http.ts'
import { fromNode } from '../../src/exports/node.ts'
import { bufferedChunks } from '../../src/node-internals/http-server.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application } from '../../src/types.ts'

let server: GatewayServer | undefined

afterEach(async () => {
  vi.restoreAllMocks()
  await server?.close({ timeout: 100 })
})

async function serve(application: Application, options: HTTPOptions = {}): Promise<number> {
  server = await new HTTPHandler({ listen: 0, ...options }).run(application)
  if (server.address.kind !== 'tcp') throw new Error('no port')
  return server.address.port
}

function client(port: number, bytes: string) {
  const socket: Socket = connect(port, '127.0.0.1')
  let text = ''
  socket.setEncoding('latin1').on('data', (part: string) => (text += part))
  socket.on('error', () => {})
  socket.write(bytes, 'latin1')
  const closed = new Promise<string>((resolve) => socket.once('close', () => resolve(text)))
  return { socket, closed, text: () => text }
}

test('100 (Continue) is not sent into the body of a response', async () => {
  const port = await serve(async (environ, startResponse) => {
    const write = startResponse('200 OK', [['Content-Length', '12']])
    await write('first;')
    const body = await environ['wsgi.input'].read()
    return [String(body)]
  })
  const head = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n'
  const { socket, text } = client(port, head)
  await expect.poll(text).toContain('first;')
  socket.write('second')
  await expect.poll(text).toMatch(/\r\n\r\nfirst;second$/)
  socket.destroy()
})

test.each([
  ['GET http://h HTTP/1.1', '200', '["","/",""]'],
  ['GET http://h?q HTTP/1.1', '200', '["","/","q"]'],
  ['GET http://h/ HTTP/1.1', '200', '["","/",""]'],
  ['GET HTTP://h/%20?#f HTTP/1.1', '200', '["","/ ",""]'],
  ['OPTIONS * HTTP/1.1', '200', '["","/",""]'],
  ['PUT * HTTP/1.1', '400', ''],
  ['GET * HTTP/1.1', '400', ''],
])('%s reaches the application with a path, or is refused', async (line, status, expected) => {
  vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const port = await serve(
    (environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      const { SCRIPT_NAME, PATH_INFO, QUERY_STRING } = environ
      return [JSON.stringify([SCRIPT_NAME, PATH_INFO, QUERY_STRING])]
    },
    { validate: true },
  )
  const text = await client(port, `${line}\r\nHost: h\r\nConnection: close\r\n\r\n`).closed
  expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
  expect(text).toContain(expected)
})

test('a response with a Trailer header arrives, without that header', async () => {
  const port = await serve((_, startResponse) => {
    startResponse('403 Forbidden', [
      ['X-Kept', 'yes'],
      ['tRAILER', 'X-End'],
    ])
    return ['body']
  })
  const text = await client(port, 'GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n').closed
  expect(text).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n[^]*X-Kept: yes\r\n[^]*\r\n\r\nbody$/)
  expect(text).not.toMatch(/trailer/i)
})

const { proxy, revoke } = Proxy.revocable({}, {})
revoke()
class Unreadable extends Error {
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    throw new Error('not this one')
  }
}

test.each([
  ['a revoked Proxy', proxy],
  ['an error whose inspection throws', new Unreadable('x')],
  ['null', null],
])('an application that throws %s gets the error page', async (_, thrown) => {
  vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  for (const application of [
    () => {
      throw thrown
    },
    async () => {
      throw thrown
    },
  ]) {
    const port = await serve(application)
    const text = await client(port, 'GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n').closed
    expect(text).toMatch(/^HTTP\/1\.1 500 /)
    await server!.close()
  }
})

const hello: Application = (_, startResponse) => {
  startResponse('200 OK', [])
  return ['hello']
}

test('empty lines do not keep an idle connection open', async () => {
  const port = await serve(hello, { idleTimeout: 1_000 })
  const { socket, closed } = client(port, 'GET / HTTP/1.1\r\nHost: h\r\n\r\n')
  const timer = setInterval(() => socket.write('\r\n'), 400)
  const started = Date.now()
  await closed
  clearInterval(timer)
  expect(Date.now() - started).toBeLessThan(10_000)
})

test('a connection without a request does not keep a server from closing', async () => {
  const port = await serve(hello)
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  await expect.poll(() => server!.connections).toBe(1)
  const started = Date.now()
  await server!.close()
  expect(Date.now() - started).toBeLessThan(5_000)
  socket.destroy()
})

test('a client that uploads for longer than 2 s gets an early response', async () => {
  const port = await serve(hello)
  const head = 'POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 700\r\n\r\n'
  const { socket, text } = client(port, head)
  socket.pause() // Reads only after it has sent everything.
  for (let i = 0; i < 7; i += 1) {
    await sleep(500)
    expect(socket.writable).toBe(true)
    socket.write('x'.repeat(100))
  }
  socket.resume()
  await expect.poll(text).toMatch(/hello$/)
  socket.destroy()
})

test('a connection moves to another process only after the rest of an unread body', async () => {
  const port = await serve(hello)
  const head = 'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n'
  const { socket, text } = client(port, `${head}12345`)
  await expect.poll(text).toMatch(/hello$/)
  await expect.poll(() => [...server!.open].map(({ idle }) => idle)).toEqual([true])
  let given = 0
  const retired = server!.retire((_, sent) => {
    given += 1
    sent(null)
  })
  expect(given).toBe(0)
  socket.write('67890')
  await retired
  expect(given).toBe(1)
})

test('a response arrives although an unread body is invalid, and its first bytes came with the head', async () => {
  const port = await serve(hello)
  const head = 'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n'
  const text = await client(port, `${head}not a length\r\n`).closed
  expect(text).toMatch(/^HTTP\/1\.1 200 [^]*\r\n\r\nhello$/)
})

test('an unread body in chunks of one byte is read ahead only up to a limit', async () => {
  let request: IncomingMessage | undefined
  class Handler extends HTTPRequestHandler {
    override async run(): Promise<void> {
      request = this.request
      await new Promise(() => {})
    }
  }
  const port = await serve(hello, { requestHandler: Handler })
  const { socket } = client(
    port,
    'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n',
  )
  socket.write('1\r\nx\r\n'.repeat(200_000))
  await expect.poll(() => request?.readableLength).toBeGreaterThan(0)
  await sleep(4_500) // The server looks at the connection each second.
  expect(bufferedChunks(request!)).toBeLessThan(30_000)
  socket.destroy()
})

describe('A request that has begun to arrive together with the one before it', () => {
  const first = 'GET / HTTP/1.1\r\nHost: h\r\n\r\n'
  const second = 'GET /2 HTTP/1.1\r\nHost: h\r\n\r\n'

  /** A client that has its first response, and has sent `length` bytes of the second request. */
  async function begun(length: number) {
    const port = await serve(hello)
    const peer = client(port, first + second.slice(0, length))
    await expect.poll(peer.text).toMatch(/hello$/)
    await expect.poll(() => [...server!.open].map(({ idle }) => idle)).toEqual([true])
    return { ...peer, rest: second.slice(length) }
  }

  test.each([1, 2, 8, 17, second.length - 1])(
    'is not lost when the connection moves to another process: %i bytes of it',
    async (length) => {
      const { socket, text, rest } = await begun(length)
      let given = 0
      const retired = server!.retire((_, sent) => {
        given += 1
        sent(null)
      })
      expect(given).toBe(0)
      socket.write(rest)
      await retired
      expect(given).toBe(1)
      await expect.poll(() => text().match(/HTTP\/1\.1 200 OK/g)?.length).toBe(2)
    },
  )

  test('is not lost when the server ends its idle connections', async () => {
    const { socket, text, rest, closed } = await begun(8)
    for (const connection of server!.open) connection.end()
    socket.write(rest)
    await closed
    expect(text().match(/HTTP\/1\.1 200 OK/g)).toHaveLength(2)
  })
})

const seenBy = (paths: string[]): Application[] => [
  async (environ, startResponse) => {
    paths.push(environ.PATH_INFO)
    await sleep(1)
    startResponse('200 OK', [])
    return ['x']
  },
  fromNode((request, response) => {
    paths.push(request.url!)
    setImmediate(() => response.end('x'))
  }),
]

describe.each([
  ['an application', 0],
  ['a listener of node:http', 1],
])('Of %s', (_, index) => {
  test.each([
    ['a refused coding', 'gzip, chunked', '0\r\n\r\n'],
    ['an empty Transfer-Encoding', '', ''],
    ['an empty element of a coding', ',chunked', '0\r\n\r\n'],
  ])('a request in the same read after %s does not run', async (__, coding, rest) => {
    vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    const paths: string[] = []
    const port = await serve(seenBy(paths)[index]!)
    const refused = `POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ${coding}\r\n\r\n${rest}`
    const next = 'GET /b HTTP/1.1\r\nHost: a\r\n\r\n'
    const text = await client(port, refused + next).closed
    expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1)
    expect(paths).toEqual([])
  })
})
