/**
 * `NodeFastCGIHandler` over real sockets, with the web server's side of Portico's FastCGI engine, and
 * the faults of node-fastcgi 2.0.0 with and without Portico.
 */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { connect, type Socket } from 'node:net'
import { join, resolve as absolute } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { rolldown } from 'rolldown'
import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  NodeFastCGIHandler,
  NodeFastCGIRequestHandler,
  type NodeFastCGIOptions,
} from '../../handlers/node-fastcgi.ts'
import {
  FCGI_AUTHORIZER,
  FCGI_PARAMS,
  FCGI_RESPONDER,
  FCGI_UNKNOWN_ROLE,
  encodeRecord,
} from '../../src/protocol/fastcgi.ts'
import { encodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import { WebServerConnection } from '../../src/protocol/fastcgi-web-server.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import type { Application, Environ } from '../../src/types.ts'
import { start, temporaryDirectory } from '../server/child.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed } from '../servers/process.ts'
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

const closers: (() => unknown)[] = []
afterEach(async () => {
  vi.restoreAllMocks()
  for (const close of closers.splice(0).toReversed()) await close()
})

async function serve(app: Application, options: NodeFastCGIOptions = {}): Promise<GatewayServer> {
  const handler = new NodeFastCGIHandler({ listen: ':0', shutdownTimeout: 200, ...options })
  const server = await handler.run(app)
  closers.push(() => server.close())
  return server
}

function newDirectory(): string {
  const folder = temporaryDirectory()
  closers.push(folder.remove)
  return folder.path
}

/** What a web server has received on one connection. */
interface Answer {
  stdout: string
  stderr: string
  appStatus: number | undefined
  protocolStatus: number | undefined
  error: string | undefined
}

/** A web server with one connection. */
class Client {
  readonly protocol = new WebServerConnection()
  readonly socket: Socket
  readonly answer: Answer = {
    stdout: '',
    stderr: '',
    appStatus: undefined,
    protocolStatus: undefined,
    error: undefined,
  }
  readonly closed: Promise<Answer>

  constructor({ address }: GatewayServer) {
    if (address.kind === 'fd') throw new Error('no address')
    this.socket =
      address.kind === 'unix' ? connect(address.path) : connect(address.port, address.host)
    this.socket.on('data', (chunk: Buffer) => {
      this.protocol.receive(chunk)
      this.#pump()
    })
    this.socket.on('error', () => {})
    this.closed = new Promise((resolve) => {
      this.socket.once('close', () => {
        this.protocol.receiveEof()
        this.#pump()
        resolve(this.answer)
      })
    })
    closers.push(() => this.socket.destroy())
  }

  #pump(): void {
    for (let event; (event = this.protocol.next()) !== null;) {
      const { answer } = this
      if (event.type === 'stdout' || event.type === 'stderr') {
        answer[event.type] += event.data.toString('latin1')
      } else if (event.type === 'end') {
        answer.appStatus = event.appStatus
        answer.protocolStatus = event.protocolStatus
      } else if (event.type === 'error') answer.error = event.message
    }
  }

  send(...buffers: Buffer[]): void {
    this.socket.write(Buffer.concat(buffers))
  }

  begin(params: Record<string, string> = {}, { role = FCGI_RESPONDER, keepConn = false } = {}) {
    const { protocol } = this
    const all = { REQUEST_METHOD: 'GET', REQUEST_URI: '/', SERVER_PROTOCOL: 'HTTP/1.1', ...params }
    this.send(protocol.begin(1, role, keepConn), ...protocol.params(1, Object.entries(all)))
  }

  body(bytes: Buffer | string): void {
    this.send(...this.protocol.stdin(1, Buffer.from(bytes)))
  }

  endBody(): void {
    this.send(this.protocol.endStdin(1))
  }
}

async function ask(
  server: GatewayServer,
  params: Record<string, string> = {},
  body?: string,
): Promise<Answer> {
  const client = new Client(server)
  client.begin(body === undefined ? params : { CONTENT_LENGTH: String(body.length), ...params })
  if (body !== undefined) client.body(body)
  client.endBody()
  return client.closed
}

function answered(stdout: string): Answer {
  return { stdout, stderr: '', appStatus: 0, protocolStatus: 0, error: undefined }
}

const HELLO = `${HEAD}Content-Length: 6\r\n\r\nHello\n`

