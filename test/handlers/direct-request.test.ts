// oxlint-disable unicorn/consistent-function-scoping -- a test shows its whole case in one place
/** Applications of node:http on an HTTP server: Node's own requests and responses, no bridge. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { afterEach, expect, test, vi } from 'vitest'
import express from 'express'
import { HTTPHandler, makeServer, type HTTPOptions } from '../../src/exports/http.ts'
import { fromNode, type NodeListener, type NodeRequest } from '../../src/exports/node.ts'
import type { Runnable } from '../../src/application/to-application.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'

let server: GatewayServer | undefined

afterEach(async () => {
  vi.restoreAllMocks()
  await server?.close({ timeout: 100 })
})

async function serve(application: Runnable, options: HTTPOptions = {}): Promise<number> {
  server = await new HTTPHandler({ listen: 0, ...options }).run(application)
  if (server.address.kind !== 'tcp') throw new Error('no port')
  return server.address.port
}

/** All that the server sends for `bytes` until it closes. */
async function ask(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.setEncoding('latin1').on('data', (part: string) => (text += part))
  socket.on('error', () => {})
  socket.write(bytes, 'latin1')
  await new Promise((resolve) => socket.once('close', resolve))
  return text
}

interface Response extends ServerResponse {
  json(value: unknown): void
}

const get = (path: string, ...headers: string[]) =>
  [`GET ${path} HTTP/1.1`, 'Host: a', 'Connection: close', ...headers, '', ''].join('\r\n')

const seen = (request: IncomingMessage) => (request as NodeRequest).environ

test('a listener gets rawHeaders and the environ, and the client gets its header case, 1xx and trailers', async () => {
  const listener: NodeListener = (request, response) => {
    response.writeEarlyHints({ link: '</a.css>; rel=preload' })
    response.writeHead(200, { 'X-CaSe': request.rawHeaders.join(), Trailer: 'X-End' })
    response.write(seen(request).PATH_INFO)
    response.addTrailers({ 'X-End': 'yes' })
    response.end()
  }
  const port = await serve(fromNode(listener))
  const text = await ask(port, get('/p', 'x-SENT: 1'))
  expect(text).toMatch(/^HTTP\/1\.1 103 Early Hints\r\n/)
  expect(text).toContain('X-CaSe: Host,a,Connection,close,x-SENT,1\r\n')
  expect(text).toContain('\r\n/p\r\n0\r\nX-End: yes\r\n\r\n')
})

test('Express sees the environ in every router, and Portico rewrites no URL', async () => {
  const app = express()
  app.use('/sub', (request: NodeRequest, response: Response) => {
    response.json([request.baseUrl, request.url, request.originalUrl, seen(request).REMOTE_ADDR])
  })
  const port = await serve(app)
  const text = await ask(port, get('/sub/x?y=%C3'))
  expect(text).toContain('["/sub","/x?y=%C3","/sub/x?y=%C3","127.0.0.1"]')
})

test('scriptName is removed from the URL, as in a bridge', async () => {
  const listener: NodeListener = (request, response) => {
    const { baseUrl, url, originalUrl } = request as NodeRequest
    response.end(JSON.stringify([baseUrl, url, originalUrl]))
  }
  const port = await serve(fromNode(listener), { scriptName: '/app' })
  expect(await ask(port, get('/app/a%2Fb?c'))).toContain('["/app","/a%2Fb?c","/app/a%2Fb?c"]')
})

