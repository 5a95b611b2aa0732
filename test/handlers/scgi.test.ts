/**
 * What only `SCGIHandler` does, over real sockets; socket-gateways.test.ts has what it shares with
 * the other gateways.
 */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { SCGIHandler, type SCGIOptions } from '../../handlers/scgi.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import type { Application, HeaderList } from '../../src/types.ts'
import { temporaryDirectory } from '../server/child.ts'
import { startApache } from '../servers/apache.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed } from '../servers/process.ts'
import { echo, HEAD, hello, log, PLAIN } from './applications.ts'
import { scgiHead, SCGIWebServer, type Received } from './web-server.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  vi.restoreAllMocks()
  for (const close of closers.splice(0).toReversed()) await close()
})

async function serve(app: Application, options: SCGIOptions = {}): Promise<GatewayServer> {
  const server = await new SCGIHandler({ listen: ':0', shutdownTimeout: 200, ...options }).run(app)
  closers.push(() => server.close())
  return server
}

function open(server: GatewayServer): SCGIWebServer {
  const web = new SCGIWebServer(server)
  closers.push(() => web.socket.destroy())
  return web
}

/** What arrives after `bytes` until the server closes. */
async function send(server: GatewayServer, ...bytes: (Buffer | string)[]): Promise<Received> {
  const { socket, closed } = open(server)
  for (const part of bytes) socket.write(part)
  return closed
}

/** As `send`, and the web server closes its half of the connection. */
async function sendAndEnd(server: GatewayServer, bytes: Buffer | string = ''): Promise<Received> {
  const { socket, closed } = open(server)
  socket.end(bytes)
  return closed
}

it('An SCGI response that is truncated on a Unix socket ends without the missing bytes', async () => {
  log()
  const directory = temporaryDirectory()
  closers.push(directory.remove)
  const listen = `unix:${directory.path}/app.sock`
  const server = await serve(
    async function* (_, startResponse) {
      startResponse('200 OK', [['Content-Length', '9']])
      yield 'a'
      throw new Error('broke')
    },
    { listen },
  )
  const { stdout } = await send(server, scgiHead())
  expect(stdout).toBe('Status: 200 OK\r\nContent-Length: 9\r\n\r\na')
})

describe('An SCGI request', () => {
  it('gets a response, and its signal aborts, if the client closes its half of the connection', async () => {
    let signal: AbortSignal | undefined
    const server = await serve(async (environ, startResponse) => {
      signal = environ['portico.signal']
      await once(signal, 'abort')
      return echo(environ, startResponse)
    })
    const { stdout } = await sendAndEnd(
      server,
      Buffer.concat([scgiHead({}, 4), Buffer.from('done')]),
    )
    expect(stdout).toBe(`${HEAD}Content-Length: 4\r\n\r\ndone`)
    expect(signal?.reason).toMatchObject({ code: 'PORTICO_DISCONNECTED' })
  })

  it.each([
    ['hello\r\n\r\n', 'SCGI: The SCGI request does not begin with a netstring\n'],
    ['9:a\0b\0c\0d\0x,', 'SCGI: The SCGI headers do not end where their length says\n'],
    [
      '36:CONTENT_LENGTH\x000\0\x9b\0a\0\x9b\0b\0SCGI\x001\0,',
      'SCGI: The SCGI header "\\x9b" appears twice\n',
    ],
  ])('%j is refused with one line in the log and no response', async (bytes, line) => {
    const lines = log()
    const request = Buffer.from(bytes.replace(/^36:/, `${bytes.length - 4}:`), 'latin1')
    expect(await send(await serve(hello), request)).toMatchObject({ stdout: '' })
    expect(lines).toEqual([line])
  })

  it.each([
    ['with too many bytes of headers', { maxHeaderBytes: 50 }, 'bytes; the limit is 50'],
    ['with too many headers', { maxHeaders: 4 }, 'than 4 SCGI headers'],
  ])('%s gets a 431, and no reset after it', async (_, options, line) => {
    const lines = log()
    // More than the two ends of a connection hold: closing on it would be a reset.
    const body = Buffer.alloc(4 * 1024 * 1024)
    const head = scgiHead({ HTTP_X: 'x' }, body.length)
    expect(await send(await serve(hello, options), head, body)).toEqual({
      stdout:
        'Status: 431 Request Header Fields Too Large\r\nContent-Type: text/plain\r\n' +
        'Content-Length: 32\r\n\r\nRequest Header Fields Too Large\n',
      stderr: '',
      end: 'complete',
    })
    expect(lines).toEqual([expect.stringMatching(`^SCGI: .*${line}\n$`)])
  })

  it('with a CONTENT_LENGTH that is not a number gets a 400 before it reaches the application', async () => {
    const lines = log()
    let ran = false
    const server = await serve((environ, startResponse) => {
      ran = true
      return hello(environ, startResponse)
    })
    const { stdout } = await send(server, '18:CONTENT_LENGTH\x00-1\0,')
    expect(stdout).toBe(
      'Status: 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\n' +
        'Bad Request\n',
    )
    expect(lines).toEqual(['SCGI: CONTENT_LENGTH "-1" is not a number of bytes\n'])
    expect(ran).toBe(false)
  })

  it('that ends within its headers is logged', async () => {
    const lines = log()
    await sendAndEnd(await serve(hello), '24:CONTENT')
    expect(lines).toEqual(['SCGI: The connection ended inside the SCGI headers\n'])
  })

  it('without a single byte, as of a health check, is not logged', async () => {
    const lines = log()
    await sendAndEnd(await serve(hello))
    expect(lines).toEqual([])
  })
})

