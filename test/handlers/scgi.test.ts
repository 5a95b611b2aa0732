/** `SCGIHandler` over real sockets, with the web server's side of `src/protocol/scgi.ts`. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { SCGIHandler, SCGIRequestHandler, type SCGIOptions } from '../../handlers/scgi.ts'
import { encodeRequest } from '../../src/protocol/scgi.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import type { Application, Environ, HeaderList } from '../../src/types.ts'
import { startApache } from '../servers/apache.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed, makeDirectory } from '../servers/process.ts'
import {
  deferred,
  echo,
  eventually,
  HEAD,
  hello,
  log,
  PLAIN,
  settled,
  streamEcho,
} from './applications.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  vi.restoreAllMocks()
  for (const close of closers.splice(0).toReversed()) await close()
})

async function serve(app: Application, options: SCGIOptions = {}): Promise<GatewayServer> {
  const server = await new SCGIHandler({ listen: ':0', shutdownTimeout: 200, ...options }).run(app)
  closers.push(() => server.close())
  return server
}

async function newDirectory(): Promise<string> {
  const folder = await makeDirectory()
  closers.push(() => rm(folder, { recursive: true, force: true }))
  return folder
}

function open({ address }: GatewayServer): Socket {
  if (address.kind === 'fd') throw new Error('no address')
  const where =
    address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port }
  const socket = connect({ ...where, allowHalfOpen: true })
  socket.on('error', () => {}) // What a test looks for is in `closed`.
  closers.push(async () => socket.destroy())
  return socket
}

/** All that comes until the other side closes; with the error that it may have closed with. */
async function received(socket: Socket): Promise<{ text: string; error: string | undefined }> {
  const chunks: Buffer[] = []
  let error: string | undefined
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('error', (fault: NodeJS.ErrnoException) => (error = fault.code))
  socket.on('end', () => socket.end())
  socket.resume()
  await new Promise((resolve) => socket.once('close', resolve))
  return { text: Buffer.concat(chunks).toString('latin1'), error }
}

const PARAMS = { REQUEST_METHOD: 'GET', REQUEST_URI: '/', SERVER_PROTOCOL: 'HTTP/1.1' }

function head(params: Record<string, string> = {}, length = 0): Buffer {
  return encodeRequest(Object.entries({ ...PARAMS, ...params }).flat(), length)
}

/** One exchange over a connection of its own. */
async function ask(
  server: GatewayServer,
  params: Record<string, string> = {},
  body = '',
): Promise<string> {
  const socket = open(server)
  const bytes = Buffer.from(body, 'latin1')
  socket.write(Buffer.concat([head(params, bytes.length), bytes]))
  return (await received(socket)).text
}

