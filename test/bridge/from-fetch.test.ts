/** `fromFetch` on plain handlers: what the Request says, and every byte of the Response. */
import { execFileSync } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { rolldown } from 'rolldown'
import { describe, expect, test } from 'vitest'
import { HTTPHandler } from '../../handlers/http.ts'
import { PeerError } from '../../src/errors.ts'
import { fromFetch, toFetch, type FetchHandler } from '../../src/exports/fetch.ts'
import { httpRequest, openHttp } from '../../src/testing/raw-http-client.ts'
import type { Application, Environ } from '../../src/types.ts'
import { placeOf } from '../fixtures/gateways.ts'
import { makeFolder } from '../servers/process.ts'
import { answer, ERROR_PAGE, start, turns, type Request as Sent } from './harness.ts'

const short: FetchHandler = () => new Response('x')
const empty: Application = () => []

const OK = 'Status: 200 OK\r\n'
const PLAIN = 'content-type: text/plain;charset=UTF-8\r\n'

/** A body whose pieces come when `push` is called. */
function pushed() {
  let controller!: ReadableStreamDefaultController<Uint8Array | string>
  const state = { cancelled: 0 }
  const stream = new ReadableStream({
    start: (own) => void (controller = own),
    cancel: () => void (state.cancelled += 1),
  })
  return { stream, state, controller }
}

