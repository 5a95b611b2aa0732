/** `fromFetch` on plain handlers: the Request, and every byte of the Response. */
import { execFileSync } from 'node:child_process'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { getConnInfo } from '@hono/node-server/conninfo'
import { Hono } from 'hono'
import { ipRestriction } from 'hono/ip-restriction'
import { rolldown } from 'rolldown'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { HTTPHandler } from '../../handlers/http.ts'
import { PeerError } from '../../src/errors.ts'
import { fromFetch, type FetchHandler } from '../../src/exports/fetch.ts'
import { httpRequest, openHttp } from '../../src/testing/raw-http-client.ts'
import type { Application, Environ } from '../../src/types.ts'
import { addressOf } from '../fixtures/gateways.ts'
import { makeDirectory } from '../servers/process.ts'
import { respond, ERROR_PAGE, start, turns, type Request as Sent } from './harness.ts'

const OK = 'Status: 200 OK\r\n'
const PLAIN = 'content-type: text/plain;charset=UTF-8\r\n'

/** A body whose chunks are sent when `push` is called. */
function pushed() {
  let controller!: ReadableStreamDefaultController<Uint8Array | string>
  const state = { cancelled: 0 }
  const stream = new ReadableStream({
    start: (own) => void (controller = own),
    cancel: () => void (state.cancelled += 1),
  })
  return { stream, state, controller }
}