describe('An SCGI response', () => {
  it.each<[string, Application, Record<string, string>, string]>([
    [
      'begins with Status, as that of a CGI script does',
      hello,
      {},
      `${HEAD}Content-Length: 6\r\n\r\nHello\n`,
    ],
    ['to HEAD has no body', hello, { REQUEST_METHOD: 'HEAD' }, `${HEAD}Content-Length: 6\r\n\r\n`],
    [
      'with a status that excludes a body has no body',
      (_, startResponse) => {
        startResponse('204 No Content', [])
        return ['dropped']
      },
      {},
      'Status: 204 No Content\r\n\r\n',
    ],
    [
      'keeps repeated headers, their order and their case',
      (_, startResponse) => {
        startResponse('299 Odd  reason', [
          ['Set-Cookie', 'a=1'],
          ['x-UPPER', '\xe9'],
          ['Set-Cookie', 'b=2'],
        ])
        return []
      },
      {},
      'Status: 299 Odd  reason\r\nSet-Cookie: a=1\r\nx-UPPER: \xe9\r\nSet-Cookie: b=2\r\n' +
        'Content-Length: 0\r\n\r\n',
    ],
    [
      'encodes a string as UTF-8',
      (_, startResponse) => {
        startResponse('200 OK', PLAIN)
        return ['caf\u00e9']
      },
      {},
      `${HEAD}Content-Length: 5\r\n\r\ncaf\xc3\xa9`,
    ],
    [
      'contains bytes unchanged',
      (_, startResponse) => {
        startResponse('200 OK', PLAIN)
        return [Uint8Array.of(0, 255, 128)]
      },
      {},
      `${HEAD}Content-Length: 3\r\n\r\n\0\xff\x80`,
    ],
    [
      'contains all chunks in order',
      async function* (_, startResponse) {
        const write = startResponse('200 OK', PLAIN)
        await write('one ')
        yield 'two '
        yield Buffer.from('three')
      },
      {},
      `${HEAD}\r\none two three`,
    ],
  ])('%s', async (_, app, params, expected) => {
    expect(await ask(await serve(app), params)).toBe(expected)
  })

  it('is the same over a Unix socket', async () => {
    const listen = `unix:${await newDirectory()}/app.sock`
    expect(await ask(await serve(hello, { listen }))).toBe(
      `${HEAD}Content-Length: 6\r\n\r\nHello\n`,
    )
  })

  it('arrives complete although the request body is never read', async () => {
    const server = await serve(hello)
    const socket = open(server)
    const body = Buffer.alloc(4 * 1024 * 1024)
    socket.write(head({}, body.length))
    socket.write(body)
    expect(await received(socket)).toEqual({
      text: `${HEAD}Content-Length: 6\r\n\r\nHello\n`,
      error: undefined,
    })
  })

  it('that is truncated ends with a reset after everything that was sent', async () => {
    const lines = log()
    const taken = deferred()
    const server = await serve(async function* (_, startResponse) {
      startResponse('200 OK', PLAIN)
      yield 'a'
      await taken.promise
      throw new Error('broke')
    })
    const socket = open(server)
    // Node reports a reset as an end where bytes come with it.
    socket.once('data', () => taken.resolve())
    socket.write(head())
    expect(await received(socket)).toEqual({ text: `${HEAD}\r\na`, error: 'ECONNRESET' })
    expect(lines.join('')).toContain('Error: broke')
  })

  it('that is truncated on a Unix socket ends without the missing bytes', async () => {
    log()
    const listen = `unix:${await newDirectory()}/app.sock`
    const server = await serve(
      async function* (_, startResponse) {
        startResponse('200 OK', [['Content-Length', '9']])
        yield 'a'
        throw new Error('broke')
      },
      { listen },
    )
    expect(await ask(server)).toBe('Status: 200 OK\r\nContent-Length: 9\r\n\r\na')
  })

  it('is produced no faster than the web server reads it', async () => {
    const chunk = Buffer.alloc(65_536)
    let made = 0
    const server = await serve(async function* (_, startResponse) {
      startResponse('200 OK', PLAIN)
      for (; made < 1024; made++) yield chunk
    })
    const socket = open(server)
    socket.pause()
    socket.write(head())
    expect(await settled(() => made)).toBeLessThan(1024)
    expect((await received(socket)).text).toHaveLength(HEAD.length + 2 + 1024 * 65_536)
  })
})

async function environFor(params: Record<string, string>): Promise<Environ> {
  let seen: Environ | undefined
  const server = await serve(
    (environ, startResponse) => {
      seen = environ
      return hello(environ, startResponse)
    },
    { osEnviron: { DEPLOYED: 'yes' } },
  )
  await ask(server, params)
  return seen!
}

describe('The environ of SCGIHandler', () => {
  it('is complete with REQUEST_URI alone, and lacks HTTP_CONTENT_*', async () => {
    const environ = await environFor({
      REQUEST_URI: '/a%20b/c?q=%20',
      QUERY_STRING: 'q=%20',
      HTTP_CONTENT_TYPE: 'x',
      HTTP_CONTENT_LENGTH: '0',
      HTTP_PROXY: 'http://evil/',
      HTTP_X_BYTES: '\xff\xe9',
    })
    expect(environ).toMatchObject({
      SCRIPT_NAME: '',
      PATH_INFO: '/a b/c',
      QUERY_STRING: 'q=%20',
      CONTENT_LENGTH: '0',
      HTTP_X_BYTES: '\xff\xe9',
      DEPLOYED: 'yes',
      'portico.gateway': 'scgi',
      'wsgi.multiprocess': false,
      'wsgi.run_once': false,
    })
    for (const name of ['HTTP_PROXY', 'HTTP_CONTENT_TYPE', 'HTTP_CONTENT_LENGTH']) {
      expect(environ).not.toHaveProperty(name)
    }
  })

  it('has a wsgi.errors that writes to the stderr of the process', async () => {
    const lines = log()
    const server = await serve((environ, startResponse) => {
      environ['wsgi.errors'].write('noted\n')
      return hello(environ, startResponse)
    })
    await ask(server)
    expect(lines).toEqual(['noted\n'])
  })

  it('can be extended by a requestHandler', async () => {
    class Mine extends SCGIRequestHandler {
      override addCgiVars(): void {
        super.addCgiVars()
        this.environ!['MINE'] = 'added'
      }
    }
    const server = await serve(
      (environ, startResponse) => {
        startResponse('200 OK', PLAIN)
        return [String(environ['MINE'])]
      },
      { requestHandler: Mine },
    )
    expect(await ask(server)).toMatch(/added$/)
  })
})

