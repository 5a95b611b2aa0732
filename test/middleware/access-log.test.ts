/** `accessLog`: one correct line for each response, in which a client can forge nothing. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { assert, property, string } from 'fast-check'
import { ConfigurationError, PeerError } from '../../src/errors.ts'
import { accessLog } from '../../src/exports/middleware.ts'
import { textLine } from '../../src/middleware/log-formats.ts'
import { Headers } from '../../src/response/headers.ts'
import type { Application, Body } from '../../src/types.ts'
import { makeEnviron, OK } from '../validate/harness.ts'
import { runCgi } from './gateways.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date', 'performance'], now: new Date('2000-10-10T13:55:36.789Z') })
})
afterEach(() => vi.useRealTimers())

const hello: Application = (environ, startResponse) => {
  environ['REMOTE_USER'] = 'frank'
  vi.advanceTimersByTime(1234)
  startResponse(OK, [
    ['X-Mine', 'a'],
    ['X-Mine', 'b'],
  ])
  return ['Hello, ', 'world!']
}
/** As behind a gateway that has no log of its own. */
const asFastcgi =
  (app: Application): Application =>
  (environ, startResponse) => {
    environ['portico.gateway'] = 'fastcgi'
    return app(environ, startResponse)
  }

async function lines(
  format: string | undefined,
  app = hello,
  request: Parameters<typeof runCgi>[1] = '/apache_pb.gif?x=1',
  variables = {},
) {
  const list: string[] = []
  const write = (line: string) => void list.push(line)
  await runCgi(asFastcgi(accessLog(app, { format, write })), request, variables)
  return list.join('')
}

const COMMON =
  '127.0.0.1 - frank [10/Oct/2000:13:55:36 +0000] "GET /apache_pb.gif?x=1 HTTP/1.1" 200 13'

const letterX: Application = (_environ, startResponse) => (startResponse(OK, []), ['x'])

describe('The format of accessLog', () => {
  it.each<[format: string | undefined, line: string]>([
    ['common', COMMON],
    ['combined', `${COMMON} "http://x/" "Mozilla"`],
    [undefined, `${COMMON} "http://x/" "Mozilla"`],
    ['%a %>s %B %v %V %p %D %T', '127.0.0.1 200 13 127.0.0.1 localhost 80 1234000 1'],
    ['%{X-Mine}o %{none}o', 'a, b -'],
    ['%{Content-Type}i %{Content-Length}i %{referer}i %{None}i', 'text/plain - http://x/ -'],
    ['%{SERVER_NAME}e %{wsgi.version}e %{none}e', '127.0.0.1 - -'],
    ['%P', String(process.pid)],
    ['100%% %l', '100% -'],
    ['%U%q|', '/apache_pb.gif?x=1|'],
  ])('%s', async (format, line) => {
    const headers: [string, string][] = [
      ['Referer', 'http://x/'],
      ['User-Agent', 'Mozilla'],
      ['Host', 'localhost'],
      ['Content-Type', 'text/plain'],
    ]
    expect(await lines(format, hello, { target: '/apache_pb.gif?x=1', headers })).toBe(`${line}\n`)
  })

  it.each(['/', '/a%20b?c=%20d', '//a/b', '/?', 'http://host/a?b'])(
    'has the values of %%m, %%U, %%q and %%H in %%r: %s',
    async (target) => {
      const variables = { REQUEST_URI: target }
      const line = await lines('%r|%m %U%q %H', hello, '/', variables)
      expect(line).toBe(`GET ${target} HTTP/1.1|GET ${target} HTTP/1.1\n`)
    },
  )

  it.each([undefined, ''])('computes the target if REQUEST_URI is %j', async (REQUEST_URI) => {
    const variables = {
      REQUEST_URI,
      SCRIPT_NAME: '/a',
      PATH_INFO: '/\xfc b',
      QUERY_STRING: 'q',
    }
    expect(await lines('%r', hello, '/', variables)).toBe('GET /a/%FC%20b?q HTTP/1.1\n')
  })

  it('shows a - for every empty variable, such as those of nginx', async () => {
    const variables = { REMOTE_USER: '', HTTP_REFERER: '', HTTP_USER_AGENT: '', REMOTE_HOST: '' }
    const line = await lines('combined', letterX, '/', variables)
    expect(line).toBe('127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] "GET / HTTP/1.1" 200 1 "-" "-"\n')
    expect(JSON.parse(await lines('json', letterX, '/', variables))).not.toHaveProperty(
      'remoteUser',
    )
  })

  it('json gives one object per line', async () => {
    const headers: [string, string][] = [['User-Agent', Buffer.from('Grün').toString('latin1')]]
    expect(JSON.parse(await lines('json', hello, { target: '/a?b', headers }))).toEqual({
      time: '2000-10-10T13:55:36.789Z',
      remoteAddr: '127.0.0.1',
      remoteUser: 'frank',
      method: 'GET',
      target: '/a?b',
      protocol: 'HTTP/1.1',
      status: 200,
      bytes: 13,
      milliseconds: 1234,
      userAgent: 'Grün',
    })
  })

  it.each(['%', '%z', '%{X}z', '%{X', 'a %>', '%{X}'])('refuses %j', (format) => {
    expect(() => accessLog(hello, { format })).toThrow(ConfigurationError)
  })
})

