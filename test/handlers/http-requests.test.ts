/**
 * What an HTTP server is sent that a web server would never pass on: ambiguous requests,
 * pipelined requests, bodies that are not read. Over bare sockets.
 */
import { Buffer } from 'node:buffer'
import { execFileSync } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test, vi } from 'vitest'
import {
  HTTPHandler,
  makeServer,
  HTTPRequestHandler,
  type HTTPOptions,
} from '../../src/exports/http.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application } from '../../src/types.ts'
import { eventually } from './applications.ts'

let server: GatewayServer | undefined
let socket: Socket | undefined

afterEach(async () => {
  socket?.destroy()
  await server?.close()
})

async function serve(application: Application, options: HTTPOptions = {}): Promise<number> {
  server = await new HTTPHandler({ listen: 0, ...options }).run(application)
  return portOf(server.address)
}

function portOf(address: GatewayServer['address'] | null): number {
  if (address?.kind !== 'tcp') throw new Error('no port')
  return address.port
}

/** A connection that has sent `bytes` and collects what comes. */
function client(port: number, bytes: string): { socket: Socket; text: () => string } {
  const chunks: Buffer[] = []
  socket = connect(port, '127.0.0.1')
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('error', () => {})
  socket.write(bytes, 'latin1')
  return { socket, text: () => Buffer.concat(chunks).toString('latin1') }
}

/** What the server sends in response to `bytes` until it closes. */
async function ask(port: number, bytes: string): Promise<string> {
  const { socket: open, text } = client(port, bytes)
  await new Promise((resolve) => open.once('close', resolve))
  return text()
}

function request(line: string, ...headers: string[]): string {
  return [line, 'Host: a', ...headers, '', ''].join('\r\n')
}

const hello: Application = (_, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return ['hello']
}

const reader: Application = async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', [])
  return [`${body.length} bytes`]
}

describe('Expect:', () => {
  test.each([
    ['once', ['Expect: 100-continue']],
    ['twice', ['Expect: 100-continue', 'Expect: 100-continue']],
    ['in a list', ['Expect: 100-Continue, 100-continue']],
  ])('100-continue %s gets a 100 (Continue) when the application reads', async (_, expects) => {
    const port = await serve(reader)
    const { socket: open, text } = client(
      port,
      request('POST / HTTP/1.1', ...expects, 'Content-Length: 4', 'Connection: close'),
    )
    await eventually(() => text() === 'HTTP/1.1 100 Continue\r\n\r\n')
    open.write('abcd')
    await eventually(() => text().endsWith('4 bytes'))
  })

  test('of HTTP/1.0 is ignored (RFC 9110, section 10.1.1)', async () => {
    const port = await serve(reader)
    const head = request('POST / HTTP/1.0', 'Expect: 100-continue', 'Content-Length: 4')
    expect(await ask(port, `${head}abcd`)).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*4 bytes$/)
  })

  test('for a body that is not read closes the connection after the response', async () => {
    const port = await serve(hello)
    const head = request('POST / HTTP/1.1', 'Expect: 100-continue', 'Content-Length: 4')
    expect(await ask(port, head)).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*Connection: close\r\n/)
  })
})