describe('the answer', () => {
  test.each<[string, FetchHandler, string, Sent?]>([
    [
      'that is there has a length',
      () => new Response('hello'),
      `${OK}${PLAIN}Content-Length: 5\r\n\r\nhello`,
    ],
    [
      'has the reason that it is given, else the usual one',
      () => new Response(null, { status: 418, statusText: 'Short and stout' }),
      'Status: 418 Short and stout\r\nContent-Length: 0\r\n\r\n',
    ],
    [
      'may have a status without a usual reason',
      () => new Response(null, { status: 299 }),
      'Status: 299 \r\nContent-Length: 0\r\n\r\n',
    ],
    [
      'has each of several cookies',
      () => {
        const headers = new Headers({ 'X-A': '1' })
        headers.append('Set-Cookie', 'a=1')
        headers.append('Set-Cookie', 'b=2')
        return new Response('x', { headers })
      },
      `${OK}${PLAIN}set-cookie: a=1\r\nset-cookie: b=2\r\nx-a: 1\r\nContent-Length: 1\r\n\r\nx`,
    ],
    [
      'has no header that concerns the connection',
      () => new Response('x', { headers: { Connection: 'close', 'Keep-Alive': 'x', 'X-A': '1' } }),
      `${OK}${PLAIN}x-a: 1\r\nContent-Length: 1\r\n\r\nx`,
    ],
    [
      'of status 204 has no body',
      () => new Response(null, { status: 204 }),
      'Status: 204 No Content\r\n\r\n',
    ],
    [
      'of status 304 has no body',
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
      'may be of strings',
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
    expect(await answer(fromFetch(handler), request)).toEqual({ out, err: '' })
  })

  test('begins with its head before there is a first piece', async () => {
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

  test('that breaks off is broken off, and the reason is logged once', async () => {
    const { stream, controller } = pushed()
    const running = start(fromFetch(() => new Response(stream)))
    await turns()
    controller.enqueue(Buffer.from('a'))
    controller.error(new Error('Boom'))
    const { out, err } = await running.done
    expect(out).toMatch(/^Status: 200 OK\r\n\r\na?$/)
    expect(err.match(/Error: Boom/g)).toHaveLength(1)
  })

  test('may break off before anybody has asked for more', async () => {
    const { stream, controller } = pushed()
    for (const piece of ['a', 'b']) controller.enqueue(Buffer.from(piece))
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

  test('is pulled no faster than it is taken', async () => {
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
  ])('is the error page if the handler %s', async (_, handler, logged) => {
    const { out, err } = await answer(fromFetch(handler))
    expect(out).toBe(ERROR_PAGE)
    expect(err).toContain(logged)
  })
})

describe('the request', () => {
  test.each<[string, Record<string, string>, string]>([
    ['a Host', { HTTP_HOST: 'a.example:8080' }, 'http://a.example:8080/'],
    ['a Host that is none', { HTTP_HOST: 'a.example/evil?' }, 'http://localhost/'],
    ['a Host with a user', { HTTP_HOST: 'user@a.example' }, 'http://localhost/'],
    ['https', { HTTPS: 'on', SERVER_PORT: '443' }, 'https://localhost/'],
    ['a port of its own', { SERVER_PORT: '8080' }, 'http://localhost:8080/'],
    [
      'a mount point, which is left out',
      { SCRIPT_NAME: '/mnt', PATH_INFO: '/a b', QUERY_STRING: 'q=%20' },
      'http://localhost/a%20b?q=%20',
    ],
    [
      'the client’s spelling',
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
    const { out } = await answer(
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
  ])('%s with %j is refused', async (method, headers, head) => {
    const variables = { REQUEST_METHOD: method, ...headers }
    const { out, err } = await answer(
      fromFetch(() => new Response('x')),
      { variables },
    )
    expect(out.startsWith(head)).toBe(true)
    expect(err).toMatch(/^[A-Z ]+ \/: PORTICO_BAD_REQUEST: [^\n]*\n$/)
  })

  test('comes with the environ, its headers and its body', async () => {
    let told: unknown
    const application = fromFetch(async (request, environ) => {
      const { method, headers } = request
      told = [method, [...headers], environ['REMOTE_USER'], await request.text()]
      return new Response('x')
    })
    const variables = {
      REQUEST_METHOD: 'POST',
      HTTP_X_ONE: 'J\xfcrgen',
      HTTP_COOKIE: 'a=1; b=2',
      CONTENT_TYPE: 'text/plain',
      REMOTE_USER: 'ada',
    }
    await answer(application, { variables, body: 'y'.repeat(100_000) })
    const headers = [
      ['content-length', '100000'],
      ['content-type', 'text/plain'],
      ['cookie', 'a=1; b=2'],
      ['x-one', 'J\xfcrgen'],
    ]
    expect(told).toEqual(['POST', headers, 'ada', 'y'.repeat(100_000)])
  })

  test('has a body that is read only as the handler reads', async () => {
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
    await answer(application, { body, variables })
    expect(counts[0]).toBe(0)
    expect(counts[1]).toBeLessThanOrEqual(2)
  })

  test('that is cut short says so to whoever reads it', async () => {
    const application = fromFetch(async (request) => new Response(await request.text()))
    const { out, err } = await answer(application, {
      body: 'abc',
      variables: { REQUEST_METHOD: 'POST', CONTENT_LENGTH: '5' },
    })
    expect(out).toMatch(/^Status: 400 Bad Request\r\n/)
    expect(err).toContain('PORTICO_BODY_CUT_SHORT')
  })
})

test('a client that goes away aborts the signal with a reason and cancels the body', async () => {
  const { stream, state, controller } = pushed()
  const signals: AbortSignal[] = []
  const application = fromFetch((request) => {
    // As a framework hands on the request that it got: Hono's mount() makes the third of them.
    const copies = [request, request.clone(), new Request('http://other.example/', request)]
    for (const copy of copies) signals.push(copy.signal)
    return new Response(stream)
  })
  const server = await new HTTPHandler({ listen: 0 }).run(application)
  const connection = await openHttp(placeOf(server))
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

test('an answer that ends because the client has closed its half does not look complete', async () => {
  const { stream, controller } = pushed()
  const server = await new HTTPHandler({ listen: 0 }).run(fromFetch(() => new Response(stream)))
  const connection = await openHttp(placeOf(server))
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

test('a body that was sent chunked reaches the handler', async () => {
  const application = fromFetch(async (request) => new Response(await request.text()))
  const server = await new HTTPHandler({ listen: 0 }).run(application)
  const response = await httpRequest(placeOf(server), { method: 'POST', body: ['ab', 'c'] })
  expect(String(response.body)).toBe('abc')
  await server.close()
})

test.each([10, 300_000])('a body of %i bytes can be read behind the answer', async (size) => {
  const server = await new HTTPHandler({ listen: 0 }).run(
    fromFetch((request) => {
      read = request.text()
      read.catch(() => {})
      return new Response('Accepted', { status: 202 })
    }),
  )
  let read = Promise.resolve('')
  const request = { method: 'POST', body: 'y'.repeat(size) }
  const response = await httpRequest(placeOf(server), request)
  expect([response.status, String(response.body)]).toEqual([202, 'Accepted'])
  expect((await read).length).toBe(size)
  await server.close()
})

test('a body that is read in part holds up nothing', async () => {
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
  expect((await answer(application, { body, variables })).out).toContain('\r\n\r\nenough')
  expect(reads).toBeLessThan(5)
})

test('an object with fetch() is called as its method, and bridges are undone', async () => {
  const object = {
    name: 'own',
    fetch(_request: Request, environ: Environ) {
      return new Response(`${this.name} ${environ.REQUEST_METHOD}`)
    },
  }
  expect((await answer(fromFetch(object))).out).toContain('\r\n\r\nown GET')
  expect(toFetch(fromFetch(short))).toBe(short)
  expect(fromFetch(toFetch(empty))).toBe(empty)
})

test.each([[{}], [null], [42]])('%j is no handler', (source) => {
  expect(() => fromFetch(source as never)).toThrow('fromFetch() takes a function')
})

/** What a fresh process has loaded of the Fetch API after it has run the statement. */
async function loadedAfter(statement: string): Promise<string[]> {
  const folder = await makeFolder()
  try {
    const file = join(folder, 'bundle.cjs')
    const build = await rolldown({ input: 'src/bridge/from-fetch.ts', platform: 'node' })
    await build.write({ file, format: 'cjs' })
    await build.close()
    const script = `const { fromFetch } = require(${JSON.stringify(file)}); ${statement}
      console.log(process.moduleLoadList.filter((name) => name.includes('undici')).join())`
    const loaded = execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' })
    return loaded.trim().split(',').filter(Boolean)
  } finally {
    await rm(folder, { recursive: true })
  }
}

test('nothing of the Fetch API is loaded before the first request', async () => {
  expect(await loadedAfter('fromFetch(() => new Response())')).toEqual([])
  expect(await loadedAfter('new Response()')).not.toEqual([])
})