describe('The client of an access log', () => {
  it.each<[given: string, shown: string]>([
    ['a\nb', String.raw`a\x0ab`],
    ['a\r\n127.0.0.1 - root', String.raw`a\x0d\x0a127.0.0.1 - root`],
    ['\x1b[31m\x9b\x7f\0', String.raw`\x1b[31m\x9b\x7f\x00`],
    ['a" 200 "b', String.raw`a\" 200 \"b`],
    [String.raw`a\x0a`, String.raw`a\\x0a`],
    ['caf\xe9', String.raw`caf\xe9`],
  ])('cannot write %j into the log', async (given, shown) => {
    // A header with a line break is refused, but a name from a password dialog may contain one.
    const app: Application = (environ, startResponse) => {
      environ['REMOTE_USER'] = given
      startResponse(OK, [])
      return []
    }
    expect(await lines('"%u"', app, '/')).toBe(`"${shown}"\n`)
    const json = await lines('json', app, '/')
    expect(json).not.toMatch(/\p{Cc}(?!$)/u)
  })

  it('causes one line of visible ASCII, whatever it sends', () => {
    const toLine = textLine('combined')
    assert(
      property(string({ unit: 'binary' }), (value) => {
        const environ = makeEnviron({
          HTTP_USER_AGENT: value,
          HTTP_REFERER: value,
          REMOTE_USER: value,
        })
        const line = toLine({
          environ,
          method: value,
          target: value,
          began: new Date(),
          milliseconds: 0,
          status: '200',
          headers: new Headers(),
          bytes: 0,
        })
        expect(line).toMatch(/^[ -~]+\n$/)
      }),
    )
  })
})

const broken =
  (body: unknown): Application =>
  (_environ, startResponse) => {
    startResponse(OK, [])
    return body as Body
  }

describe('The line of an access log', () => {
  const failure = new Error('broken')
  it.each<[what: string, app: Application, line: string, method?: string]>([
    [
      'write()',
      async (_environ, startResponse) => {
        const write = startResponse(OK, [])
        await write('é')
        return ['x']
      },
      '200 3',
    ],
    [
      'a generator',
      function* (_environ, startResponse) {
        startResponse('201 Created', [])
        yield 'a'
        yield 'b'
      },
      '201 2',
    ],
    ['HEAD', hello, '200 -', 'HEAD'],
    ['a 204', (_environ, startResponse) => (startResponse('204 No Content', []), []), '204 -'],
    [
      'an error',
      () => {
        throw failure
      },
      '500 -',
    ],
    ['a rejection', () => Promise.reject(failure), '500 -'],
    [
      'an error before the first chunk',
      async function* (_environ, startResponse) {
        startResponse(OK, [])
        yield await Promise.reject(failure)
      },
      '500 -',
    ],
    [
      'an error after the first chunk',
      function* (_environ, startResponse) {
        startResponse(OK, [])
        yield 'abc'
        throw failure
      },
      '200 3',
    ],
    [
      'an error after write()',
      async (_environ, startResponse) => {
        await startResponse(OK, [])('hello')
        throw failure
      },
      '200 5',
    ],
    [
      'a client that disconnects in the middle of write()',
      async (_environ, startResponse) => {
        await startResponse(OK, [])('hello')
        throw new PeerError('PORTICO_DISCONNECTED', 'gone')
      },
      '200 5',
    ],
    [
      'an error after write() of no bytes, which sends the head',
      async (_environ, startResponse) => {
        await startResponse(OK, [])('')
        throw failure
      },
      '200 -',
    ],
    [
      'an event stream whose client disconnects before the first event',
      async (_environ, startResponse) => {
        await startResponse(OK, [])('')
        return (async function* () {
          yield await Promise.reject(new PeerError('PORTICO_DISCONNECTED', 'gone'))
        })()
      },
      '200 -',
    ],
    [
      'a Content-Length that is not a number',
      (_environ, startResponse) => (startResponse(OK, [['Content-Length', 'x']]), ['abc']),
      '500 -',
    ],
    ['no body at all', broken(5), '500 -'],
    ['a chunk that is a number', broken([5]), '500 -'],
    ['a second chunk that is a number', broken(new Set(['a', 5])), '200 1'],
    [
      'an error of the peer',
      () => {
        throw new PeerError('PORTICO_TOO_LARGE', 'broken', '413 Content Too Large')
      },
      '413 -',
    ],
  ])('has the status and bytes of %s, once', async (_what, app, line, method = 'GET') => {
    expect(await lines('%s %b', app, { method, target: '/' })).toBe(`${line}\n`)
  })

  it('is written when the body has been closed', async () => {
    const log: string[] = []
    const app: Application = (_environ, startResponse) => {
      startResponse(OK, [])
      return Object.assign(['x'], { close: () => void log.push('closed') })
    }
    await runCgi(
      asFastcgi(accessLog(app, { format: '%s', write: () => void log.push('line') })),
      '/',
    )
    expect(log).toEqual(['closed', 'line'])
  })

  it('goes to wsgi.errors, and is not written under CGI', async () => {
    const app = accessLog((_environ, startResponse) => (startResponse(OK, []), ['x']), {
      format: '%s',
    })
    expect((await runCgi(asFastcgi(app), '/')).errors).toBe('200\n')
    expect((await runCgi(app, '/')).errors).toBe('')
  })
})