const readLate: Application = async (environ, startResponse) => {
  await sleep(30)
  let text = ''
  for (let piece; (piece = await environ['wsgi.input'].read(3)).length > 0;) {
    text += `${String(piece)}.`
  }
  startResponse('200 OK', PLAIN)
  return [text]
}

const breakOff: Application = async function* (_, startResponse) {
  startResponse('200 OK', PLAIN)
  yield 'a'
  yield 'b'
  throw new Error('broke')
}

describe('A response of NodeFastCGIHandler', () => {
  it.each<[string, Application, Record<string, string>, string]>([
    ['begins with Status, as that of a CGI script does', hello, {}, HELLO],
    ['to HEAD has no body', hello, { REQUEST_METHOD: 'HEAD' }, `${HEAD}Content-Length: 6\r\n\r\n`],
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
      'keeps the status, and the order and bytes of repeated headers',
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
      'is not chunked if its length is unknown',
      async function* (_, startResponse) {
        const write = startResponse('200 OK', PLAIN)
        await write('a')
        yield Uint8Array.of(0, 255)
        yield 'caf\u00e9'
      },
      {},
      `${HEAD}\r\na\0\xffcaf\xc3\xa9`,
    ],
  ])('%s', async (_, app, params, expected) => {
    expect(await ask(await serve(app), params)).toEqual(answered(expected))
  })

  it('is the same over a Unix socket', async () => {
    const server = await serve(hello, { listen: `unix:${newDirectory()}/app.sock` })
    expect(await ask(server)).toEqual(answered(HELLO))
  })

  it('of many megabytes is produced no faster than the web server reads it', async () => {
    const chunk = Buffer.alloc(65_536, 'x')
    let made = 0
    const server = await serve(async function* (_, startResponse) {
      startResponse('200 OK', PLAIN)
      for (; made < 512; made++) yield chunk
    })
    const client = new Client(server)
    client.begin()
    client.endBody()
    client.socket.pause()
    expect(await settled(() => made)).toBeLessThan(512)
    client.socket.resume()
    const { stdout, appStatus } = await client.closed
    expect([stdout.length, appStatus]).toEqual([HEAD.length + 2 + 512 * 65_536, 0])
  })

  it('is an error page if the application throws, with the details in STDERR', async () => {
    const answer = await ask(
      await serve(() => {
        throw new Error('secret')
      }),
    )
    expect(answer.stdout).toMatch(/^Status: 500 Internal Server Error\r\n/)
    expect(answer.stdout).not.toContain('secret')
    expect(answer.stderr).toContain('Error: secret')
  })

  it('that is truncated ends with appStatus 1 after everything that was sent', async () => {
    const answer = await ask(await serve(breakOff))
    expect(answer).toMatchObject({ stdout: `${HEAD}\r\nab`, appStatus: 1, error: undefined })
    expect(answer.stderr).toContain('Error: broke')
  })

  it('arrives complete although the request body is never read', async () => {
    const client = new Client(await serve(hello))
    const size = 4 * 1024 * 1024
    client.begin({ CONTENT_LENGTH: String(size) })
    client.body(Buffer.alloc(size))
    client.endBody()
    expect(await client.closed).toEqual(answered(HELLO))
  })
})

