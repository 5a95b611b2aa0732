/** `installLightFetch`: light Requests and Responses lead to the same bytes as the real ones. */
import { rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import * as fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { fromFetch, installLightFetch, type FetchHandler } from '../../src/exports/fetch.ts'
import type { TestResponse } from '../../src/exports/testing.ts'
import { makeDirectory } from '../servers/process.ts'
import { comparable, loadExample, rows, settings, type Served } from './frameworks.ts'
import { respond, ERROR_PAGE, turns, type Result, type Request as Sent } from './harness.ts'

const { Request: RealRequest, Response: RealResponse, fetch: realFetch } = globalThis

function restore(): void {
  Object.assign(globalThis, {
    Request: RealRequest,
    Response: RealResponse,
    fetch: realFetch,
  })
}

beforeEach(installLightFetch)
afterEach(restore)

/** The responses of one handler with the real classes and with the light ones. */
async function both(handler: FetchHandler, request?: Sent): Promise<[string, string]> {
  restore()
  const real = await respond(fromFetch(handler), request)
  installLightFetch()
  const light = await respond(fromFetch(handler), request)
  return shownOf([real, light])
}

function shownOf(responses: readonly Result[]): [string, string] {
  const [a, b] = responses.map(({ out, err }) => `${out}\n${err.split('\n', 1)[0]}`)
  return [a!, b!]
}

/** The result of a function, or its error as text. */
const shown = (made: () => unknown): unknown => {
  try {
    return made()
  } catch (error) {
    return String(error)
  }
}

/** The names that `for…in` finds. Some libraries copy a Request with it. */
function membersOf(it: object): string[] {
  const members: string[] = []
  for (const name in it) members.push(name)
  return members.toSorted()
}

type Body = ConstructorParameters<typeof Response>[0]

const bodies = [
  undefined,
  null,
  '',
  'J\u00fcrgen \ud800',
  new Uint8Array([0, 255]),
  Buffer.from('bytes'),
  new ArrayBuffer(3),
  new URLSearchParams({ a: 'b' }),
  new Blob(['blob'], { type: 'text/x' }),
  42,
]

const inits = [
  undefined,
  null,
  {},
  { status: 201 },
  { status: 204 },
  { status: 304 },
  { status: 599 },
  { status: 101 },
  { status: 600 },
  { status: '202' },
  { status: 200.5 },
  { statusText: 'Fine' },
  { statusText: null },
  { statusText: 'B\nad' },
  { headers: { 'X-B': ' 1 ', 'x-a': '2', Connection: 'close', status: '404' } },
  {
    headers: [
      ['Set-Cookie', 'a'],
      ['set-cookie', 'b'],
      ['X-A', '1'],
      ['x-a', '2'],
    ],
  },
  { headers: new Headers({ 'Content-Type': 'text/html' }) },
  { headers: { 'B ad': '1' } },
  { headers: { 'X-A': 'b\nad' } },
  { headers: 42 },
] as ResponseInit[]

describe('A light Response', () => {
  test('is sent, or refused, like the real one', async () => {
    for (const body of bodies) {
      for (const init of inits) {
        const [real, light] = await both(() => new Response(body as Body, init))
        expect(light, inspect({ body, init })).toBe(real)
      }
    }
  })

  test('has every member of the real one', () => {
    const members = Object.getOwnPropertyNames(RealResponse.prototype)
    for (const body of bodies.slice(0, 6)) {
      for (const init of inits) {
        const values = [RealResponse, Response].map((Class) =>
          shown(() => {
            const response = new Class(body as Body, init)
            return members.map((name) => {
              const value = response[name as keyof Response]
              if (typeof value === 'function') return typeof value
              if (name === 'headers') return Array.from(response.headers)
              return name === 'body' ? value === null : value
            })
          }),
        )
        expect(values[1]).toEqual(values[0])
      }
    }
  })

  test('cannot be distinguished from a real one by its class', () => {
    const response = new Response('x')
    expect(response instanceof Response && response instanceof RealResponse).toBe(true)
    expect(new RealResponse('x') instanceof Response).toBe(true)
    expect([response.constructor, Response.name, Object.prototype.toString.call(response)]).toEqual(
      [Response, 'Response', '[object Response]'],
    )
    expect(membersOf(response)).toEqual(membersOf(new RealResponse('x')))
    expect(Object.keys(response)).toEqual([])
    expect(inspect(response)).toContain('Response {')
    class Own extends Response {
      get own() {
        return this.status
      }
    }
    expect(new Own('x', { status: 202 }).own).toBe(202)
    expect(Response.json({}) instanceof Response).toBe(true)
  })

  test.each<[string, (response: Response) => unknown, unknown]>([
    ['text()', (it) => it.text(), '{"a":1}'],
    ['json()', (it) => it.json(), { a: 1 }],
    ['arrayBuffer()', async (it) => (await it.arrayBuffer()).byteLength, 7],
    ['blob()', async (it) => (await it.blob()).type, 'text/plain;charset=utf-8'],
    [
      'body',
      async (it) => String(Buffer.from((await it.body!.getReader().read()).value as Uint8Array)),
      '{"a":1}',
    ],
    ['new Response(body, itself)', (it) => new Response(it.body, it).text(), '{"a":1}'],
    ['clone()', async (it) => (await it.clone().text()) + (await it.text()), '{"a":1}{"a":1}'],
  ])('can be read with %s, once', async (_, read, expected) => {
    const response = new Response('{"a":1}')
    expect(response.bodyUsed).toBe(false)
    expect(await read(response)).toEqual(expected)
    expect(response.bodyUsed).toBe(true)
    await expect(response.text()).rejects.toThrow(TypeError)
  })

  test('is read by a method that has been replaced in the class', async () => {
    const { text } = RealResponse.prototype
    Object.assign(RealResponse.prototype, {
      async text(this: Response) {
        return `${await text.call(this)}!`
      },
    })
    try {
      expect(await new Response('x').text()).toBe('x!')
    } finally {
      Object.assign(RealResponse.prototype, { text })
    }
  })

  test('is sent with headers that were changed before or after it was cloned', async () => {
    const [real, light] = await both(async () => {
      const response = new Response('x', { headers: { 'X-A': '1', 'X-B': '1' } })
      const { headers } = response
      headers.set('X-A', '2')
      const first = response.clone()
      headers.delete('X-B')
      headers.append('Set-Cookie', 'a')
      const second = response.clone()
      headers.append('Set-Cookie', 'b')
      response.headers.set('X-C', JSON.stringify([[...first.headers], [...second.headers]]))
      return response
    })
    expect(light).toBe(real)
    expect(light).toContain('set-cookie: a\r\nset-cookie: b\r\nx-a: 2\r\nx-c: [')
  })

  test('is used after it has been sent, unless its body is null', async () => {
    const response = new Response('x')
    const application = fromFetch(() => response)
    expect((await respond(application)).out).toContain('\r\n\r\nx')
    expect(response.bodyUsed).toBe(true)
    expect((await respond(application)).out).toBe(ERROR_PAGE)
    await expect(response.text()).rejects.toThrow(TypeError)
    const empty = new Response(null, { status: 204 })
    const nothing = fromFetch(() => empty)
    expect(await respond(nothing)).toEqual(await respond(nothing))
  })

  test('sends its bytes without copying them', async () => {
    const bytes = Buffer.from('xxx')
    const { out } = await respond(
      fromFetch(() => {
        const response = new Response(bytes)
        bytes.fill('y')
        return response
      }),
    )
    expect(out).toContain('\r\n\r\nyyy')
  })
})

/** What `other`, which stands for a request, has. In Node 24 a real Request cannot be replaced so. */
async function readThrough(request: Request, other: Request): Promise<unknown> {
  if (!isTransparent) return request.text()
  const { method, url, headers } = other
  return [method, url, [...headers], other instanceof Request, await other.clone().text()]
}

const isTransparent = Object.getOwnPropertySymbols(new RealRequest('http://a/')).length > 0

/** A light Request has all members in one prototype. */
const isLight = (request: Request) =>
  Object.hasOwn(Object.getPrototypeOf(request) as object, 'json')

/** Responds with everything that a handler can see of a request. */
const everything: FetchHandler = async (request) => {
  const { method, url, headers } = request
  const rest = [request.mode, request.redirect, request.referrer, request.body === null]
  return RealResponse.json([method, url, [...headers], rest, await request.text()])
}

const ODD = ['GET', 'HEAD', 'get', 'POST', 'PATCH', 'TRACE', 'CONNECT', 'QUERY', 'BAD METHOD']
const HOSTS = ['a.example', 'A.example:80', 'a.example:8080', '[::1]', 'a.example:99999', 'a/b', '']

describe('A light Request', () => {
  test('equals the real one, or is refused like it', async () => {
    const path = fc.string({ unit: fc.constantFrom(...'/.ab2e% \\?#"<>|^{}\'\xe9~*'.split('')) })
    const value = fc.string({ unit: fc.constantFrom(...'ab ,\t\x01\n\0\xe9'.split('')) })
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          REQUEST_METHOD: fc.constantFrom(...ODD),
          HTTP_HOST: fc.constantFrom(...HOSTS),
          PATH_INFO: path.map((rest) => `/${rest}`),
          QUERY_STRING: path.filter((text) => !text.includes('#')),
          HTTP_X_ONE: value,
          'HTTP_X Y': fc.constantFrom(undefined, undefined, '1'),
        }),
        async ({ 'HTTP_X Y': odd, ...variables }) => {
          const request = { variables: { ...variables, ...(odd && { 'HTTP_X Y': odd }) } }
          const [real, light] = await both(everything, request)
          expect(light).toBe(real)
        },
      ),
      { numRuns: 500 },
    )
  })

  test('has every member of the real one', async () => {
    const members = Object.getOwnPropertyNames(RealRequest.prototype)
    const handler: FetchHandler = (request) => {
      const seen = members.map((name) => {
        const value = request[name as keyof Request] as unknown
        if (typeof value === 'function') return [name, 'function']
        return [name, inspect(value, { depth: 0 })]
      })
      return RealResponse.json(seen)
    }
    for (const REQUEST_METHOD of ['GET', 'POST']) {
      const [real, light] = await both(handler, { variables: { REQUEST_METHOD }, body: 'x' })
      expect(light).toBe(real)
    }
  })

  test.each<[string, (request: Request) => unknown]>([
    ['text()', (it) => it.text()],
    ['clone()', async (it) => (await it.clone().text()) + (await it.text())],
    ['new Request(itself)', (it) => new Request(it).text()],
    ['new Request(url, itself)', (it) => new Request('http://other.example/', it).text()],
    [
      'new Request(itself, init)',
      async (it) => {
        const copy = new Request(it, { headers: { 'X-Own': '1' } })
        return [copy.method, copy.url, [...copy.headers], await copy.text()]
      },
    ],
    ['new its.constructor(itself)', (it) => new (it.constructor as typeof Request)(it).text()],
    [
      'a copy of all that it has',
      (it) => {
        const copy: string[] = []
        for (const name in it) copy.push(`${name}: ${typeof it[name as keyof Request]}`)
        return copy.toSorted()
      },
    ],
    ['new Request()', () => shown(() => new (Request as unknown as new () => Request)())],
    [
      'a subclass of Request',
      (it) => {
        class Own extends Request {}
        return [new Own(it) instanceof Own, new Own(it.url) instanceof Request]
      },
    ],
    ['formData()', async (it) => [...(await it.formData())]],
    ['an object that inherits from it', (it) => readThrough(it, Object.create(it) as Request)],
    ['a Proxy', (it) => readThrough(it, new Proxy(it, {}))],
    ['a second look at a body that was read', async (it) => [await it.text(), it.bodyUsed]],
    [
      'its class',
      (it) => [it instanceof Request, it.constructor.name, Object.prototype.toString.call(it)],
    ],
    ['its properties', (it) => ['body' in it, 'nothing' in it]],
    [
      'headers that are changed at any time',
      async (it) => {
        it.headers.set('X-A', '1')
        const first = it.clone()
        it.headers.delete('content-type')
        it.headers.set('X-A', '2')
        return [first, it.clone(), new Request(it)].map(({ headers }) => Array.from(headers))
      },
    ],
  ])('can be used with %s', async (_, use) => {
    const handler: FetchHandler = async (request) => RealResponse.json(await use(request))
    const variables = {
      REQUEST_METHOD: 'POST',
      CONTENT_TYPE: 'application/x-www-form-urlencoded',
      HTTP_X_B: 'J\xfcrgen',
    }
    const [real, light] = await both(handler, { variables, body: 'a=1&b=%20' })
    expect(light).toMatch(/^Status: 200 /)
    expect(light).toBe(real)
  })

  test('can be passed to fetch()', async () => {
    const server = createServer((request, response) => {
      request.pipe(response.setHeader('X-Seen', String(request.headers['x-own'])))
    }).listen(0, '127.0.0.1')
    await turns()
    const { port } = server.address() as AddressInfo
    const proxy = fromFetch((request) => {
      request.headers.delete('host')
      request.headers.delete('content-length')
      request.headers.set('X-Own', 'added')
      return fetch(request)
    })
    const variables = { REQUEST_METHOD: 'POST', HTTP_HOST: `127.0.0.1:${port}` }
    const { out, err } = await respond(proxy, { variables, body: 'there and back' })
    server.close()
    expect(err).toBe('')
    expect(out).toContain('x-seen: added\r\n')
    expect(out.endsWith('\r\n\r\nthere and back')).toBe(true)
  })

  test('is a real one again after the globals have been restored', async () => {
    const kinds: boolean[] = []
    const application = fromFetch((request) => {
      kinds.push(isLight(request))
      return new Response()
    })
    await respond(application)
    restore()
    await respond(application)
    expect(kinds).toEqual([true, false])
  })

  test('is a real one if installLightFetch() was not called', async () => {
    restore()
    const { out } = await respond(fromFetch((request) => RealResponse.json(isLight(request))))
    expect(out).toMatch(/\r\n\r\nfalse$/)
  })

  test('has the signal of the client, and so has its clone', async () => {
    const signals: AbortSignal[] = []
    const application = fromFetch((request, environ) => {
      signals.push(environ['portico.signal'], request.signal, request.clone().signal)
      return new Response()
    })
    await respond(application)
    expect(new Set(signals).size).toBe(1)
  })

  test('throws a TypeError for an object that is not a light Request', () => {
    const prototype = Object.getPrototypeOf(new Request('http://a/')) as Request
    const light = Object.create(prototype) as Request
    expect(shown(() => light.body)).toMatch(/^TypeError/)
    expect(shown(() => light.clone())).toMatch(/^TypeError/)
  })
})