describe('A Response of a Fetch API handler', () => {
  test.each<[string, FetchHandler, string, Sent?]>([
    [
      'that is complete has a Content-Length',
      () => new Response('hello'),
      `${OK}${PLAIN}Content-Length: 5\r\n\r\nhello`,
    ],
    [
      'has its own reason phrase',
      () => new Response(null, { status: 418, statusText: 'Short and stout' }),
      'Status: 418 Short and stout\r\nContent-Length: 0\r\n\r\n',
    ],
    [
      'may have a status without a standard reason phrase',
      () => new Response(null, { status: 299 }),
      'Status: 299 \r\nContent-Length: 0\r\n\r\n',
    ],
    [
      'has one Set-Cookie header for each cookie',
      () => {
        const headers = new Headers({ 'X-A': '1' })
        headers.append('Set-Cookie', 'a=1')
        headers.append('Set-Cookie', 'b=2')
        return new Response('x', { headers })
      },
      `${OK}${PLAIN}set-cookie: a=1\r\nset-cookie: b=2\r\nx-a: 1\r\nContent-Length: 1\r\n\r\nx`,
    ],
    [
      'has no headers about the connection',
      () => {
        const names = ['Connection', 'Status', 'Trailer', 'Upgrade']
        const headers = names.map((name): [string, string] => [name, 'close'])
        return new Response('x', { headers: [...headers, ['X-A', '1']] })
      },
      `${OK}${PLAIN}x-a: 1\r\nContent-Length: 1\r\n\r\nx`,
    ],
    [
      'with status 204 has no body',
      () => new Response(null, { status: 204 }),
      'Status: 204 No Content\r\n\r\n',
    ],
    [
      'with status 304 has no body',
      () => new Response(null, { status: 304, headers: { ETag: '"1"' } }),
      'Status: 304 Not Modified\r\netag: "1"\r\n\r\n',
    ],
    [
      'to HEAD has no body',
      () => new Response('hello', { headers: { 'Content-Length': '5' } }),
      `${OK}content-length: 5\r\n${PLAIN}\r\n`,
      { variables: { REQUEST_METHOD: 'HEAD' } },
    ],
    [
      'may be a stream of three chunks',
      () =>
        new Response(
          new ReadableStream({
            start(controller) {
              controller.enqueue(new TextEncoder().encode('a'))
              controller.enqueue(new TextEncoder().encode('b'))
              controller.enqueue(new TextEncoder().encode('c'))
              controller.close()
            },
          }),
        ),
      `${OK}\r\nabc`,
    ],
  ])('%s', async (_, handler, out, request) => {
    expect(await respond(fromFetch(handler), request)).toEqual({ out, err: '' })
  })

  test('begins with its head before it has a first chunk', async () => {
    const { stream, controller } = pushed()
    const running = start(fromFetch(() => new Response(stream)))
    await turns()
    expect(running.out).toBe(`${OK}\r\n`)
    controller.enqueue(Buffer.from('a'))
    await turns()
    expect(running.out).toBe(`${OK}\r\na`)
    controller.close()
    expect(await running.done).toMatchObject({ out: `${OK}\r\na`, err: '' })
  })

  test('whose stream fails is truncated, and the error is logged once', async () => {
    const { stream, controller } = pushed()
    const running = start(fromFetch(() => new Response(stream)))
    await turns()
    controller.enqueue(Buffer.from('a'))
    controller.error(new Error('Boom'))
    const { out, err } = await running.done
    expect(out).toMatch(/^Status: 200 OK\r\n\r\na?$/)
    expect(err.match(/Error: Boom/g)).toHaveLength(1)
  })

  test('whose stream fails while the gateway is busy does not end the process', async () => {
    const { stream, controller } = pushed()
    for (const character of ['a', 'b']) controller.enqueue(Buffer.from(character))
    let release!: () => void
    const output = {
      write: () => false,
      on: (event: string, listener: (error: Error) => void) => {
        if (event === 'drain') release = listener as () => void
      },
    }
    const running = start(
      fromFetch(() => new Response(stream)),
      { output },
    )
    await turns()
    controller.error(new Error('Boom')) // Unhandled, it would end the process.
    await turns()
    expect(running.err).toBe('')
    release()
    await turns()
    release()
    await running.done
    expect(running.err.match(/Error: Boom/g)).toHaveLength(1)
  })

  test('is read no faster than the gateway sends it', async () => {
    let pulls = 0
    const stream = new ReadableStream({
      pull(controller) {
        pulls += 1
        controller.enqueue(Buffer.alloc(1000))
      },
    })
    const output = { write: () => false, on: () => {} }
    const running = start(
      fromFetch(() => new Response(stream)),
      { output },
    )
    await turns(20)
    expect(pulls).toBeLessThan(6)
    running.handler.abort()
  })

  test.each<[string, FetchHandler, string]>([
    ['throws', () => Promise.reject(new Error('Boom')), 'Error: Boom'],
    ['returns nothing', () => undefined as never, 'must return a Response (got undefined)'],
    ['returns text', () => 'x' as never, 'must return a Response (got string)'],
    ['returns an error', () => Response.error(), 'Status must be at least 4 characters'],
    [
      'returns a Response whose body it has read',
      async () => {
        const response = new Response('Hello')
        for await (const chunk of response.body!) void chunk
        return response
      },
      'The body of the Response has been read already',
    ],
    [
      'returns a Response of whose body it has read one chunk',
      async () => {
        const response = new Response(
          new ReadableStream({
            start(controller) {
              for (const letter of 'ab') controller.enqueue(Buffer.from(letter))
              controller.close()
            },
          }),
        )
        const reader = response.body!.getReader()
        await reader.read()
        reader.releaseLock()
        return response
      },
      'The body of the Response has been read already',
    ],
  ])('is the error page if the handler %s', async (_, handler, logged) => {
    const { out, err } = await respond(fromFetch(handler))
    expect(out).toBe(ERROR_PAGE)
    expect(err).toContain(logged)
  })
})

/** A subclass, as some frameworks have. */
class OwnResponse extends Response {}

const bytes = () => new TextEncoder().encode('Hello')