describe('An ambiguous request:', () => {
  const chunked = 'Transfer-Encoding: chunked'
  const end = '0\r\n\r\n'

  test.each([
    ['two Host headers', '400 Bad Request', request('GET / HTTP/1.1', 'Host: b')],
    ['no Host header', '400 Bad Request', 'GET / HTTP/1.1\r\n\r\n'],
    ['a header that spans two lines', '400 Bad Request', request('GET / HTTP/1.1', 'X-A: b', ' c')],
    [
      'Content-Length before Transfer-Encoding',
      '400 Bad Request',
      request('POST / HTTP/1.1', 'Content-Length: 5', chunked) + end,
    ],
    [
      'Transfer-Encoding before Content-Length',
      '400 Bad Request',
      request('POST / HTTP/1.1', chunked, 'Content-Length: 5') + end,
    ],
    [
      'two Content-Lengths',
      '400 Bad Request',
      request('POST / HTTP/1.1', 'Content-Length: 4', 'Content-Length: 4') + 'abcd',
    ],
    [
      'a space before the colon',
      '400 Bad Request',
      request('POST / HTTP/1.1', 'Transfer-Encoding : chunked') + end,
    ],
    [
      'a transfer coding below chunked',
      '501 Not Implemented',
      request('POST / HTTP/1.1', 'Transfer-Encoding: gzip, chunked') + end,
    ],
    [
      'a transfer coding below chunked, in a header of its own',
      '501 Not Implemented',
      request('POST / HTTP/1.1', 'Transfer-Encoding: gzip', chunked) + end,
    ],
    ['chunked twice', '400 Bad Request', request('POST / HTTP/1.1', chunked, chunked) + end],
    [
      'chunked in HTTP/1.0',
      '400 Bad Request',
      request('POST / HTTP/1.0', 'Connection: keep-alive', chunked) + end,
    ],
    ['another version', '505 HTTP Version Not Supported', request('GET / HTTP/2.0')],
    ['an older version', '505 HTTP Version Not Supported', request('GET / HTTP/0.9')],
    ['a user in the target', '400 Bad Request', request('GET http://me:pw@a/ HTTP/1.1')],
    ['a target without a host', '400 Bad Request', request('GET http:///a HTTP/1.1')],
    ['a target whose host is invalid', '400 Bad Request', request('GET http://a\\b/ HTTP/1.1')],
    ['CONNECT', '501 Not Implemented', request('CONNECT a:80 HTTP/1.1')],
  ])('%s is refused, and its connection closed', async (_, status, bytes) => {
    const port = await serve(reader)
    const response = await ask(port, bytes)
    expect(response.split('\r\n')[0]).toBe(`HTTP/1.1 ${status}`)
    expect(response).toContain('\r\nConnection: close\r\n')
    expect(response.match(/HTTP\/1\.1/g)).toHaveLength(1)
  })

  test('chunked in upper case is not ambiguous, and is decoded', async () => {
    const port = await serve(reader)
    const head = request('POST / HTTP/1.1', 'Transfer-Encoding: Chunked', 'Connection: close')
    expect(await ask(port, `${head}3\r\nabc\r\n0\r\n\r\n`)).toMatch(/3 bytes$/)
  })

  test.each([
    ['GET http://b:81/c?d HTTP/1.1', ['b:81', '/c', 'd']],
    ['OPTIONS * HTTP/1.1', ['a', '/', '']],
  ])('%s is split into its parts', async (line, [host, path, query]) => {
    const port = await serve((environ, startResponse) => {
      startResponse('200 OK', [])
      const { HTTP_HOST, PATH_INFO, QUERY_STRING } = environ
      return [JSON.stringify([HTTP_HOST, PATH_INFO, QUERY_STRING])]
    })
    const response = await ask(port, request(line, 'Connection: close'))
    expect(response.slice(response.indexOf('\r\n\r\n') + 4)).toBe(
      JSON.stringify([host, path, query]),
    )
  })
})

/** Chunks that never come. */
const silence = { next: () => new Promise<never>(() => {}) }