describe('The environ of NodeFastCGIHandler', () => {
  it('contains the parameters as byte strings, without HTTP_PROXY and HTTP_CONTENT_*', async () => {
    let environ: Environ | undefined
    const server = await serve(
      (seen, startResponse) => {
        environ = seen
        return hello(seen, startResponse)
      },
      { osEnviron: { DEPLOYED: 'yes' } },
    )
    await ask(server, {
      SCRIPT_NAME: '/app',
      PATH_INFO: '/caf\xc3\xa9',
      CONTENT_LENGTH: '',
      HTTP_PROXY: 'http://evil/',
      HTTP_CONTENT_TYPE: 'x',
      HTTP_AUTHORIZATION: 'Basic eDp5',
      REMOTE_USER: 'me',
    })
    expect(environ).toMatchObject({
      SCRIPT_NAME: '/app',
      PATH_INFO: '/caf\xc3\xa9',
      HTTP_AUTHORIZATION: 'Basic eDp5',
      REMOTE_USER: 'me',
      DEPLOYED: 'yes',
      'portico.gateway': 'fastcgi',
      'wsgi.run_once': false,
    })
    for (const name of ['HTTP_PROXY', 'HTTP_CONTENT_TYPE', 'CONTENT_LENGTH']) {
      expect(environ).not.toHaveProperty(name)
    }
  })

  it('has a wsgi.errors that writes to the web server', async () => {
    const server = await serve((environ, startResponse) => {
      environ['wsgi.errors'].write('noted\n')
      return hello(environ, startResponse)
    })
    expect(await ask(server)).toEqual({ ...answered(HELLO), stderr: 'noted\n' })
  })

  it('can be extended by a requestHandler', async () => {
    class Mine extends NodeFastCGIRequestHandler {
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
    expect((await ask(server)).stdout).toMatch(/added$/)
  })
})

describe('A request to NodeFastCGIHandler', () => {
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

  it('may have a body that is read late and in small chunks', async () => {
    const client = new Client(await serve(readLate))
    client.begin({ CONTENT_LENGTH: '8' })
    client.body('abcd')
    await sleep(60)
    client.body('efgh')
    client.endBody()
    expect((await client.closed).stdout).toMatch(/\r\n\r\nabc\.def\.gh\.$/)
  })

  it('whose body ends early rejects read() and gets a 400', async () => {
    const { stdout, stderr } = await ask(await serve(echo), { CONTENT_LENGTH: '9' }, 'done')
    expect(stdout).toMatch(/^Status: 400 Bad Request\r\n/)
    expect(stderr).toMatch(/^GET \/: PORTICO_BODY_CUT_SHORT: .* 5 bytes before/)
  })

  it('is aborted by ABORT_REQUEST, even while a read waits for its body', async () => {
    let failure: unknown
    let signal: AbortSignal | undefined
    const server = await serve(async (environ, startResponse) => {
      signal = environ['portico.signal']
      await environ['wsgi.input'].read().catch((error: unknown) => (failure = error))
      return hello(environ, startResponse)
    })
    const client = new Client(server)
    client.begin({ CONTENT_LENGTH: '10' })
    client.body('part')
    await eventually(() => signal !== undefined)
    client.send(client.protocol.abort(1))
    expect(await client.closed).toMatchObject({ stdout: '', appStatus: 1, error: undefined })
    await eventually(() => failure !== undefined)
    expect(failure).toMatchObject({ code: 'PORTICO_DISCONNECTED' })
    expect(signal?.aborted).toBe(true)
  })

  it.each(['destroy', 'resetAndDestroy'] as const)(
    'is aborted if the web server disconnects during the response (%s)',
    async (how) => {
      let closed = 0
      let signal: AbortSignal | undefined
      const chunk = Buffer.alloc(65_536)
      const body = {
        async *[Symbol.asyncIterator]() {
          while (true) yield chunk
        },
        close: () => closed++,
      }
      const server = await serve((environ, startResponse) => {
        signal = environ['portico.signal']
        startResponse('200 OK', PLAIN)
        environ['wsgi.errors'].write('begun\n')
        return body
      })
      const client = new Client(server)
      client.begin()
      client.endBody()
      await once(client.socket, 'data')
      client.socket[how]()
      await eventually(() => closed > 0)
      expect(signal?.aborted).toBe(true)
      expect(closed).toBe(1)
      expect(await ask(await serve(hello))).toEqual(answered(HELLO))
    },
  )

  it('with a role other than Responder is refused', async () => {
    const client = new Client(await serve(hello))
    client.begin({}, { role: FCGI_AUTHORIZER })
    expect(await client.closed).toMatchObject({ protocolStatus: FCGI_UNKNOWN_ROLE, stdout: '' })
  })
})

describe('A server of NodeFastCGIHandler', () => {
  it('lets an active request finish when it closes', async () => {
    let signal: AbortSignal | undefined
    const server = await serve(
      async (environ, startResponse) => {
        signal = environ['portico.signal']
        await sleep(50)
        return hello(environ, startResponse)
      },
      { shutdownTimeout: 5000 },
    )
    const answer = ask(server)
    await eventually(() => signal !== undefined)
    await server.close()
    expect(await answer).toEqual(answered(HELLO))
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
    expect(await answer).toMatchObject({ stdout: '', appStatus: undefined })
    await eventually(() => signal?.aborted === true)
  })

  it('listens on descriptor 0 by default', async () => {
    await expect(new NodeFastCGIHandler().run(hello)).rejects.toThrow(
      /^Cannot listen: file descriptor 0 is /,
    )
  })

  it('explains how to install node-fastcgi if it is missing', async () => {
    const folder = newDirectory()
    const [input, file] = [join(folder, 'in.ts'), join(folder, 'out.mjs')]
    writeFileSync(
      input,
      `import { NodeFastCGIHandler } from ${JSON.stringify(absolute('handlers/node-fastcgi.ts'))}
       new NodeFastCGIHandler({ listen: ':0' }).run(() => []).catch((error) => {
         console.log(error.code, error.message)
       })`,
    )
    const build = await rolldown({ input, platform: 'node', external: ['node-fastcgi'] })
    await build.write({ dir: folder, entryFileNames: 'out.mjs', format: 'esm' })
    await build.close()
    const { output } = await start(process.execPath, [file]).ended
    expect(output).toMatch(/^PORTICO_CONFIGURATION .*npm install node-fastcgi@2/)
  })

  const { available, hint } = installed('nginx')
  it.skipIf(!available)(`responds to nginx${hint}`, async () => {
    const server = await serve(echo)
    const to = server.address.kind === 'tcp' ? `127.0.0.1:${server.address.port}` : ''
    const web = await startNginx({ mounts: [{ at: '/', to }], keepalive: 0 })
    closers.push(() => web.stop())
    const request = { method: 'POST', target: '/', body: 'x'.repeat(100_000) }
    for (let round = 0; round < 3; round++) {
      const response = await httpRequest({ port: web.port }, request)
      expect([response.status, response.body.length]).toEqual([200, 100_000])
    }
  })
})

/** A server of the package alone, in a process of its own: what it does without Portico. */
async function packageAlone(listener: string) {
  const file = join(newDirectory(), 'server.cjs')
  const name = createRequire(import.meta.url).resolve('node-fastcgi')
  writeFileSync(
    file,
    `const server = require(${JSON.stringify(name)}).createServer(${listener})
     server.listen({ port: 0, host: '127.0.0.1' }, () => console.log('port ' + server.address().port + ';'))
     setTimeout(() => process.exit(), 20_000)`,
  )
  const child = start(process.execPath, [file])
  closers.push(() => child.process.kill())
  const port = Number(/port (\d+);/.exec(await child.printed(';'))![1])
  const address = { kind: 'tcp', host: '127.0.0.1', port } as const
  return { server: { address } as GatewayServer, child }
}

describe('The package node-fastcgi 2.0.0', () => {
  it.each([
    ['a record of an unknown type', encodeRecord(99, 0), /not a constructor/],
    ['a record of an unknown type with an id', encodeRecord(99, 1), /not a constructor/],
  ])('crashes on %s; with Portico only the connection ends', async (_, bytes, message) => {
    const { server, child } = await packageAlone('() => {}')
    new Client(server).send(bytes)
    const { code, output } = await child.ended
    expect([code, output]).toEqual([1, expect.stringMatching(message)])

    const lines = log()
    const guarded = await serve(hello)
    const client = new Client(guarded)
    client.send(bytes)
    await client.closed
    expect(lines).toEqual([expect.stringMatching(/^node-fastcgi: TypeError: .*\n$/)])
    expect(await ask(guarded)).toEqual(answered(HELLO))
  })

  it('crashes on GET_VALUES for a name such as toString; Portico omits the name', async () => {
    const { server, child } = await packageAlone('() => {}')
    const bad = new Client(server)
    bad.send(bad.protocol.getValues(['toString']))
    expect(await child.ended).toMatchObject({ code: 1 })

    const client = new Client(await serve(hello))
    client.send(client.protocol.getValues(['toString', '__proto__', 'FCGI_MPXS_CONNS']))
    let values: unknown
    client.socket.removeAllListeners('data').on('data', (chunk: Buffer) => {
      client.protocol.receive(chunk)
      const event = client.protocol.next()
      if (event?.type === 'values') values = event.values
    })
    await eventually(() => values !== undefined)
    expect(values).toEqual(['FCGI_MPXS_CONNS', '0'])
  })

  it('crashes if STDERR is written after the web server has disconnected', async () => {
    const { server, child } = await packageAlone(
      `(request, response) => {
         console.log('begun')
         request.once('aborted', () => setTimeout(() => response.stderr.write('late'), 20))
       }`,
    )
    const client = new Client(server)
    client.begin()
    await child.printed('begun')
    client.socket.resetAndDestroy()
    const { code, output } = await child.ended
    expect([code, output]).toEqual([1, expect.stringContaining('ERR_STREAM_DESTROYED')])
  })

  it('does not lose a log line with Portico after the web server has disconnected: it goes to stderr', async () => {
    const lines = log()
    let aborted = false
    const server = await serve(async (environ, startResponse) => {
      environ['portico.signal'].addEventListener('abort', () => (aborted = true))
      environ['wsgi.errors'].write('early\n')
      await eventually(() => aborted)
      environ['wsgi.errors'].write('late\n')
      return hello(environ, startResponse)
    })
    const client = new Client(server)
    client.begin()
    await once(client.socket, 'data')
    client.socket.resetAndDestroy()
    await eventually(() => lines.length > 0)
    expect(lines).toEqual(['late\n'])
    expect(await ask(await serve(hello))).toEqual(answered(HELLO))
  })

  it('closes the connection despite KEEP_CONN', async () => {
    const client = new Client(await serve(hello))
    client.begin({}, { keepConn: true })
    client.endBody()
    expect(await client.closed).toEqual(answered(HELLO))
  })

  it('loses a name-value pair that spans two records', async () => {
    let environ: Environ | undefined
    const client = new Client(
      await serve((seen, startResponse) => {
        environ = seen
        return hello(seen, startResponse)
      }),
    )
    const pairs = encodePairs([
      ['SERVER_NAME', 'example.org'],
      ['X_SPAN', 'one two'],
      ['X_NEXT', 'next'],
    ])
    const cut = pairs.indexOf('two')
    client.send(
      client.protocol.begin(1),
      encodeRecord(FCGI_PARAMS, 1, pairs.subarray(0, cut)),
      encodeRecord(FCGI_PARAMS, 1, pairs.subarray(cut)),
      encodeRecord(FCGI_PARAMS, 1),
      client.protocol.endStdin(1),
    )
    expect((await client.closed).appStatus).toBe(0)
    expect(environ).toMatchObject({ SERVER_NAME: 'example.org', X_SPAN: 'one ' })
    expect(environ).not.toHaveProperty('X_NEXT')
  })

  it('decodes bytes that are not UTF-8 with a loss, and keeps the last of two pairs of one name', async () => {
    let environ: Environ | undefined
    const client = new Client(
      await serve((seen, startResponse) => {
        environ = seen
        return hello(seen, startResponse)
      }),
    )
    const pairs: [string, string][] = [
      ['HTTP_X', '\xff'],
      ['HTTP_Y', '1'],
      ['HTTP_Y', '2'],
    ]
    client.send(
      client.protocol.begin(1),
      ...client.protocol.params(1, pairs),
      client.protocol.endStdin(1),
    )
    await client.closed
    expect(environ).toMatchObject({ HTTP_X: '\xef\xbf\xbd', HTTP_Y: '2' })
  })

  it('does not respond to a peer that closes its half of the connection', async () => {
    const server = await serve(async (environ, startResponse) => {
      const signal = environ['portico.signal']
      await eventually(() => signal.aborted)
      return hello(environ, startResponse)
    })
    const client = new Client(server)
    client.socket.allowHalfOpen = true
    client.begin()
    client.endBody()
    client.socket.end()
    expect(await client.closed).toMatchObject({ stdout: '', appStatus: undefined })
  })

  it('buffers an unread upload completely; with Portico the client has to wait', async () => {
    const size = 64 * 1024 * 1024
    const upload = (server: GatewayServer) => {
      const client = new Client(server)
      client.begin({ CONTENT_LENGTH: String(size) })
      const piece = Buffer.alloc(32_768)
      let sent = 0
      const send = () => {
        while (sent < size) {
          sent += piece.length
          client.body(piece)
          if (client.socket.writableNeedDrain) return
        }
        client.endBody()
      }
      client.socket.on('drain', send)
      send()
      return { client, sent: () => sent }
    }
    const { server } = await packageAlone('() => {}')
    const alone = upload(server)
    await eventually(() => alone.sent() === size)

    const reading = deferred()
    const guarded = await serve(async (environ, startResponse) => {
      await reading.promise
      let total = 0
      for await (const chunk of environ['wsgi.input'].chunks()) total += chunk.length
      startResponse('200 OK', PLAIN)
      return [String(total)]
    })
    const { client, sent } = upload(guarded)
    expect(await settled(sent)).toBeLessThan(size)
    reading.resolve()
    expect((await client.closed).stdout).toMatch(new RegExp(`\\r\\n\\r\\n${size}$`))
  })
})