describe('The body of a Response made from', () => {
  test.each<[string, () => Response | Promise<Response>, string]>([
    ['a string', () => new Response('J\xfcrgen \u20ac'), 'J\xc3\xbcrgen \xe2\x82\xac'],
    ['an empty string', () => new Response(''), ''],
    ['bytes', () => new Response(bytes()), 'Hello'],
    ['a part of a Buffer', () => new Response(Buffer.from('abcdef').subarray(2, 4)), 'cd'],
    ['an ArrayBuffer', () => new Response(bytes().buffer), 'Hello'],
    ['64 KiB', () => new Response(Buffer.alloc(65_536, 'x')), 'x'.repeat(65_536)],
    ['a query', () => new Response(new URLSearchParams({ a: '\u20ac' })), 'a=%E2%82%AC'],
    ['JSON', () => Response.json({ a: 1 }), '{"a":1}'],
    ['a subclass', () => new OwnResponse('own'), 'own'],
    ['a clone', () => new Response('cloned').clone(), 'cloned'],
    // In Node 20 and 22 the clone's reader takes the ArrayBuffer that both were made of.
    [
      'bytes whose clone has been read',
      async () => {
        const response = new Response(bytes())
        await response.clone().text()
        return response
      },
      'Hello',
    ],
    [
      'an ArrayBuffer whose clone has been read',
      async () => {
        const response = new Response(bytes().buffer)
        await response.clone().arrayBuffer()
        return response
      },
      'Hello',
    ],
    [
      'bytes that are a clone, when the original has been read',
      async () => {
        const response = new Response(bytes())
        const clone = response.clone()
        await response.text()
        return clone
      },
      'Hello',
    ],
    [
      'bytes that were changed afterwards',
      () => {
        const own = Buffer.from('before')
        const response = new Response(own)
        own.fill('x')
        return response
      },
      'before',
    ],
  ])('%s is sent completely, with its Content-Length', async (_, handler, body) => {
    const { out, err } = await respond(fromFetch(handler))
    expect(out.split('\r\n\r\n')[1]).toBe(body)
    expect(out).toContain(`Content-Length: ${body.length}\r\n`)
    expect(err).toBe('')
  })

  test('a Blob is sent completely', async () => {
    const { out, err } = await respond(fromFetch(() => new Response(new Blob(['a', 'b']))))
    expect([out.split('\r\n\r\n')[1], err]).toEqual(['ab', ''])
  })

  test.each<[string, () => FetchHandler, string]>([
    [
      'has been read',
      () => {
        const response = new Response('x')
        void response.text()
        return () => response
      },
      'PORTICO_BODY_ALREADY_READ',
    ],
    [
      'is locked by another reader',
      () => () => {
        const response = new Response('x')
        response.body!.getReader()
        return response
      },
      'TypeError',
    ],
  ])('a body that %s leads to the error page', async (_, make, logged) => {
    const { out, err } = await respond(fromFetch(make()))
    expect(out).toBe(ERROR_PAGE)
    expect(err).toContain(logged)
  })

  test('a polyfill is sent without any of the globals', async () => {
    const polyfill = { status: 200, statusText: '', headers: new Headers(), body: null as unknown }
    polyfill.body = new Response('polyfilled').body
    vi.stubGlobal('Response', undefined)
    try {
      const { out, err } = await respond(fromFetch(() => polyfill as Response))
      expect([out.split('\r\n\r\n')[1], err]).toEqual(['polyfilled', ''])
    } finally {
      vi.unstubAllGlobals()
    }
  })
})