describe('Pipelined requests', () => {
  test.each([
    ['a request line', 'GET / HTTP/1.1 \x00\r\n\r\n'],
    ['a Content-Length', request('POST / HTTP/1.1', 'Content-Length: x')],
  ])('before one with an invalid %s get their responses', async (_, refused) => {
    const port = await serve(async (environ, startResponse) => {
      await sleep(20)
      startResponse('200 OK', [])
      return [`response to ${environ.PATH_INFO}.`]
    })
    const responses = await ask(
      port,
      request('GET /1 HTTP/1.1') + request('GET /2 HTTP/1.1') + refused,
    )
    const [first, second, third, ...more] = responses.split(/(?=HTTP\/1\.1 )/)
    expect(first).toMatch(/response to \/1\.$/)
    expect(second).toMatch(/response to \/2\.$/)
    expect([third, ...more]).toEqual(['HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'])
  })

  test('get their responses in order, HEAD without a body', async () => {
    const port = await serve(async (environ, startResponse) => {
      if (environ.PATH_INFO === '/1') await sleep(20)
      startResponse('200 OK', [['Date', 'now']])
      return [`response to ${environ.PATH_INFO}.`]
    })
    const responses = await ask(
      port,
      request('GET /1 HTTP/1.1') +
        request('HEAD /2 HTTP/1.1') +
        request('GET /3 HTTP/1.1', 'Connection: close'),
    )
    const [first, second, third] = responses.split(/(?=HTTP\/1\.1 200 OK)/)
    expect(first).toMatch(/response to \/1\.$/)
    expect(second).toMatch(/\r\nContent-Length: 15\r\n[^]*\r\n\r\n$/)
    expect(third).toMatch(/response to \/3\.$/)
  })

  test('whose response is aborted leave earlier responses complete', async () => {
    const port = await serve(async function* (environ, startResponse) {
      if (environ.PATH_INFO === '/1') await sleep(20)
      startResponse('200 OK', [['Content-Length', environ.PATH_INFO === '/1' ? '4' : '40']])
      yield 'abcd'
    })
    const responses = await ask(
      port,
      request('GET /1 HTTP/1.1') + request('GET /2 HTTP/1.1') + request('GET /3 HTTP/1.1'),
    )
    expect(responses.match(/Content-Length: 40?\r\n|abcd/g)).toEqual([
      'Content-Length: 4\r\n',
      'abcd',
      'Content-Length: 40\r\n',
      'abcd',
    ])
  })

  test('wait unread by the thousand, and all get a response in the end', async () => {
    const total = 20_000
    const bell = new EventEmitter()
    const rung = once(bell, 'ring')
    let started = 0
    const port = await serve(async (_, startResponse) => {
      started += 1
      await rung
      startResponse('200 OK', [])
      return ['.']
    })
    const { text } = client(port, request('GET / HTTP/1.1').repeat(total))
    await eventually(() => started > 0)
    await sleep(200)
    expect(started).toBe(64)
    bell.emit('ring')
    await eventually(() => started === total && text().split('HTTP/1.1 200').length > total)
  })

  test('are not run after one that is aborted', async () => {
    let started = 0
    const port = await serve(async function* (environ, startResponse) {
      started += 1
      if (environ.PATH_INFO !== '/1') await once(environ['portico.signal'], 'abort')
      startResponse('200 OK', [['Content-Length', '40']])
      yield 'abcd'
    })
    const rest = request('GET /2 HTTP/1.1').repeat(199)
    expect(await ask(port, request('GET /1 HTTP/1.1') + rest)).toMatch(/\r\nabcd$/)
    await eventually(() => server!.connections === 0)
    expect(started).toBe(64)
  })

  test.each([3, 100])(
    '(%d of them) are all aborted when their client disconnects',
    async (total) => {
      let [started, aborted, closed] = [0, 0, 0]
      const port = await serve((environ, startResponse) => {
        started += 1
        environ['portico.signal'].addEventListener('abort', () => (aborted += 1))
        startResponse('200 OK', [])
        return { close: () => (closed += 1), [Symbol.asyncIterator]: () => silence }
      })
      const { socket: gone } = client(port, request('GET / HTTP/1.1').repeat(total))
      await eventually(() => started === Math.min(total, 64))
      await sleep(50) // Those that are too many stop the reading: that the client goes is not seen.
      gone.resetAndDestroy()
      await eventually(() => server!.connections === 0)
      expect({ aborted, closed }).toEqual({ aborted: started, closed: started })
      expect(started).toBe(Math.min(total, 64))
    },
  )

  test('of an application that responds immediately all get a response', async () => {
    const port = await serve(hello)
    const { socket: open, text } = client(port, '')
    for (let round = 1; round <= 20; round += 1) {
      open.write(request('GET / HTTP/1.1').repeat(100))
      await eventually(() => text().split('HTTP/1.1 200 OK').length === round * 100 + 1)
    }
  })
})

test('An unread request body does not truncate a response that the client reads slowly', async () => {
  const size = 32 * 1024 * 1024
  const port = await serve((_, startResponse) => {
    startResponse('200 OK', [])
    return [Buffer.alloc(size)]
  })
  const open = connect(port, '127.0.0.1').pause()
  socket = open
  let received = 0
  open.write(request('POST / HTTP/1.1', 'Content-Length: 1000'))
  await sleep(2_500) // The client reads the response late.
  open.on('data', (chunk: Buffer) => (received += chunk.length)).resume()
  await new Promise((resolve) => open.once('close', resolve))
  expect(received).toBeGreaterThan(size)
})

test('The last response is not lost because of an unread request body', async () => {
  const reached: string[] = []
  const port = await serve((environ, startResponse) => {
    reached.push(environ.PATH_INFO)
    return hello(environ, startResponse)
  })
  const open = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).setEncoding('latin1')
  socket = open
  let text = ''
  const errors: Error[] = []
  open.on('data', (chunk: string) => (text += chunk))
  open.on('error', (error) => errors.push(error))
  open.write(request('POST /1 HTTP/1.1', 'Connection: close', 'Content-Length: 2000'))
  await eventually(() => text.endsWith('hello'))
  for (let i = 0; i < 20; i += 1) {
    open.write('x'.repeat(100))
    await sleep(5)
  }
  open.end(request('GET /2 HTTP/1.1'))
  await eventually(() => open.destroyed)
  expect(errors).toEqual([])
  expect(reached).toEqual(['/1'])
})

test('An HTTP/1.0 connection is closed after the response, even if the client asks to keep it alive', async () => {
  const port = await serve(hello)
  const response = await ask(port, request('GET / HTTP/1.0', 'Connection: keep-alive'))
  expect(response).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
  expect(response).toContain('\r\nConnection: close\r\n')
  expect(response).toMatch(/hello$/)
})

