/** `fromNode` beside node:http: the same listener must have the same outcome. */
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import express from 'express'
import Fastify from 'fastify'
import { describe, expect, test } from 'vitest'
import { HTTPHandler } from '../../handlers/http.ts'
import { fromNode } from '../../src/exports/node.ts'
import { validator } from '../../src/validate/validator.ts'
import type { Application } from '../../src/types.ts'
import { addressOf } from '../fixtures/gateways.ts'
import { respond, ERROR_PAGE, turns } from './harness.ts'

/** Sends bytes, and gives what comes back until the connection closes or `enough` has come. */
function raw(port: number, bytes: string, enough: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    let text = ''
    socket.setTimeout(20_000, () => socket.destroy(new Error(`timed out after: ${text}`)))
    socket.on('error', reject)
    socket.on('close', () => resolve(text))
    socket.on('data', (chunk) => {
      text += String(chunk)
      if (enough.test(text)) socket.destroy()
    })
  })
}

/** The outcome on node:http, and through `fromNode` in a middleware over HTTPHandler. */
async function both(
  listener: RequestListener,
  bytes: string,
  enough = /$^/,
): Promise<[node: string, bridge: string]> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const application = fromNode(listener)
  const middleware: Application = (environ, startResponse) => application(environ, startResponse)
  const gateway = await new HTTPHandler({ listen: 0 }).run(middleware)
  try {
    const { port } = server.address() as AddressInfo
    const bound = addressOf(gateway) as { port: number }
    const outcomes = [await raw(port, bytes, enough), await raw(bound.port, bytes, enough)]
    const [node, bridge] = outcomes.map((text) => text.slice(text.indexOf('\r\n\r\n') + 4))
    return [node!, bridge!]
  } finally {
    server.closeAllConnections()
    server.close()
    await gateway.close()
  }
}

const CHUNKED = 'Host: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n'
const BODY = '7\r\n{"a":1}\r\n0\r\n\r\n'

const refuse: RequestListener = (_, response) => response.writeHead(401).end('refused')

const urls: RequestListener = (request, response) => response.end(`[${request.url}]`)

describe('A chunked request', () => {
  const json = express()
  json.use(express.json())
  json.use((request, response) => {
    response.send(`${request.method} ${JSON.stringify(request.body)}`)
  })

  test.each(['GET', 'DELETE', 'OPTIONS', 'POST', 'PUT'])(
    'of method %s reaches express.json() as on node:http',
    async (method) => {
      const bytes = `${method} / HTTP/1.1\r\nConnection: close\r\n${CHUNKED}\r\n${BODY}`
      const [node, bridge] = await both(json, bytes)
      expect(node).toBe(`${method} {"a":1}`)
      expect(bridge).toBe(node)
    },
  )

  test('gets a 401 before the first byte of its body, as on node:http', async () => {
    const [node, bridge] = await both(refuse, `PUT / HTTP/1.1\r\n${CHUNKED}\r\n`, /refused/)
    expect([node, bridge].map((text) => text.includes('refused'))).toEqual([true, true])
  })
})

describe('The url of a request', () => {
  test.each(['/x', '/x?', '/x??', '/x?a', '/x?a?', '/a%2Fb?c', "/a'b|c", '//x', '/x;y?z=%zz'])(
    'is the one of node:http for %s',
    async (target) => {
      const bytes = `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`
      const [node, bridge] = await both(urls, bytes)
      expect(node).toContain(`[${target}]`)
      expect(bridge).toBe(`[${target}]`)
    },
  )
})

describe('req.originalUrl', () => {
  const inner = express()
  inner.use((request, response) => {
    response.send(`${request.originalUrl} ${request.baseUrl} ${request.url}`)
  })
  const rewriting: RequestListener = (request, response) => {
    request.url = request.url!.replace('/old', '/new')
    inner(request, response)
  }

  test('is the rewritten url of a listener before Express, as on node:http', async () => {
    const bytes = 'GET /old/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
    const [node, bridge] = await both(rewriting, bytes)
    expect(node).toContain('/new/x')
    expect(bridge).toBe('/new/x  /new/x')
  })

  test('includes the mount point', async () => {
    const variables = { SCRIPT_NAME: '/mnt', PATH_INFO: '/x' }
    const { out } = await respond(fromNode(inner), { variables })
    expect(out).toMatch(/\r\n\r\n\/mnt\/x \/mnt \/x$/)
  })

  test('can be set', async () => {
    const application = fromNode((request, response) => {
      const first = request.originalUrl
      request.originalUrl = '/own'
      response.end(
        `${first} ${request.originalUrl} ${Object.keys(request).includes('originalUrl')}`,
      )
    })
    expect((await respond(application)).out).toMatch(/\r\n\r\n\/ \/own true$/)
  })
})