describe('A Request to a Fetch API handler', () => {
  test.each<[string, Record<string, string>, string]>([
    ['a Host', { HTTP_HOST: 'a.example:8080' }, 'http://a.example:8080/'],
    ['SERVER_NAME if the Host is invalid', { HTTP_HOST: 'a.example/evil?' }, 'http://localhost/'],
    ['SERVER_NAME if the Host has a user', { HTTP_HOST: 'user@a.example' }, 'http://localhost/'],
    ['https', { HTTPS: 'on', SERVER_PORT: '443' }, 'https://localhost/'],
    ['another port', { SERVER_PORT: '8080' }, 'http://localhost:8080/'],
    [
      'the path below a mount point',
      { SCRIPT_NAME: '/mnt', PATH_INFO: '/a b', QUERY_STRING: 'q=%20' },
      'http://localhost/a%20b?q=%20',
    ],
    [
      'the percent-encoding of the client',
      { SCRIPT_NAME: '/mnt', PATH_INFO: '/a/b', REQUEST_URI: '/mnt/a%2Fb' },
      'http://localhost/a%2Fb',
    ],
    ['an asterisk', { PATH_INFO: '', REQUEST_URI: '*' }, 'http://localhost/'],
    [
      'two slashes',
      { PATH_INFO: '//evil.example/', REQUEST_URI: '//evil.example/' },
      'http://localhost//evil.example/',
    ],
  ])('has a URL from %s', async (_, variables, url) => {
    const { out } = await respond(
      fromFetch((request) => new Response(request.url)),
      { variables },
    )
    expect(out.split('\r\n\r\n')[1]).toBe(url)
  })

  test.each([
    ['TRACE', {}, 'Status: 501 Not Implemented\r\n'],
    ['CONNECT', {}, 'Status: 501 Not Implemented\r\n'],
    ['BAD METHOD', {}, 'Status: 400 Bad Request\r\n'],
    ['GET', { HTTP_HOST: 'a.example:99999' }, 'Status: 400 Bad Request\r\n'],
    ['GET', { 'HTTP_X Y': '1' }, 'Status: 400 Bad Request\r\n'],
  ])('is refused for %s with %j', async (method, headers, head) => {
    const variables = { REQUEST_METHOD: method, ...headers }
    const { out, err } = await respond(
      fromFetch(() => new Response('x')),
      { variables },
    )
    expect(out.startsWith(head)).toBe(true)
    expect(err).toMatch(/^[A-Z ]+ \/: PORTICO_BAD_REQUEST: [^\n]*\n$/)
  })

  test('has its headers and its body, and comes with the environ', async () => {
    let result: unknown
    const application = fromFetch(async (request, environ) => {
      const { method, headers } = request
      result = [method, [...headers], environ['REMOTE_USER'], await request.text()]
      return new Response('x')
    })
    const variables = {
      REQUEST_METHOD: 'POST',
      HTTP_X_ONE: 'J\xfcrgen',
      HTTP_COOKIE: 'a=1; b=2',
      CONTENT_TYPE: 'text/plain',
      REMOTE_USER: 'ada',
    }
    await respond(application, { variables, body: 'y'.repeat(100_000) })
    const headers = [
      ['content-length', '100000'],
      ['content-type', 'text/plain'],
      ['cookie', 'a=1; b=2'],
      ['x-one', 'J\xfcrgen'],
    ]
    expect(result).toEqual(['POST', headers, 'ada', 'y'.repeat(100_000)])
  })

  test('reads its body only when the handler reads', async () => {
    let reads = 0
    const body = { read: (size: number) => ((reads += 1), Buffer.alloc(Math.min(size, 1000))) }
    const counts: number[] = []
    const application = fromFetch(async (request) => {
      await turns()
      counts.push(reads)
      const reader = request.body!.getReader()
      await reader.read()
      await turns()
      counts.push(reads)
      return new Response('x')
    })
    const variables = { REQUEST_METHOD: 'POST', CONTENT_LENGTH: '1000000' }
    await respond(application, { body, variables })
    expect(counts[0]).toBe(0)
    expect(counts[1]).toBeLessThanOrEqual(2)
  })

  test('rejects a read of an incomplete body, which leads to 400', async () => {
    const application = fromFetch(async (request) => new Response(await request.text()))
    const { out, err } = await respond(application, {
      body: 'abc',
      variables: { REQUEST_METHOD: 'POST', CONTENT_LENGTH: '5' },
    })
    expect(out).toMatch(/^Status: 400 Bad Request\r\n/)
    expect(err).toContain('PORTICO_BODY_CUT_SHORT')
  })
})

test('getConnInfo() and ipRestriction() of Hono see the client of the gateway', async () => {
  const app = new Hono()
  app.use('/restricted', ipRestriction(getConnInfo, { denyList: ['192.0.2.0/24'] }))
  app.get('/restricted', (c) => c.text('allowed'))
  app.get('/', (c) => c.json(getConnInfo(c).remote))
  const ask = async (REMOTE_ADDR: string, PATH_INFO: string) => {
    const variables = { REMOTE_ADDR, REMOTE_PORT: '5000', PATH_INFO }
    return (await respond(fromFetch(app), { variables })).out
  }
  expect(await ask('2001:db8::1', '/')).toMatch(
    /\r\n\r\n\{"address":"2001:db8::1","port":5000,"addressType":"IPv6"\}$/,
  )
  // What nginx sends for a client that is connected to its Unix socket.
  expect(await ask('unix:', '/')).toMatch(/\r\n\r\n\{"port":5000\}$/)
  expect(await ask('192.0.2.1', '/restricted')).toMatch(/^Status: 403 /)
  expect(await ask('198.51.100.1', '/restricted')).toMatch(/\r\n\r\nallowed$/)
})