test('A server whose start() is called twice at once listens once', async () => {
  const first = makeServer('127.0.0.1', 0, hello)
  const port = portOf(await first.start())
  await first.close()
  const simple = makeServer('127.0.0.1', port, hello)
  const served = simple.serveForever()
  await simple.start() // EADDRINUSE if it listened once more.
  expect(await ask(port, request('GET / HTTP/1.1', 'Connection: close'))).toMatch(/hello/)
  await simple.close()
  await served
})

describe('handleRequest()', () => {
  test('serves on the address that start() returned', async () => {
    const simple = makeServer('127.0.0.1', 0, hello)
    const port = portOf(await simple.start())
    const handled = simple.handleRequest()
    expect(portOf(simple.address)).toBe(port)
    expect(await ask(port, request('GET / HTTP/1.1'))).toMatch(/hello/)
    await handled
    expect(simple.address).toBeNull()
  })

  test('resolves even if the request cannot be handled', async () => {
    class Broken extends HTTPRequestHandler {
      override async run(): Promise<void> {
        throw new Error('oops')
      }
    }
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    const simple = makeServer('127.0.0.1', 0, hello, { requestHandler: Broken, shutdownTimeout: 0 })
    const port = portOf(await simple.start())
    const handled = simple.handleRequest()
    await ask(port, request('GET / HTTP/1.1'))
    await handled
    expect(write.mock.calls.join('')).toContain('Error: oops')
    write.mockRestore()
  })
})

describe('A refused head', () => {
  test.each([
    ['414 URI Too Long', 'GET /', 'a'],
    ['431 Request Header Fields Too Large', 'GET / HTTP/1.1\r\nHost: a\r\nCookie: ', 'a=b; '],
    ['400 Bad Request', 'GET / HTTP/1.1\nHost: a\n\n', 'a'],
  ])('gets a %s, which reaches a client that keeps writing', async (status, beginning, letters) => {
    const port = await serve(hello)
    const half = letters.repeat(450_000 / letters.length)
    const { socket: writing, text } = client(port, beginning)
    writing.pause()
    const closed = once(writing, 'close')
    const sent = () => new Promise((resolve) => writing.write(half, 'latin1', resolve))
    await sent()
    await sleep(50)
    // A client whose connection was reset would notice it here, and read no response.
    await sent()
    writing.resume()
    await closed
    expect(text()).toBe(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`)
  })

  test('is not read forever', async () => {
    const port = await serve(hello)
    const { socket: writing } = client(port, 'GET /')
    const closed = once(writing, 'close')
    const more = () => writing.write('a'.repeat(65_536))
    writing.on('drain', more)
    more()
    await closed
    expect(writing.bytesWritten).toBeLessThan(16 * 1024 * 1024)
  })

  test('that is incomplete after headersTimeout gets a 408', async () => {
    const port = await serve(hello, { headersTimeout: 100 })
    expect(await ask(port, 'GET / HTTP/1.1\r\n')).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/)
  })
})

test('a request whose client has reset the connection never reaches the application without an address', async () => {
  const seen: unknown[] = []
  const port = await serve((environ, startResponse) => {
    seen.push([environ.PATH_INFO, environ['REMOTE_ADDR']])
    return hello(environ, startResponse)
  })
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  // While this process waits for that one, the connection is made, used and reset.
  const script = `const socket = require('node:net').connect(${port}, '127.0.0.1')
    socket.write('GET /gone HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n', () => socket.resetAndDestroy())`
  execFileSync(process.execPath, ['-e', script], { stdio: 'ignore' })
  await ask(port, 'GET /there HTTP/1.0\r\n\r\n')
  expect(seen).toEqual([['/there', '127.0.0.1']])
  expect(write.mock.calls).toEqual([])
  write.mockRestore()
})

test('A kept-alive connection keeps no listeners of requests whose bodies were read, or not read', async () => {
  const sockets = new Set<Socket>()
  class Handler extends HTTPRequestHandler {
    override finished(): void {
      sockets.add(this.request.socket)
    }
  }
  let served = 0
  const port = await serve(
    async (environ, startResponse) => {
      served += 1
      if (environ.PATH_INFO === '/read') await environ['wsgi.input'].read()
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return ['ok']
    },
    { requestHandler: Handler },
  )
  const body = 'x'.repeat(100_000)
  const { socket: open, text } = client(port, '')
  for (let i = 0; i < 10; i += 1) {
    for (const path of ['/read', '/unread']) {
      open.write(
        `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      )
    }
    await eventually(() => text().split('HTTP/1.1 200 OK').length === 2 * (i + 1) + 1)
  }
  const [connection] = sockets
  expect(served).toBe(20)
  expect(connection!.listenerCount('close')).toBeLessThan(10)
})