describe('The bridge', () => {
  test('has its own error message for a head that startResponse refuses', async () => {
    const application = validator(fromNode((_, response) => response.end('x')))
    const { out, err } = await respond(application)
    expect(out).toBe(ERROR_PAGE)
    expect(err).toMatch(/No Content-Type header/i)
  })

  test('has its own error message for a head that startResponse refuses later', async () => {
    const application = validator(
      fromNode(async (_, response) => {
        await turns()
        response.end('x')
      }),
    )
    const { out, err } = await respond(application)
    expect(out).toBe(ERROR_PAGE)
    expect(err).toMatch(/No Content-Type header/i)
  })

  test('has its own error message for req.socket.write() before the head', async () => {
    const { out, err } = await respond(
      fromNode((request) => void request.socket.write('HTTP/1.1 ')),
    )
    expect(out).toBe(ERROR_PAGE)
    expect(err).toContain('The application wrote to req.socket before the head of its response')
  })

  test.each([
    ['a revoked Proxy', () => revoked()],
    [
      'an error that cannot be inspected',
      () =>
        Object.defineProperty(new Error('x'), Symbol.for('nodejs.util.inspect.custom'), {
          value: () => {
            throw new Error('no')
          },
        }),
    ],
  ])(
    'logs %s that is thrown after the response, and the process keeps running',
    async (_, make) => {
      const application = fromNode(async (_request, response) => {
        response.end('x')
        await turns()
        throw make()
      })
      expect((await respond(application)).out).toMatch(/\r\n\r\nx$/)
      await turns(10)
    },
  )
})

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

test('fromNode applies connectionTimeout of Fastify', async () => {
  const fastify = Fastify({ connectionTimeout: 50 })
  fastify.get('/', () => new Promise(() => {}))
  const { out, err } = await respond(fromNode(fastify))
  expect(out).toBe(ERROR_PAGE)
  expect(err).toContain('The application destroyed its response')
})

/** The result of a listener that gets the socket. */
async function withSocket(use: (socket: IncomingMessage['socket']) => unknown): Promise<unknown> {
  let result: unknown
  const application = fromNode((request, response) => {
    result = use(request.socket)
    response.end('x')
  })
  const { out } = await respond(application)
  expect(out).toMatch(/\r\n\r\nx$/)
  return result
}

describe('The socket of a request', () => {
  test('has the properties of an open socket', async () => {
    const result = await withSocket(({ readable, writable, destroyed, connecting, readyState }) => [
      readable,
      writable,
      destroyed,
      connecting,
      readyState,
    ])
    expect(result).toEqual([true, true, false, false, 'open'])
  })

  test('emits close after the response, and is destroyed', async () => {
    const events: string[] = []
    await withSocket((socket) => {
      socket.on('close', () => events.push(`close ${socket.destroyed} ${socket.writable}`))
    })
    await turns()
    expect(events).toEqual(['close true false'])
  })

  test('calls back a write after the head, and passes it on', async () => {
    const calls: unknown[] = []
    const application = fromNode((request, response) => {
      response.flushHeaders()
      request.socket.write('a', () => calls.push('written'))
      setImmediate(() => response.end('b'))
    })
    expect((await respond(application)).out).toMatch(/\r\n\r\nab$/)
    expect(calls).toEqual(['written'])
  })

  test('calls back a write after its end with an error', async () => {
    const calls: unknown[] = []
    const application = fromNode((request, response) => {
      response.end('x')
      const { socket } = request
      socket.on('close', () => {
        socket.write('y', (error) => calls.push((error as NodeJS.ErrnoException).code))
      })
    })
    await respond(application)
    await turns()
    expect(calls).toEqual(['ERR_STREAM_DESTROYED'])
  })
})