test.each([
  ['two Host headers', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', '400'],
  ['two Content-Types', get('/', 'Content-Type: a/b', 'Content-Type: a/b'), '400'],
  [
    'a transfer coding below chunked',
    get('/', 'Transfer-Encoding: gzip, chunked') + '0\r\n\r\n',
    '501',
  ],
  ['a NUL in the path', get('/%00'), '400'],
  ['a user in the target', get('http://u@h/'), '400'],
  ['another version', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n', '505'],
  ['an older version', 'GET / HTTP/0.9\r\nHost: a\r\n\r\n', '505'],
  ['a path that is a star', 'PUT * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', '400'],
])('a direct request with %s is refused', async (_, bytes, status) => {
  vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const listener = vi.fn<NodeListener>()
  const port = await serve(fromNode(listener))
  expect(await ask(port, bytes)).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
  expect(listener).not.toHaveBeenCalled()
})

test('an invalid Host is passed to the application as by node:http, but makes no environ', async () => {
  vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const invalid = get('/').replace('Host: a', 'Host: a/b')
  const port = await serve(
    fromNode((request, response) => {
      if (request.headers['x-environ']) response.end(seen(request).PATH_INFO)
      else response.end(request.headers.host)
    }),
  )
  expect(await ask(port, invalid)).toMatch(/a\/b$/)
  expect(await ask(port, invalid.replace('\r\n', '\r\nX-Environ: 1\r\n'))).toMatch(
    /^HTTP\/1\.1 400 /,
  )
})

test('bytes after the last request do not replace its response', async () => {
  const port = await serve(
    fromNode((request, response) => {
      request.resume().once('end', () => setImmediate(() => response.end('late')))
    }),
  )
  const last = 'POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc'
  expect(await ask(port, `${last}GET / HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1\.1 200 [^]*late$/)
})

test.each<[string, NodeListener]>([
  [
    'throws',
    () => {
      throw new Error('oops')
    },
  ],
  ['rejects', () => Promise.reject(new Error('oops'))],
])('a listener that %s gives a 500 without its headers, and a log entry', async (_, fail) => {
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const port = await serve(
    fromNode((request, response) => {
      response.setHeader('X-Leak', 'LEAK')
      return fail(request, response)
    }),
  )
  const text = await ask(port, get('/'))
  expect(text).toMatch(/^HTTP\/1\.1 500 /)
  expect(text).not.toContain('LEAK')
  expect(write.mock.calls.join('')).toContain('GET /: Error: oops')
})

test('responseTimeout responds with a 504 and aborts portico.signal', async () => {
  vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  let signal: AbortSignal | undefined
  const listener: NodeListener = (request) => (signal = seen(request)['portico.signal'])
  const port = await serve(fromNode(listener), { responseTimeout: 50 })
  expect(await ask(port, get('/'))).toMatch(/^HTTP\/1\.1 504 /)
  expect(signal?.aborted).toBe(true)
})

function upgrading(): Server {
  const own = createServer((_, response) => response.end('plain'))
  return own.on('upgrade', (request: NodeRequest, socket: Socket) => {
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n`)
    socket.write(`${request.environ.PATH_INFO};`)
    request.environ['portico.signal'].addEventListener('abort', () => socket.end('bye'))
    Duplex.prototype.pipe.call(socket, socket, { end: false })
  })
}

const upgrade = 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n'

test('an upgrade reaches the http.Server, and ends when the server closes', async () => {
  const port = await serve(upgrading())
  const socket = connect(port, '127.0.0.1').setEncoding('latin1')
  let text = ''
  socket.on('data', (part: string) => (text += part))
  socket.write(upgrade)
  await expect.poll(() => text).toContain('/ws;')
  socket.write('frame')
  await expect.poll(() => text).toContain('frame')
  const closed = server!.close()
  await once(socket, 'end')
  socket.destroy()
  await closed
  expect(text).toMatch(/bye$/)
})

test('an ambiguous upgrade is refused', async () => {
  const port = await serve(upgrading())
  const text = await ask(port, upgrade.replace('Host: a', 'Host: a\r\nHost: b'))
  expect(text).toMatch(/^HTTP\/1\.1 400 /)
})

test('an http.Server without an upgrade listener handles upgrades as requests, as in Node', async () => {
  const port = await serve(createServer((_, response) => response.end('plain')))
  expect(await ask(port, upgrade.replace('Upgrade\r\n', 'Upgrade, close\r\n'))).toMatch(/plain$/)
})

test('the checkContinue and clientError listeners of an http.Server are called', async () => {
  const own = createServer((_, response) => response.end('plain'))
  own.on('checkContinue', (_, response) => response.writeHead(417).end())
  own.on('clientError', (_, socket) => socket.end('HTTP/1.1 499 Mine\r\n\r\n'))
  const port = await serve(own)
  expect(await ask(port, get('/', 'Expect: 100-continue'))).toMatch(/^HTTP\/1\.1 417 /)
  expect(await ask(port, 'nonsense\r\n\r\n')).toMatch(/^HTTP\/1\.1 499 Mine/)
})

test('makeServer passes a request to the listener directly, and handleRequest() resolves after it', async () => {
  const app = express()
  app.use((request: NodeRequest, response: Response) => response.end(request.rawHeaders[0]))
  const simple = makeServer('127.0.0.1', 0, app)
  const address = await simple.start()
  const handled = simple.handleRequest()
  if (address.kind !== 'tcp') throw new Error('no port')
  expect(await ask(address.port, get('/').replace('Host', 'hOST'))).toMatch(/hOST$/)
  await handled
})

test('an http.Server keeps no listeners of the closed servers that have run it', async () => {
  const own = createServer((_, response) => response.end('plain'))
  const count = () => own.listenerCount('newListener') + own.listenerCount('removeListener')
  const before = count()
  for (let i = 0; i < 3; i++) {
    await serve(own)
    expect(count()).toBe(before + 2)
    await server?.close({ timeout: 100 })
  }
  expect(count()).toBe(before)
})