test('installLightFetch() called twice changes nothing', () => {
  const { Request, Response, fetch } = globalThis
  installLightFetch()
  expect([globalThis.Request, globalThis.Response, globalThis.fetch]).toEqual([
    Request,
    Response,
    fetch,
  ])
})

test('installLightFetch() keeps classes that have replaced the global ones before', async () => {
  restore()
  class Request extends RealRequest {}
  class Response extends RealResponse {}
  Object.assign(globalThis, { Request, Response })
  vi.resetModules() // They are installed once in a process.
  const { fromFetch: bridge, installLightFetch: install } =
    await import('../../src/exports/fetch.ts')
  install()
  const application = bridge(async (request) => {
    const copy = new globalThis.Response(await request.text())
    return globalThis.Response.json([request instanceof Request, await copy.text()])
  })
  const { out } = await respond(application, { variables: { REQUEST_METHOD: 'POST' }, body: 'x' })
  expect(out.split('\r\n\r\n')[1]).toBe('[true,"x"]')
})

describe('The Hono example with light classes', () => {
  let directory: string
  let served: Served[]
  beforeAll(async () => {
    directory = await makeDirectory()
    vi.spyOn(console, 'error').mockReturnValue()
    installLightFetch()
    const app = await loadExample('hono.mjs')
    const chosen = settings.filter(({ name }) => /^(?:FastCGI|HTTP)Handler$/.test(name))
    served = await Promise.all(chosen.map((it) => it.serve(app, '/mnt', directory, 'hono.mjs')))
  })
  afterAll(async () => {
    vi.restoreAllMocks()
    for (const it of served) await it.close()
    await rm(directory, { recursive: true, force: true })
  })

  const asked = rows.filter(({ only = 'Hono', not }) => only === 'Hono' && not !== 'Hono')
  test.each(asked.map((row) => [row.name, row] as const))(
    'responds as with the real classes: %s',
    async (_, { request, status, body }) => {
      const ask = async () => {
        const responses: TestResponse[] = []
        for (const { client } of served) responses.push(await client.request(request))
        return responses.map((it) => comparable(it, 'Hono'))
      }
      const light = await ask()
      restore()
      expect(light).toEqual(await ask())
      expect(light[0]).toMatchObject({ code: String(status), body: body('Hono', '/mnt') })
    },
  )
})
