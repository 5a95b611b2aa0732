/** `makeServer`, `demoApp` and `HTTPRequestHandler` over real sockets, as in wsgiref.simple_server. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { HTTPRequestHandler } from '../../src/exports/http.ts'
import { accessLog } from '../../src/exports/middleware.ts'
import { demoApp, makeServer, type WSGIServer } from '../../src/exports/wsgiref.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import type { Application, HeaderList } from '../../src/types.ts'

const DATE = 'Thu, 01 Jan 2026 00:00:00 GMT'

const hello: Application = (_, startResponse) => {
  startResponse('200 OK', [
    ['Content-Type', 'text/plain'],
    ['Date', DATE],
  ])
  return ['Hello, world!']
}

const dated: Application = (_, startResponse) => {
  startResponse('200 OK', [
    ['Content-Type', 'text/plain; charset=utf-8'],
    ['Date', 'Wed, 24 Dec 2008 13:29:32 GMT'],
  ])
  return ['data']
}

const invalid: Application = (_, startResponse) => {
  startResponse('200 OK', [])
  return ['no type']
}

let server: WSGIServer | undefined

afterEach(async () => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
  await server?.close()
})

async function serve(...[application, options]: [Application, Parameters<typeof makeServer>[3]?]) {
  await server?.close()
  server = makeServer('127.0.0.1', 0, application, options)
  const address = await server.start()
  if (address.kind !== 'tcp') throw new Error('no port')
  return { host: address.host, port: address.port }
}

async function ask(application: Application, target = '/', headers: HeaderList = []) {
  return httpRequest(await serve(application, { validate: false }), { target, headers })
}

/** What the server sends in response to bytes until it closes. */
async function raw(bound: { host: string; port: number }, bytes: string): Promise<string> {
  const socket = connect(bound)
  let response = ''
  socket.setEncoding('latin1').on('data', (text: string) => (response += text))
  socket.end(bytes, 'latin1')
  await once(socket, 'close')
  return response
}

test('the head has the status, then Server, then the headers in order, then Content-Length', async () => {
  const bound = await serve(hello, { validate: false })
  expect(await raw(bound, 'GET / HTTP/1.0\r\n\r\n')).toBe(
    `HTTP/1.1 200 OK\r\nServer: Portico\r\nContent-Type: text/plain\r\nDate: ${DATE}\r\n` +
      'Content-Length: 13\r\nConnection: close\r\n\r\nHello, world!',
  )
})

test('the path is decoded, repeated headers are joined, and spaces around values are removed', async () => {
  const seen: unknown[] = []
  await ask(
    (environ, startResponse) => {
      seen.push(environ['HTTP_X_TEST_HEADER'], environ.QUERY_STRING, environ.PATH_INFO)
      return hello(environ, startResponse)
    },
    '/p%61th/?query=test',
    [
      ['X-Test-Header', 'Python test '],
      ['X-Test-Header', 'Python test 2'],
    ],
  )
  expect(seen).toEqual(['Python test, Python test 2', 'query=test', '/path/'])
})

test('makeServer refuses lines that end in a bare LF', async () => {
  const bound = await serve(hello)
  expect(await raw(bound, 'GET / HTTP/1.0\n\n')).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/)
})

test('a request line that is too long is refused, and the server keeps running', async () => {
  const bound = await serve(hello)
  const response = await raw(bound, `GET /${'x'.repeat(65_537)} HTTP/1.0\r\n\r\n`)
  expect(response).toMatch(/^HTTP\/1\.1 414 URI Too Long\r\n/)
  expect((await httpRequest(bound)).status).toBe(200)
})

test('the application’s Date is kept, and the access log reports what was sent', async () => {
  const lines: string[] = []
  const logged = accessLog(dated, { format: 'common', write: (line) => lines.push(line) })
  const bound = await serve(logged, { validate: true })
  // The validator hides the length of the body, so the end of the connection ends it.
  expect(await raw(bound, 'GET / HTTP/1.0\r\n\r\n')).toBe(
    'HTTP/1.1 200 OK\r\nServer: Portico\r\nContent-Type: text/plain; charset=utf-8\r\n' +
      'Date: Wed, 24 Dec 2008 13:29:32 GMT\r\nConnection: close\r\n\r\ndata',
  )
  expect(lines).toEqual([
    expect.stringMatching(
      /^127\.0\.0\.1 - - \[\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET \/ HTTP\/1\.0" 200 4\n$/,
    ),
  ])
})

test('percent-encoded bytes above 0x7f are decoded to bytes; unencoded ones are refused', async () => {
  let path: string | undefined
  await ask((environ, startResponse) => {
    path = environ.PATH_INFO
    return hello(environ, startResponse)
  }, '/%80%C3')
  expect(path).toBe('/\x80\xc3')
  expect(await raw(await serve(hello), 'GET /\x80 HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /)
})

test('demoApp says hello and lists the environ, sorted, a line for each key', async () => {
  const { body, header } = await ask(demoApp, '/xyz?abc', [['X-Odd', '<\xe9>']])
  expect(header('Content-Type')).toBe('text/plain; charset=utf-8')
  const [greeting, empty, ...lines] = body.toString().trimEnd().split('\n')
  expect([greeting, empty]).toEqual(['Hello world!', ''])
  expect(lines).toEqual(
    expect.arrayContaining(["PATH_INFO = '/xyz'", "QUERY_STRING = 'abc'", "HTTP_X_ODD = '<é>'"]),
  )
  const keys = lines.map((line) => line.split(' = ')[0]!)
  expect(keys).toEqual(keys.toSorted())
  expect(keys).toEqual(expect.arrayContaining(['SERVER_NAME', 'wsgi.input', 'wsgi.version']))
})

describe('The validator of makeServer()', () => {
  test.each([
    ['is on by default', {}, undefined, 500],
    ['is off in production', {}, 'production', 200],
    ['is on in production with validate: true', { validate: true }, 'production', 500],
    ['is off with validate: false', { validate: false }, undefined, 200],
  ])('%s', async (_, options, environment, status) => {
    vi.stubEnv('NODE_ENV', environment)
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    expect((await httpRequest(await serve(invalid, options))).status).toBe(status)
    const said = write.mock.calls.map(([text]) => String(text)).join('')
    if (status === 500) expect(said).toContain('Content-Type')
    else expect(said).toBe('')
  })

  test('does not wrap a framework’s application', async () => {
    const framework = { fetch: () => new Response(null, { headers: { 'X-A': '1' } }) }
    server = makeServer('127.0.0.1', 0, framework)
    const address = await server.start()
    expect((await httpRequest(address as { host: string; port: number })).status).toBe(200)
  })
})

test('handleRequest() serves one request with the given class and closes', async () => {
  class Named extends HTTPRequestHandler {
    override serverSoftware = 'Named'
  }
  server = makeServer('127.0.0.1', 0, hello, { requestHandler: Named })
  const handled = server.handleRequest()
  await expect.poll(() => server?.address).not.toBe(null)
  const bound = server.address as { host: string; port: number }
  expect((await httpRequest(bound)).body.toString()).toBe('Hello, world!')
  await handled
  await expect(httpRequest(bound)).rejects.toMatchObject({ code: 'PORTICO_DISCONNECTED' })
})

test('serveForever() serves until close()', async () => {
  server = makeServer('127.0.0.1', 0, hello)
  const served = server.serveForever()
  await expect.poll(() => server?.address).not.toBe(null)
  const bound = server.address as { host: string; port: number }
  for (let i = 0; i < 3; i += 1) expect((await httpRequest(bound)).status).toBe(200)
  await server.close()
  await served
  expect(server.address).toBe(null)
})
