/** `toFetch`: applications as handlers of the Fetch API. */
import { Hono } from 'hono'
import { describe, expect, test, vi } from 'vitest'
import { fromFetch, toFetch } from '../../src/exports/fetch.ts'
import type { Application } from '../../src/types.ts'
import { respond, turns } from './harness.ts'

const showEnviron: Application = async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  const variables = Object.entries(environ).filter(([name]) => /^[A-Z_]+$/.test(name))
  startResponse('200 OK', [['Content-Type', 'application/json']])
  return [JSON.stringify([Object.fromEntries(variables), environ['wsgi.url_scheme'], String(body)])]
}

test('toFetch makes the environ from the Request', async () => {
  const request = new Request('https://a.example:8443/x%20y//z?q=%20', {
    method: 'POST',
    headers: { 'X-One': '1', Cookie: 'a=1; b=2', X_One: 'forged', Proxy: 'evil' },
    body: 'h\xe4llo',
  })
  const variables = { REMOTE_USER: 'ada', SECRET: 'x', REMOTE_ADDR: 7 }
  const response = await toFetch(showEnviron, { osEnviron: { MORE: 'yes' } })(request, variables)
  expect(await response.json()).toEqual([
    {
      REQUEST_METHOD: 'POST',
      SCRIPT_NAME: '',
      PATH_INFO: '/x y//z',
      QUERY_STRING: 'q=%20',
      REQUEST_URI: '/x%20y//z?q=%20',
      SERVER_PROTOCOL: 'HTTP/1.1',
      SERVER_NAME: 'a.example',
      SERVER_PORT: '8443',
      GATEWAY_INTERFACE: 'CGI/1.1',
      HTTPS: 'on',
      REMOTE_USER: 'ada',
      HTTP_X_ONE: '1',
      HTTP_COOKIE: 'a=1; b=2',
      HTTP_HOST: 'a.example:8443',
      CONTENT_TYPE: 'text/plain;charset=UTF-8',
      MORE: 'yes',
    },
    'https',
    'h\xe4llo',
  ])
})

const head =
  (status: string, body: string[] = []): Application =>
  (_, startResponse) => {
    startResponse(status, [
      ['Set-Cookie', 'a=1'],
      ['Set-Cookie', 'b=2'],
    ])
    return body
  }

const broken: Application = function* (_, startResponse) {
  startResponse('200 OK', [])
  yield 'a'
  throw new Error('Boom')
} as Application

describe('The Response of toFetch', () => {
  test.each<[string, Application, [number, string, string | null], RequestInit?]>([
    ['200 OK', head('200 OK', ['a', 'b']), [200, 'OK', '2']],
    ['a status without a standard reason', head('299 Own', ['a']), [299, 'Own', '1']],
    ['204', head('204 No Content'), [204, 'No Content', null]],
    ['304', head('304 Not Modified'), [304, 'Not Modified', null]],
    ['205', head('205 Reset Content'), [205, 'Reset Content', '0']],
    ['HEAD', head('200 OK', ['a', 'b']), [200, 'OK', '2'], { method: 'HEAD' }],
  ])('has status, reason and headers for %s', async (_, application, expected, init) => {
    const response = await toFetch(application)(new Request('http://a/', init))
    const { status, statusText, headers } = response
    expect([status, statusText, headers.get('Content-Length')]).toEqual(expected)
    expect(headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    const bodiless = init !== undefined || [204, 205, 304].includes(status)
    expect(response.body === null).toBe(bodiless)
  })

  test('is written no faster than it is read', async () => {
    let made = 0
    let closed = 0
    const application: Application = (_, startResponse) => {
      startResponse('200 OK', [])
      return {
        *[Symbol.iterator]() {
          for (; made < 1000; made += 1) yield 'x'.repeat(10_000)
        },
        close: () => (closed += 1),
      }
    }
    const response = await toFetch(application)(new Request('http://a/'))
    await turns()
    expect(made).toBeLessThan(20)
    expect((await response.text()).length).toBe(10_000_000)
    expect([made, closed]).toEqual([1000, 1])
  })

  test('closes the body of the application when it is cancelled', async () => {
    let closed = 0
    let aborted = false
    const application: Application = (environ, startResponse) => {
      environ['portico.signal'].addEventListener('abort', () => (aborted = true))
      startResponse('200 OK', [])
      return {
        async *[Symbol.asyncIterator]() {
          for (;;) {
            yield 'x'.repeat(100_000)
            await turns(1)
          }
        },
        close: () => (closed += 1),
      }
    }
    const response = await toFetch(application)(new Request('http://a/'))
    await response.body!.cancel()
    await turns()
    expect([closed, aborted]).toEqual([1, true])
  })

  test('rejects its reader if the application fails or sends too little', async () => {
    const stderr = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    const response = await toFetch(broken)(new Request('http://a/'))
    await expect(response.text()).rejects.toThrow('ended its response early')
    const short = await toFetch((_, startResponse) => {
      startResponse('200 OK', [['Content-Length', '5']])
      return ['abc']
    })(new Request('http://a/'))
    await expect(short.text()).rejects.toThrow('ended its response early')
    stderr.mockRestore()
  })

  test('is the error page if the application throws', async () => {
    const stderr = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    const response = await toFetch(() => {
      throw new Error('Boom')
    })(new Request('http://a/'))
    expect(response.status).toBe(500)
    expect(await response.text()).toMatch(/^A server error occurred/)
    stderr.mockRestore()
  })

  test('rejects with a RangeError for a status that Response does not allow', async () => {
    const switching = toFetch(head('101 Switching Protocols'))
    await expect(switching(new Request('http://a/'))).rejects.toThrow(RangeError)
  })
})

test('toFetch rejects with the reason of an aborted request', async () => {
  const controller = new AbortController()
  const responding = toFetch(() => new Promise<never>(() => {}))(
    new Request('http://a/', { signal: controller.signal }),
  )
  controller.abort(new Error('No longer'))
  await expect(responding).rejects.toThrow('No longer')
})

test('toFetch logs an error if the body of the Request has already been read', async () => {
  const stderr = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const request = new Request('http://a/', { method: 'POST', body: 'x' })
  await request.text()
  expect((await toFetch(showEnviron)(request)).status).toBe(500)
  expect(String(stderr.mock.calls)).toContain('has already been read')
  stderr.mockRestore()
})

test('toFetch mounted in Hono sees the client of the gateway', async () => {
  const app = new Hono()
  app.mount('/inner', toFetch(showEnviron))
  const { out } = await respond(fromFetch(app), {
    variables: { PATH_INFO: '/inner/x', REMOTE_USER: 'ada', REMOTE_ADDR: '192.0.2.7' },
  })
  const [variables] = JSON.parse(out.split('\r\n\r\n')[1]!) as [Record<string, string>]
  expect(variables).toMatchObject({
    PATH_INFO: '/x',
    REMOTE_USER: 'ada',
    REMOTE_ADDR: '192.0.2.7',
  })
})

/** Breaks the contract: a body is not a string. */
const respondWithText: Application = (_, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return 'text' as never
}

test.each([
  [true, 500],
  [false, 200],
])('toFetch with validate: %s responds with %i to a broken contract', async (validate, status) => {
  vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const handler = toFetch(respondWithText, { validate })
  for (let round = 0; round < 2; round += 1) {
    expect((await handler(new Request('http://a.example/'))).status).toBe(status)
  }
  vi.restoreAllMocks()
})