const slow: Application = async (environ, startResponse) => {
  await new Promise((resolve) => setTimeout(resolve, 1500))
  return hello(environ, startResponse)
}

describe('An SCGI connection', () => {
  it('is closed if its headers are incomplete after headersTimeout', async () => {
    const server = await serve(hello, { headersTimeout: 100, shutdownTimeout: 0 })
    expect(await send(server, '24:CONTENT')).toMatchObject({ stdout: '' })
  })

  it('may wait longer than headersTimeout for the response', async () => {
    const server = await serve(slow, { headersTimeout: 100, shutdownTimeout: 0 })
    expect((await send(server, scgiHead())).stdout).toMatch(/Hello\n$/)
  })
})

const describeRequest: Application = async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('201 Created', [
    ['Set-Cookie', 'a=1'],
    ['Set-Cookie', 'b=2'],
  ])
  const { SCRIPT_NAME, PATH_INFO, QUERY_STRING } = environ
  return [[environ['portico.gateway'], SCRIPT_NAME, PATH_INFO, QUERY_STRING, body].join(' ')]
}

describe.each([
  ['nginx', startNginx],
  ['apache2', startApache],
] as const)('SCGI through %s', (program, start) => {
  const { available, hint } = installed(program)

  it.skipIf(!available)(`passes the request to the application${hint}`, async () => {
    const server = await serve(describeRequest)
    const to = server.address.kind === 'tcp' ? `127.0.0.1:${server.address.port}` : ''
    const web = await start({ mounts: [{ at: '/app', to, protocol: 'scgi' }] })
    closers.push(() => web.stop())
    const request = { method: 'POST', target: '/app/a/b?q', body: 'x'.repeat(100_000) }
    const response = await httpRequest({ port: web.port }, request)
    expect(response.status).toBe(201)
    expect(String(response.body)).toBe(`scgi /app /a/b q ${request.body}`)
    expect(response.headers.filter(([name]) => /^set-cookie$/i.test(name))).toHaveLength(2)
  })

  it.skipIf(!available)(`gives the client a 431 for a head that is too large${hint}`, async () => {
    log()
    const server = await serve(hello, { maxHeaderBytes: 2000 })
    const to = server.address.kind === 'tcp' ? `127.0.0.1:${server.address.port}` : ''
    const web = await start({ mounts: [{ at: '/app', to, protocol: 'scgi' }] })
    closers.push(() => web.stop())
    const headers: HeaderList = [['Cookie', 'x'.repeat(4000)]]
    for (const body of ['', 'x'.repeat(1_000_000)]) {
      const request = { method: 'POST', target: '/app/', headers, body }
      const response = await httpRequest({ port: web.port }, request)
      expect(response.status).toBe(431)
      expect(String(response.body)).toBe('Request Header Fields Too Large\n')
    }
  })

  it.skipIf(!available)(`does not pass off a truncated response as complete${hint}`, async () => {
    log()
    const server = await serve(async function* (_, startResponse) {
      startResponse('200 OK', PLAIN)
      yield 'begun'
      await sleep(50)
      throw new Error('broke')
    })
    const to = server.address.kind === 'tcp' ? `127.0.0.1:${server.address.port}` : ''
    const extra = program === 'nginx' ? 'scgi_buffering off;' : ''
    const web = await start({ mounts: [{ at: '/app', to, protocol: 'scgi', extra }] })
    closers.push(() => web.stop())
    const request = { target: '/app/', headers: [['Connection', 'close']] as HeaderList }
    const outcome = await httpRequest({ port: web.port }, request).then(
      (response) => response.status,
      () => 'broken',
    )
    expect(outcome).not.toBe(200)
  })
})

it.each([
  ['that nginx does not send', 0, ''],
  ['that nginx sends', 5, 'hello'],
])('An empty CONTENT_LENGTH after the first one hides a body %s', async (_, length, sent) => {
  const server = await serve(async (environ, startResponse) => {
    const body = await environ['wsgi.input'].read()
    startResponse('200 OK', [])
    return [`${String(environ['CONTENT_LENGTH'])} ${body.length}`]
  })
  const head = scgiHead({ HTTP_CONTENT_LENGTH: '5', CONTENT_LENGTH: '' }, length)
  expect((await send(server, head, sent)).stdout).toContain('undefined 0')
})

it('A body is read up to CONTENT_LENGTH although nginx has nothing of it when it sends the headers', async () => {
  const server = await serve(async (environ, startResponse) => {
    const body = await environ['wsgi.input'].read()
    startResponse('200 OK', [])
    return [`${environ['CONTENT_LENGTH']} ${String(environ['HTTP_CONTENT_LENGTH'])} ${body.length}`]
  })
  // What nginx 1.22 sends with `scgi_request_buffering off`.
  const head = scgiHead({ HTTP_CONTENT_LENGTH: '5000' }, 0)
  const { stdout } = await send(server, head, Buffer.alloc(5_000, 'x'))
  expect(stdout).toContain('5000 undefined 5000')
})
