/**
 * What only `NodeFastCGIHandler` does, over real sockets, and the faults of node-fastcgi 2.0.0 with
 * and without Portico; socket-gateways.test.ts has what it shares with the other gateways.
 */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve as absolute } from 'node:path'
import { rolldown } from 'rolldown'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { NodeFastCGIHandler, type NodeFastCGIOptions } from '../../handlers/node-fastcgi.ts'
import {
  FCGI_AUTHORIZER,
  FCGI_PARAMS,
  FCGI_RESPONDER,
  FCGI_UNKNOWN_ROLE,
  encodeRecord,
} from '../../src/protocol/fastcgi.ts'
import { encodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import type { Application, Environ } from '../../src/types.ts'
import { start, temporaryDirectory } from '../server/child.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed } from '../servers/process.ts'
import { echo, eventually, HEAD, hello, log } from './applications.ts'
import { FastCGIWebServer, type Received } from './web-server.ts'

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
  const directory = temporaryDirectory()
  closers.push(directory.remove)
  return directory.path
}

/** A web server whose connection ends with the test. */
class Client extends FastCGIWebServer {
  constructor(server: GatewayServer) {
    super(server)
    closers.push(() => this.socket.destroy())
  }

  send(...bytes: Buffer[]): this {
    this.socket.write(Buffer.concat(bytes))
    return this
  }
}

function ask(server: GatewayServer): Promise<Received> {
  const client = new Client(server)
  return client.send(client.head(), client.bodyEnd()).closed
}

const HELLO = `${HEAD}Content-Length: 6\r\n\r\nHello\n`

const COMPLETE: Received = { stdout: HELLO, stderr: '', end: 'complete' }

describe('A request to NodeFastCGIHandler', () => {
  it('is aborted by ABORT_REQUEST, even while a read waits for its body', async () => {
    let failure: unknown
    let signal: AbortSignal | undefined
    const server = await serve(async (environ, startResponse) => {
      signal = environ['portico.signal']
      await environ['wsgi.input'].read().catch((error: unknown) => (failure = error))
      return hello(environ, startResponse)
    })
    const client = new Client(server)
    client.send(client.head({}, 10), client.body('part'))
    await eventually(() => signal !== undefined)
    client.send(client.protocol.abort(1))
    expect(await client.closed).toMatchObject({
      stdout: '',
      end: 'protocolStatus, appStatus: 0 1',
    })
    await eventually(() => failure !== undefined)
    expect(failure).toMatchObject({ code: 'PORTICO_DISCONNECTED' })
    expect(signal?.aborted).toBe(true)
  })

  it('with a role other than Responder is refused', async () => {
    const client = new Client(await serve(hello))
    client.send(client.head({}, 0, FCGI_AUTHORIZER))
    expect(await client.closed).toMatchObject({
      stdout: '',
      end: `protocolStatus, appStatus: ${FCGI_UNKNOWN_ROLE} 1`,
    })
  })
})

describe('A server of NodeFastCGIHandler', () => {
  it('explains how to install node-fastcgi if it is missing', async () => {
    const directory = newDirectory()
    const [input, file] = [join(directory, 'in.ts'), join(directory, 'out.mjs')]
    writeFileSync(
      input,
      `import { NodeFastCGIHandler } from ${JSON.stringify(absolute('handlers/node-fastcgi.ts'))}
       new NodeFastCGIHandler({ listen: ':0' }).run(() => []).catch((error) => {
         console.log(error.code, error.message)
       })`,
    )
    const build = await rolldown({ input, platform: 'node', external: ['node-fastcgi'] })
    await build.write({ dir: directory, entryFileNames: 'out.mjs', format: 'esm' })
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
    expect(await ask(guarded)).toEqual(COMPLETE)
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
    client.send(client.head())
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
    client.send(client.head())
    await once(client.socket, 'data')
    client.socket.resetAndDestroy()
    await eventually(() => lines.length > 0)
    expect(lines).toEqual(['late\n'])
    expect(await ask(await serve(hello))).toEqual(COMPLETE)
  })

  it('closes the connection despite KEEP_CONN', async () => {
    const client = new Client(await serve(hello))
    client.send(client.head({}, 0, FCGI_RESPONDER, true), client.bodyEnd())
    expect(await client.closed).toEqual(COMPLETE)
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
    expect((await client.closed).end).toBe('complete')
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
    client.send(client.head(), client.bodyEnd())
    client.socket.end()
    expect(await client.closed).toMatchObject({ stdout: '', end: 'closed without END_REQUEST' })
  })

  it('buffers an unread upload completely, where Portico lets the web server wait', async () => {
    const size = 64 * 1024 * 1024
    const { server } = await packageAlone('() => {}')
    const client = new Client(server)
    client.send(client.head({}, size))
    const chunk = Buffer.alloc(32_768)
    let sent = 0
    const send = () => {
      while (sent < size) {
        sent += chunk.length
        if (!client.socket.write(client.body(chunk))) return
      }
    }
    client.socket.on('drain', send)
    send()
    await eventually(() => sent === size)
  })
})