const ENCODERS: Readonly<Record<string, (text: string) => Buffer>> = {
  gzip: gzipSync,
  deflate: deflateSync,
  br: brotliCompressSync,
}

describe('A Response that came from fetch()', () => {
  const text = 'portico '.repeat(1_000)
  let upstream: Server
  let url: string
  beforeAll(async () => {
    upstream = createServer((request, response) => {
      const coding = request.url!.slice(1)
      const body = ENCODERS[coding]?.(text)
      const type = { 'Content-Type': 'text/plain' }
      if (body !== undefined) {
        response.writeHead(200, { ...type, 'Content-Encoding': coding })
        response.end(body)
      } else {
        response.writeHead(200, { ...type, 'Content-Encoding': 'own', 'Content-Length': 3 })
        response.end('own')
      }
    })
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
    url = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`
  })
  afterAll(() => {
    upstream.closeAllConnections()
    upstream.close()
  })

  test.each(['gzip', 'deflate', 'br'])(
    'is sent decoded if it was encoded with %s',
    async (coding) => {
      const { out, err } = await respond(fromFetch(() => fetch(`${url}/${coding}`)))
      const [head, body] = out.split('\r\n\r\n')
      expect([body, err]).toEqual([text, ''])
      expect(head).not.toMatch(/content-encoding/i)
      expect(head).not.toMatch(/content-length: (?!8000\b)/i)
    },
  )

  test('is sent unchanged in a coding that fetch() does not decode', async () => {
    const { out } = await respond(fromFetch(() => fetch(`${url}/own`)))
    expect(out).toMatch(/content-encoding: own\r\n/)
    expect(out).toMatch(/\r\n\r\nown$/)
  })
})

test('A client that disconnects aborts the signal with a reason and cancels the response stream', async () => {
  const { stream, state, controller } = pushed()
  const signals: AbortSignal[] = []
  const application = fromFetch((request) => {
    // As a framework passes on the request that it got: Hono's mount() makes the third of them.
    const copies = [request, request.clone(), new Request('http://other.example/', request)]
    for (const copy of copies) signals.push(copy.signal)
    return new Response(stream)
  })
  const server = await new HTTPHandler({ listen: 0 }).run(application)
  const connection = await openHttp(addressOf(server))
  await connection.stream()
  controller.enqueue(Buffer.from('a'))
  connection.close()
  while (state.cancelled === 0) await turns(1)
  expect(signals.map(({ aborted, reason }) => [aborted, reason instanceof Error])).toEqual([
    [true, true],
    [true, true],
    [true, true],
  ])
  expect(state.cancelled).toBe(1)
  await server.close()
})

// Node (20 to 26) throws an uncaught error if the end of an async iterable is being read then.
describe('A HEAD request', () => {
  const head = { variables: { REQUEST_METHOD: 'HEAD' } }

  test.each([
    [0, ['pull', 'pulled', 'pull', 'pulled', 'cancel']],
    [3, ['pull', 'pulled', 'cancel']],
  ])('does not cancel a stream while it is read, for %i turns', async (wait, expected) => {
    const events: string[] = []
    const stream = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          events.push('pull')
          if (wait > 0) await turns(wait)
          controller.enqueue(Buffer.from('a'))
          events.push('pulled')
        },
        cancel: () => void events.push('cancel'),
      },
      { highWaterMark: 0 },
    )
    await respond(
      fromFetch(() => new Response(stream)),
      head,
    )
    await turns(10)
    expect(events).toEqual(expected)
  })

  test('cancels a stream that sends nothing', async () => {
    const { stream, state } = pushed()
    await respond(
      fromFetch(() => new Response(stream)),
      head,
    )
    await expect.poll(() => state.cancelled, { timeout: 5_000 }).toBe(1)
  })
})

test('A response to a client that has closed its half does not look complete', async () => {
  const { stream, controller } = pushed()
  const server = await new HTTPHandler({ listen: 0 }).run(fromFetch(() => new Response(stream)))
  const connection = await openHttp(addressOf(server))
  const response = await connection.stream()
  controller.enqueue(Buffer.from('a'))
  connection.end()
  const read = async (): Promise<void> => {
    for await (const chunk of response.chunks()) expect(String(chunk)).toBe('a')
  }
  await expect(read()).rejects.toThrow(PeerError)
  connection.close()
  await server.close()
})

test('A chunked request body reaches a Fetch API handler', async () => {
  const application = fromFetch(async (request) => new Response(await request.text()))
  const server = await new HTTPHandler({ listen: 0 }).run(application)
  const response = await httpRequest(addressOf(server), { method: 'POST', body: ['ab', 'c'] })
  expect(String(response.body)).toBe('abc')
  await server.close()
})

test.each([10, 300_000])(
  'A Request body of %i bytes can be read after the Response',
  async (size) => {
    const server = await new HTTPHandler({ listen: 0 }).run(
      fromFetch((request) => {
        read = request.text()
        read.catch(() => {})
        return new Response('Accepted', { status: 202 })
      }),
    )
    let read = Promise.resolve('')
    const request = { method: 'POST', body: 'y'.repeat(size) }
    const response = await httpRequest(addressOf(server), request)
    expect([response.status, String(response.body)]).toEqual([202, 'Accepted'])
    expect((await read).length).toBe(size)
    await server.close()
  },
)

/** A handler below middleware that reads the body. */
const below =
  (handler: FetchHandler): Application =>
  async (environ, startResponse) => {
    environ['wsgi.input_terminated'] = true
    await environ['wsgi.input'].read()
    return fromFetch(handler)(environ, startResponse)
  }

test.each([{}, { CONTENT_LENGTH: '', HTTP_TRANSFER_ENCODING: 'chunked' }, { CONTENT_LENGTH: '' }])(
  'A Request body that middleware has read is an error for a handler that reads it (%j)',
  async (variables) => {
    const request = { body: 'a=1', variables: { REQUEST_METHOD: 'POST', ...variables } }
    const { out, err } = await respond(
      below(async (it) => new Response(await it.text())),
      request,
    )
    expect(out).toBe(ERROR_PAGE)
    expect(err).toContain('PORTICO_BODY_ALREADY_READ')
    const unread = await respond(
      below(() => new Response('not needed')),
      request,
    )
    expect([unread.out.endsWith('not needed'), unread.err]).toEqual([true, ''])
  },
)

test('A Request body that is read in part does not delay the Response', async () => {
  const application = fromFetch(async (request) => {
    await request.body!.getReader().read()
    return new Response('enough')
  })
  let reads = 0
  const body = {
    read: (most: number) => {
      reads += 1
      return Buffer.alloc(Math.min(most, 1000), 'x')
    },
  }
  const variables = { REQUEST_METHOD: 'POST', CONTENT_LENGTH: '1000000' }
  expect((await respond(application, { body, variables })).out).toContain('\r\n\r\nenough')
  expect(reads).toBeLessThan(5)
})

test('fromFetch calls fetch() as a method of its object', async () => {
  const object = {
    name: 'own',
    fetch(_request: Request, environ: Environ) {
      return new Response(`${this.name} ${environ.REQUEST_METHOD}`)
    },
  }
  expect((await respond(fromFetch(object))).out).toContain('\r\n\r\nown GET')
})

test.each([[{}], [null], [42]])('fromFetch refuses %j', (source) => {
  expect(() => fromFetch(source as never)).toThrow('fromFetch() takes a function')
})

/** What a fresh process has loaded of the Fetch API after it has run the statement. */
async function loadedAfter(statement: string): Promise<string[]> {
  const directory = await makeDirectory()
  try {
    const file = join(directory, 'bundle.cjs')
    const build = await rolldown({ input: 'src/bridge/from-fetch.ts', platform: 'node' })
    await build.write({ file, format: 'cjs' })
    await build.close()
    const script = `const { fromFetch } = require(${JSON.stringify(file)}); ${statement}
      console.log(process.moduleLoadList.filter((name) => name.includes('undici')).join())`
    const loaded = execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' })
    return loaded.trim().split(',').filter(Boolean)
  } finally {
    await rm(directory, { recursive: true })
  }
}

test('fromFetch loads nothing of the Fetch API before the first request', async () => {
  expect(await loadedAfter('fromFetch(() => new Response())')).toEqual([])
  expect(await loadedAfter('new Response()')).not.toEqual([])
})