describe('An SCGI request', () => {
  it.each([echo, streamEcho])(
    'is read correctly wherever its bytes are split (%o)',
    async (app) => {
      const server = await serve(app)
      const request = Buffer.concat([head({}, 5), Buffer.from('body\n')])
      for (const step of [1, 7, request.length - 1, request.length]) {
        const socket = open(server)
        socket.setNoDelay(true)
        const answer = received(socket)
        for (let at = 0; at < request.length; at += step) {
          socket.write(request.subarray(at, at + step))
          await new Promise(setImmediate)
        }
        expect((await answer).text).toMatch(/\r\n\r\nbody\n$/)
      }
    },
  )

  it('may have a body of many megabytes', async () => {
    const body = 'x'.repeat(8 * 1024 * 1024)
    const answer = await ask(await serve(streamEcho), {}, body)
    expect(answer === `${HEAD}\r\n${body}`).toBe(true)
  })

  it('pauses while the application does not read its body', async () => {
    const reading = deferred()
    const server = await serve(async (environ, startResponse) => {
      await reading.promise
      let size = 0
      for await (const chunk of environ['wsgi.input'].chunks()) size += chunk.length
      startResponse('200 OK', PLAIN)
      return [String(size)]
    })
    const socket = open(server)
    const size = 64 * 1024 * 1024
    socket.write(head({}, size))
    const body = Buffer.alloc(65_536)
    let sent = 0
    const send = () => {
      while (sent < size) {
        sent += body.length
        if (!socket.write(body)) return
      }
    }
    socket.on('drain', send)
    send()
    expect(await settled(() => sent)).toBeLessThan(size)
    reading.resolve()
    expect((await received(socket)).text).toMatch(new RegExp(`\\r\\n\\r\\n${size}$`))
  })

  it('gets a response, and its signal aborts, if the client closes its half of the connection', async () => {
    let signal: AbortSignal | undefined
    const server = await serve(async (environ, startResponse) => {
      signal = environ['portico.signal']
      await once(signal, 'abort')
      return echo(environ, startResponse)
    })
    const socket = open(server)
    socket.end(Buffer.concat([head({}, 4), Buffer.from('done')]))
    expect((await received(socket)).text).toBe(`${HEAD}Content-Length: 4\r\n\r\ndone`)
    expect(signal?.reason).toMatchObject({ code: 'PORTICO_DISCONNECTED' })
  })

  it('whose body ends early rejects read() and gets a 400', async () => {
    const lines = log()
    const socket = open(await serve(echo))
    socket.end(Buffer.concat([head({}, 9), Buffer.from('done')]))
    expect((await received(socket)).text).toMatch(/^Status: 400 Bad Request\r\n/)
    expect(lines).toEqual([
      'GET /: PORTICO_BODY_CUT_SHORT: The body ended 5 bytes before its end\n',
    ])
  })

  it('is aborted if the web server disconnects during the response', async () => {
    let closed = 0
    let signal: AbortSignal | undefined
    // Never waits for anything itself.
    const body = {
      *[Symbol.iterator]() {
        while (true) yield 'tick'
      },
      close: () => closed++,
    }
    const server = await serve((environ, startResponse) => {
      signal = environ['portico.signal']
      startResponse('200 OK', PLAIN)
      return body
    })
    const socket = open(server)
    socket.write(head())
    await once(socket, 'data')
    socket.destroy()
    await eventually(() => closed > 0)
    expect(signal?.aborted).toBe(true)
    expect(closed).toBe(1)
  })

  it('rejects read() if the web server disconnects in the middle of the body', async () => {
    let failure: unknown
    const server = await serve(async (environ, startResponse) => {
      await environ['wsgi.input'].read().catch((error: unknown) => (failure = error))
      return hello(environ, startResponse)
    })
    const socket = open(server)
    socket.write(head({}, 100))
    socket.write('part', () => socket.resetAndDestroy())
    await eventually(() => failure !== undefined)
    expect(failure).toMatchObject({ code: expect.stringMatching(/DISCONNECTED|CUT_SHORT/) })
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
    const socket = open(await serve(hello))
    socket.write(Buffer.from(bytes.replace(/^36:/, `${bytes.length - 4}:`), 'latin1'))
    expect((await received(socket)).text).toBe('')
    expect(lines).toEqual([typeof line === 'string' ? line : expect.stringMatching(line)])
  })

  it.each([
    ['with too many bytes of headers', { maxHeaderBytes: 50 }, 'bytes; the limit is 50'],
    ['with too many headers', { maxHeaders: 4 }, 'than 4 SCGI headers'],
  ])('%s gets a 431, and no reset after it', async (_, options, line) => {
    const lines = log()
    const socket = open(await serve(hello, options))
    // More than the two ends of a connection hold: closing on it would be a reset.
    socket.write(head({ HTTP_X: 'x' }, 4 * 1024 * 1024))
    socket.write(Buffer.alloc(4 * 1024 * 1024))
    expect(await received(socket)).toEqual({
      text:
        'Status: 431 Request Header Fields Too Large\r\nContent-Type: text/plain\r\n' +
        'Content-Length: 32\r\n\r\nRequest Header Fields Too Large\n',
      error: undefined,
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
    const socket = open(server)
    socket.write('18:CONTENT_LENGTH\x00-1\0,')
    expect((await received(socket)).text).toBe(
      'Status: 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\n' +
        'Bad Request\n',
    )
    expect(lines).toEqual(['SCGI: CONTENT_LENGTH "-1" is not a number of bytes\n'])
    expect(ran).toBe(false)
  })

  it('that ends within its headers is logged', async () => {
    const lines = log()
    const socket = open(await serve(hello))
    socket.end('24:CONTENT')
    await received(socket)
    expect(lines).toEqual(['SCGI: The connection ended inside the SCGI headers\n'])
  })

  it('without a single byte, as of a health check, is not logged', async () => {
    const lines = log()
    const socket = open(await serve(hello))
    socket.end()
    await received(socket)
    expect(lines).toEqual([])
  })
})

const slow: Application = async (environ, startResponse) => {
  await new Promise((resolve) => setTimeout(resolve, 1500))
  return hello(environ, startResponse)
}

describe('An SCGI connection', () => {
  it('is closed if its headers are incomplete after headersTimeout', async () => {
    const socket = open(await serve(hello, { headersTimeout: 100, shutdownTimeout: 0 }))
    const answer = received(socket)
    socket.write('24:CONTENT')
    expect((await answer).text).toBe('')
  })

  it('may wait longer than headersTimeout for the response', async () => {
    const socket = open(await serve(slow, { headersTimeout: 100, shutdownTimeout: 0 }))
    const answer = received(socket)
    socket.write(head())
    expect((await answer).text).toMatch(/Hello\n$/)
  })
})

describe('close() of an SCGI server', () => {
  it('lets an active request finish', async () => {
    const going = deferred()
    let began = false
    const server = await serve(
      async (environ, startResponse) => {
        began = true
        await going.promise
        return hello(environ, startResponse)
      },
      { shutdownTimeout: 5000 },
    )
    const answer = ask(server)
    await eventually(() => began)
    const closed = server.close()
    going.resolve()
    expect(await answer).toMatch(/Hello\n$/)
    await closed
  })

  it('aborts requests that are still active after shutdownTimeout', async () => {
    let signal: AbortSignal | undefined
    const server = await serve(
      (environ) => {
        signal = environ['portico.signal']
        return new Promise<never>(() => {})
      },
      { shutdownTimeout: 10 },
    )
    const answer = ask(server)
    await eventually(() => signal !== undefined)
    await server.close()
    expect(await answer).toBe('')
    await eventually(() => signal?.aborted === true)
  })
})

describe('SCGIHandler', () => {
  it('listens on descriptor 0 by default, and rejects if that is not a listening socket', async () => {
    await expect(new SCGIHandler().run(hello)).rejects.toThrow(
      /^Cannot listen: file descriptor 0 is /,
    )
  })

  it('refuses to listen on all addresses of the machine without a list of clients', async () => {
    await expect(serve(hello, { listen: '*:0' })).rejects.toThrow(/every address of this machine/)
    const server = await serve(hello, { listen: '*:0', allowedClients: '192.0.2.1' })
    const port = server.address.kind === 'tcp' ? server.address.port : 0
    const socket = connect(port, '127.0.0.1')
    expect((await received(socket)).text).toBe('')
  })
})

const tell: Application = async (environ, startResponse) => {
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
    const server = await serve(tell)
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
    const answer = await httpRequest({ port: web.port }, request).then(
      (response) => response.status,
      () => 'broken',
    )
    expect(answer).not.toBe(200)
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
  const socket = open(server)
  const params = { ...PARAMS, HTTP_CONTENT_LENGTH: '5', CONTENT_LENGTH: '' }
  socket.write(encodeRequest(Object.entries(params).flat(), length))
  socket.write(sent)
  expect((await received(socket)).text).toContain('undefined 0')
})

it('A body is read up to CONTENT_LENGTH although nginx has nothing of it when it sends the headers', async () => {
  const server = await serve(async (environ, startResponse) => {
    const body = await environ['wsgi.input'].read()
    startResponse('200 OK', [])
    return [`${environ['CONTENT_LENGTH']} ${String(environ['HTTP_CONTENT_LENGTH'])} ${body.length}`]
  })
  const socket = open(server)
  // What nginx 1.22 sends with `scgi_request_buffering off`.
  socket.write(encodeRequest(Object.entries({ ...PARAMS, HTTP_CONTENT_LENGTH: '5000' }).flat(), 0))
  socket.write(Buffer.alloc(5_000, 'x'))
  expect((await received(socket)).text).toContain('5000 undefined 5000')
})
