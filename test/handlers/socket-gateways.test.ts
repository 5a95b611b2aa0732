/** What FastCGI, SCGI and node-fastcgi have in common, over real sockets. Each has its own file for the rest. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { FastCGIOptions } from '../../handlers/fastcgi.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application, Environ } from '../../src/types.ts'
import { temporaryDirectory } from '../server/child.ts'
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
import { socketGateways, type Received, type WebServer } from './web-server.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  vi.restoreAllMocks()
  for (const close of closers.splice(0).toReversed()) await close()
})

const HELLO = `${HEAD}Content-Length: 6\r\n\r\nHello\n`

/** Larger than what the two ends of a connection and the queues of a gateway hold. */
const LARGE = 64 * 1024 * 1024

function complete(stdout: string): Received {
  return { stdout, stderr: '', end: 'complete' }
}

/** A whole request. */
function requestOf(web: WebServer): Buffer {
  return Buffer.concat([web.head({}, 5), web.body('body\n'), web.bodyEnd()])
}

const CHUNK = Buffer.alloc(65_536, 'x')

function* endlessly() {
  while (true) yield CHUNK
}

async function* endlesslyLater() {
  while (true) yield CHUNK
}

describe.each(socketGateways)('$name:', (gateway) => {
  type Options = Pick<FastCGIOptions, 'listen' | 'shutdownTimeout' | 'osEnviron' | 'allowedClients'>

  async function serve(
    app: Application,
    options: Options & { requestHandler?: object } = {},
  ): Promise<GatewayServer> {
    const Handler = gateway.Handler as new (options: object) => {
      run(application: Application): Promise<GatewayServer>
    }
    const server = await new Handler({ listen: ':0', shutdownTimeout: 200, ...options }).run(app)
    closers.push(() => server.close())
    return server
  }

  function open(server: GatewayServer): WebServer {
    const web = gateway.connect(server)
    closers.push(() => web.socket.destroy())
    return web
  }

  function ask(
    server: GatewayServer,
    params: Record<string, string> = {},
    body?: Buffer | string,
  ): Promise<Received> {
    const web = open(server)
    web.socket.write(
      Buffer.concat([
        web.head(params, body?.length),
        ...(body === undefined ? [] : [web.body(body)]),
        web.bodyEnd(),
      ]),
    )
    return web.closed
  }

  /** The environ of a request with `params`. */
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

  /** What was logged since `lines` began: by the web server, or to stderr. */
  function logged(lines: string[], { stderr }: Received): string {
    expect(gateway.logsToWebServer ? lines : [stderr]).toEqual(gateway.logsToWebServer ? [] : [''])
    return gateway.logsToWebServer ? stderr : lines.join('')
  }

  describe('A response', () => {
    it.each<[string, Application, Record<string, string>, string]>([
      ['begins with Status, as that of a CGI script does', hello, {}, HELLO],
      [
        'to HEAD has no body',
        hello,
        { REQUEST_METHOD: 'HEAD' },
        `${HEAD}Content-Length: 6\r\n\r\n`,
      ],
      ...['204 No Content', '304 Not Modified'].map(
        (status): [string, Application, Record<string, string>, string] => [
          `of status ${status} has no body`,
          (_, startResponse) => {
            startResponse(status, [['ETag', '"x"']])
            return ['dropped']
          },
          {},
          `Status: ${status}\r\nETag: "x"\r\n\r\n`,
        ],
      ),
      [
        'keeps its status, and the order, case and bytes of repeated headers',
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
        'contains all chunks in order, and is not chunked if its length is unknown',
        async function* (_, startResponse) {
          const write = startResponse('200 OK', PLAIN)
          await write('one ')
          yield 'caf\u00e9 '
          yield Buffer.from('three')
          yield Uint8Array.of(0, 255)
        },
        {},
        `${HEAD}\r\none caf\xc3\xa9 three\0\xff`,
      ],
    ])('%s', async (_, app, params, expected) => {
      expect(await ask(await serve(app), params)).toEqual(complete(expected))
    })

    it('is the same over a Unix socket', async () => {
      const directory = temporaryDirectory()
      closers.push(directory.remove)
      const server = await serve(hello, { listen: `unix:${directory.path}/app.sock` })
      expect(await ask(server)).toEqual(complete(HELLO))
    })

    it('arrives complete although the request body is never read', async () => {
      const body = Buffer.alloc(4 * 1024 * 1024)
      expect(await ask(await serve(hello), {}, body)).toEqual(complete(HELLO))
    })

    it('is an error page if the application throws, and the log has the details', async () => {
      const lines = log()
      const received = await ask(
        await serve(() => {
          throw new Error('secret')
        }),
      )
      expect(received.stdout).toMatch(/^Status: 500 Internal Server Error\r\n/)
      expect(received.stdout).not.toContain('secret')
      expect(received.end).toBe('complete')
      expect(logged(lines, received)).toContain('Error: secret')
    })

    it('that is truncated is marked so after everything that was sent', async () => {
      const lines = log()
      const taken = deferred()
      const server = await serve(async function* (_, startResponse) {
        startResponse('200 OK', PLAIN)
        yield 'a'
        await taken.promise
        throw new Error('broke')
      })
      const web = open(server)
      // Node reports a reset as an end if bytes arrive with it.
      web.socket.once('data', () => taken.resolve())
      web.socket.write(Buffer.concat([web.head(), web.bodyEnd()]))
      const received = await web.closed
      expect(received).toMatchObject({ stdout: `${HEAD}\r\na`, end: gateway.truncated })
      expect(logged(lines, received)).toContain('Error: broke')
    })

    it('is produced no faster than the web server reads it', async () => {
      let made = 0
      const server = await serve(async function* (_, startResponse) {
        startResponse('200 OK', PLAIN)
        for (; made < LARGE / CHUNK.length; made++) yield CHUNK
      })
      const web = open(server)
      web.socket.pause()
      web.socket.write(Buffer.concat([web.head(), web.bodyEnd()]))
      expect(await settled(() => made)).toBeLessThan(LARGE / CHUNK.length)
      web.socket.resume()
      const { stdout, end } = await web.closed
      expect([stdout.length, end]).toEqual([HEAD.length + 2 + LARGE, 'complete'])
    })
  })

  describe('The environ', () => {
    it.each<[string, Record<string, string>, Record<string, unknown>]>([
      [
        'is complete with REQUEST_URI alone',
        { REQUEST_URI: '/a%20b/c?q=%20', QUERY_STRING: 'q=%20' },
        { SCRIPT_NAME: '', PATH_INFO: '/a b/c', QUERY_STRING: 'q=%20' },
      ],
      [
        'contains the parameters as byte strings',
        {
          SCRIPT_NAME: '/app',
          PATH_INFO: '/caf\xc3\xa9',
          HTTP_AUTHORIZATION: 'Basic eDp5',
          REMOTE_USER: 'me',
        },
        {
          SCRIPT_NAME: '/app',
          PATH_INFO: '/caf\xc3\xa9',
          HTTP_AUTHORIZATION: 'Basic eDp5',
          REMOTE_USER: 'me',
        },
      ],
    ])('%s, and lacks HTTP_PROXY and HTTP_CONTENT_*', async (_, params, expected) => {
      const environ = await environFor({
        ...params,
        HTTP_CONTENT_TYPE: 'x',
        HTTP_CONTENT_LENGTH: '0',
        HTTP_PROXY: 'http://evil/',
      })
      expect(environ).toMatchObject({
        ...expected,
        DEPLOYED: 'yes',
        'portico.gateway': gateway.gateway,
        'wsgi.multiprocess': false,
        'wsgi.run_once': false,
      })
      expect(environ['CONTENT_LENGTH']).toBe(gateway.noLength)
      for (const name of ['HTTP_PROXY', 'HTTP_CONTENT_TYPE', 'HTTP_CONTENT_LENGTH']) {
        expect(environ).not.toHaveProperty(name)
      }
    })

    it('has a wsgi.errors that writes to the log of the gateway', async () => {
      const lines = log()
      const server = await serve((environ, startResponse) => {
        environ['wsgi.errors'].write('noted\n')
        return hello(environ, startResponse)
      })
      const received = await ask(server)
      expect(received).toMatchObject({ stdout: HELLO, end: 'complete' })
      expect(logged(lines, received)).toBe('noted\n')
    })

    it('can be extended by a requestHandler', async () => {
      const server = await serve(
        (environ, startResponse) => {
          startResponse('200 OK', PLAIN)
          return [String(environ['MINE'])]
        },
        { requestHandler: gateway.extended },
      )
      expect((await ask(server)).stdout).toMatch(/added$/)
    })
  })

  describe('A request', () => {
    it.each([
      ['read()', echo],
      ['chunks()', streamEcho],
    ] as const)('is read with %s correctly wherever its bytes are split', async (_, app) => {
      const server = await serve(app)
      const { length } = requestOf(open(server))
      for (const step of [1, 7, length - 1, length]) {
        const web = open(server)
        const request = requestOf(web)
        web.socket.setNoDelay(true)
        for (let at = 0; at < request.length; at += step) {
          web.socket.write(request.subarray(at, at + step))
          await new Promise(setImmediate)
        }
        expect((await web.closed).stdout).toMatch(/\r\n\r\nbody\n$/)
      }
    })

    it.each([0, 1, 70_000])('may have a body of %i bytes', async (size) => {
      const body = 'x'.repeat(size)
      const { stdout } = await ask(await serve(echo), {}, body)
      expect(stdout === `${HEAD}Content-Length: ${size}\r\n\r\n${body}`).toBe(true)
    })

    it('may have a body of many megabytes that is echoed while it arrives', async () => {
      const body = 'x'.repeat(8 * 1024 * 1024)
      const { stdout } = await ask(await serve(streamEcho), {}, body)
      expect(stdout === `${HEAD}\r\n${body}`).toBe(true)
    })

    it('may have a body that is read in small chunks before all of it has arrived', async () => {
      const begun = deferred()
      const server = await serve(async (environ, startResponse) => {
        let text = ''
        for (let chunk; (chunk = await environ['wsgi.input'].read(3)).length > 0;) {
          text += `${String(chunk)}.`
          begun.resolve()
        }
        startResponse('200 OK', PLAIN)
        return [text]
      })
      const web = open(server)
      web.socket.write(Buffer.concat([web.head({}, 8), web.body('abcd')]))
      await begun.promise
      web.socket.write(Buffer.concat([web.body('efgh'), web.bodyEnd()]))
      expect((await web.closed).stdout).toMatch(/\r\n\r\nabc\.def\.gh\.$/)
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
      const web = open(server)
      web.socket.write(web.head({}, LARGE))
      let sent = 0
      const send = () => {
        while (sent < LARGE) {
          sent += CHUNK.length
          if (!web.socket.write(web.body(CHUNK))) return
        }
        web.socket.write(web.bodyEnd())
      }
      web.socket.on('drain', send)
      send()
      expect(await settled(() => sent)).toBeLessThan(LARGE)
      reading.resolve()
      expect((await web.closed).stdout).toMatch(new RegExp(`\\r\\n\\r\\n${LARGE}$`))
    })

    it('whose body ends early rejects read() and gets a 400', async () => {
      const lines = log()
      const web = open(await serve(echo))
      web.socket.write(Buffer.concat([web.head({}, 9), web.body('done')]))
      web.endEarly()
      const received = await web.closed
      expect(received.stdout).toMatch(/^Status: 400 Bad Request\r\n/)
      expect(logged(lines, received)).toBe(
        'GET /: PORTICO_BODY_CUT_SHORT: The request body ended 5 bytes before its CONTENT_LENGTH\n',
      )
    })

    it.each([
      ['never waits', 'destroy', endlessly],
      ['never waits', 'resetAndDestroy', endlessly],
      ['waits', 'destroy', endlesslyLater],
      ['waits', 'resetAndDestroy', endlesslyLater],
    ] as const)(
      'is aborted if the web server disconnects during a response that %s (%s)',
      async (_, how, chunks) => {
        let closed = 0
        let signal: AbortSignal | undefined
        const server = await serve((environ, startResponse) => {
          if (environ['PATH_INFO'] === '/hello') return hello(environ, startResponse)
          signal = environ['portico.signal']
          startResponse('200 OK', PLAIN)
          return Object.assign(chunks(), { close: () => closed++ })
        })
        const web = open(server)
        web.socket.write(Buffer.concat([web.head(), web.bodyEnd()]))
        await once(web.socket, 'data')
        web.socket[how]()
        await eventually(() => closed > 0)
        expect(signal?.aborted).toBe(true)
        expect(closed).toBe(1)
        expect(await ask(server, { REQUEST_URI: '/hello' })).toEqual(complete(HELLO))
      },
    )

    it('is aborted, and rejects read(), if the web server disconnects in the middle of the body', async () => {
      let failure: unknown
      let signal: AbortSignal | undefined
      const server = await serve(async (environ, startResponse) => {
        signal = environ['portico.signal']
        await environ['wsgi.input'].read().catch((error: unknown) => (failure = error))
        return hello(environ, startResponse)
      })
      const web = open(server)
      web.socket.write(Buffer.concat([web.head({}, 100), web.body('part')]))
      await eventually(() => signal !== undefined)
      web.socket.resetAndDestroy()
      await eventually(() => failure !== undefined)
      expect(failure).toMatchObject({ code: expect.stringMatching(/DISCONNECTED|CUT_SHORT/) })
      expect(signal?.aborted).toBe(true)
    })
  })

  describe('A server', () => {
    it('lets an active request finish when it closes', async () => {
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
      const response = ask(server)
      await eventually(() => began)
      const closed = server.close()
      going.resolve()
      expect(await response).toEqual(complete(HELLO))
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
      const response = ask(server)
      await eventually(() => signal !== undefined)
      await server.close()
      expect(await response).toMatchObject({ stdout: '', end: gateway.aborted })
      await eventually(() => signal?.aborted === true)
    })

    it('listens on descriptor 0 by default, and rejects if that is not a listening socket', async () => {
      const { Handler } = gateway
      await expect(new Handler().run(hello)).rejects.toThrow(
        /^Cannot listen: file descriptor 0 is /,
      )
    })

    it('refuses to listen on all addresses of the machine without a list of clients', async () => {
      await expect(serve(hello, { listen: '*:0' })).rejects.toThrow(/every address of this machine/)
      const server = await serve(hello, { listen: '*:0', allowedClients: '192.0.2.1' })
      const port = server.address.kind === 'tcp' ? server.address.port : 0
      const socket = connect(port, '127.0.0.1')
      let received = ''
      socket.on('data', (chunk) => (received += String(chunk)))
      socket.on('error', () => {})
      await new Promise((resolve) => socket.once('close', resolve))
      expect(received).toBe('')
    })
  })
})
