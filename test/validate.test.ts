/**
 * The validator as a bystander: what it only warns of, and well-behaved applications of every
 * shape, which pass untouched. Numbers are those of the acceptance facts.
 */
import { Readable } from 'node:stream'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type {
  Application,
  ApplicationClass,
  Chunk,
  Environ,
  HeaderList,
  StartResponse,
} from '../src/types.ts'
import { FileWrapper } from '../src/util.ts'
import { validator } from '../src/validate.ts'
import { answer, app, makeEnviron, OK, PLAIN } from './validate-harness.ts'

function respond(status: string, ...headers: HeaderList): Application {
  return (_environ, startResponse) => {
    startResponse(status, headers)
    return []
  }
}

function thrower(error: Error): never {
  throw error
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('what is doubtful is a warning, and the answer goes on', () => {
  const rows: [
    name: string,
    application: Application,
    environ: Partial<Environ>,
    warning: string,
  ][] = [
    [
      'an unusual method',
      respond(OK, ...PLAIN),
      { REQUEST_METHOD: 'PROPFIND' },
      'environ: REQUEST_METHOD "PROPFIND" is not a usual one',
    ],
    [
      'a Host with a path',
      respond(OK, ...PLAIN),
      { HTTP_HOST: 'a/b' },
      'environ: HTTP_HOST must be host or host:port, not "a/b"',
    ],
    [
      'a header about a body for 304',
      respond('304 Not Modified', ['Content-Encoding', 'gzip']),
      {},
      'Headers: Content-Encoding says nothing in an answer without a body (304)',
    ],
    [
      'Content-Length for 304',
      respond('304 Not Modified', ['Content-Length', '3']),
      {},
      'Headers: Content-Length says nothing in an answer without a body (304)',
    ],
    [
      'an ETag without quotes',
      respond(OK, ...PLAIN, ['ETag', 'x']),
      {},
      'Headers: ETag must be "tag" or W/"tag", quotes included, not "x"',
    ],
    [
      'an ETag with a small w',
      respond(OK, ...PLAIN, ['ETag', 'w/"x"']),
      {},
      String.raw`Headers: ETag must be "tag" or W/"tag", quotes included, not "w/\"x\""`,
    ],
    [
      'Location with 200',
      respond(OK, ...PLAIN, ['Location', '/x']),
      {},
      'Headers: Location "/x" with the status 200 is a redirect inside the server',
    ],
    [
      'a body for HEAD',
      (_environ, startResponse) => {
        startResponse(OK, [...PLAIN, ['Content-Length', '2']])
        return ['ab', 'cd']
      },
      { REQUEST_METHOD: 'HEAD' },
      'body: gave a body for HEAD; the gateway has to drop it',
    ],
    [
      'a write that is not awaited',
      async (_environ, startResponse) => {
        void startResponse(OK, PLAIN)('x')
        return []
      },
      {},
      'write: 1 calls were not awaited before the body was returned',
    ],
  ]

  test.each(rows)('%s', async (_name, application, variables, warning) => {
    expect((await answer(application, makeEnviron(variables))).warnings).toEqual([warning])
  })

  test('without a warn option it is one line on wsgi.errors', async () => {
    const environ = makeEnviron({ REQUEST_METHOD: 'FOO' })
    const errors = environ['wsgi.errors']
    const body = await validator(respond(OK, ...PLAIN))(environ, () => async () => {})
    body.close?.()
    // oxlint-disable-next-line typescript/no-base-to-string -- the one made for tests has its own
    expect(String(errors)).toBe(
      'portico validator: environ: REQUEST_METHOD "FOO" is not a usual one\n',
    )
  })

  test('console.log under CGI is sent to standard error until the body is closed', async () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => {})
    const { log, info, debug } = console
    const talker = app((_environ, startResponse) => {
      console.log('hello', 1)
      console.info('hello', 2)
      console.debug('hello', 3)
      startResponse(OK, PLAIN)
      return []
    })
    // Two of them, one around the other, say it once.
    const inner = validator(talker, { warn: (message) => expect.unreachable(message) })
    const outcome = await answer(inner, makeEnviron({ 'portico.gateway': 'cgi' }))
    expect(outcome.warnings).toEqual(
      ['log', 'info', 'debug'].map(
        (method) =>
          `console.${method}() writes into the answer under CGI; use wsgi.errors or console.error`,
      ),
    )
    expect(said.mock.calls).toEqual([
      ['hello', 1],
      ['hello', 2],
      ['hello', 3],
    ])
    expect([console.log, console.info, console.debug]).toEqual([log, info, debug])
  })

  test('whoever is warned of console.log may use it', async () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => {})
    const talker = app((_environ, startResponse) => {
      console.log('hello')
      startResponse(OK, PLAIN)
      return []
    })
    const application = validator(talker, { warn: (message) => console.log(message) })
    const environ = makeEnviron({ 'portico.gateway': 'cgi' })
    const body = await application(environ, () => async () => {})
    body.close?.()
    expect(said.mock.calls).toEqual([
      ['console.log() writes into the answer under CGI; use wsgi.errors or console.error'],
      ['hello'],
    ])
  })

  test("console.log under another gateway is nobody else's business", async () => {
    const said = vi.spyOn(console, 'log').mockImplementation(() => {})
    const talker = app((_environ, startResponse) => {
      console.log('hello')
      startResponse(OK, PLAIN)
      return []
    })
    expect((await answer(talker)).warnings).toEqual([])
    expect(said.mock.calls).toEqual([['hello']])
  })

  test('middleware that holds back a chunk is told, one that gives an empty one is not', async () => {
    const warnings: string[] = []
    const warn = (message: string) => warnings.push(message)
    const inner = validator(
      (_environ, startResponse) => (startResponse(OK, PLAIN), ['a', 'b', 'c']),
      { warn },
    )
    const holding = (hold: boolean): Application =>
      async function* (environ, startResponse) {
        const body = await inner(environ, startResponse)
        let all = ''
        try {
          for await (const chunk of body) {
            all += String(chunk)
            if (!hold) yield ''
          }
        } finally {
          await body.close?.()
        }
        yield all
      }
    expect((await answer(holding(false))).items).toEqual(['', '', '', 'abc'])
    expect(warnings).toEqual([])
    expect((await answer(holding(true))).items).toEqual(['abc'])
    expect(warnings).toEqual([
      'middleware: took two chunks of the body inside it without giving one',
    ])
  })
})

describe('a well-behaved application passes untouched', () => {
  const bytes = new Uint8Array([0, 255])
  class Hello {
    readonly #environ: Environ
    readonly #startResponse: StartResponse

    constructor(environ: Environ, startResponse: StartResponse) {
      this.#environ = environ
      this.#startResponse = startResponse
    }

    *[Symbol.iterator](): Generator<Chunk> {
      this.#startResponse(OK, PLAIN)
      yield this.#environ.PATH_INFO
      yield bytes
    }
  }
  const shapes: [string, Application | ApplicationClass][] = [
    [
      'a function',
      (environ, startResponse) => (startResponse(OK, PLAIN), [environ.PATH_INFO, bytes]),
    ],
    [
      'a generator',
      function* (environ, startResponse) {
        startResponse(OK, PLAIN)
        yield environ.PATH_INFO
        yield bytes
      },
    ],
    [
      'an async function',
      async (environ, startResponse) => {
        await environ['wsgi.input'].read()
        startResponse(OK, PLAIN)
        return [environ.PATH_INFO, bytes]
      },
    ],
    [
      'an async generator',
      async function* (environ, startResponse) {
        startResponse(OK, PLAIN)
        yield environ.PATH_INFO
        await environ['wsgi.input'].read()
        yield bytes
      },
    ],
    ['a class', Hello],
    [
      'a Promise of an async generator',
      async (environ, startResponse) => {
        startResponse(OK, PLAIN)
        return (async function* () {
          yield environ.PATH_INFO
          yield bytes
        })()
      },
    ],
    [
      'a Readable',
      (environ, startResponse) => {
        startResponse(OK, PLAIN)
        return Readable.from([environ.PATH_INFO, bytes])
      },
    ],
    [
      'a FileWrapper',
      (environ, startResponse) => {
        const blocks = [environ.PATH_INFO, bytes]
        startResponse(OK, PLAIN)
        return new FileWrapper({ read: () => blocks.shift() })
      },
    ],
  ]

  test.each(shapes)('%s', async (_name, application) => {
    const outcome = await answer(application)
    expect(outcome).toMatchObject({ status: OK, headers: PLAIN, warnings: [] })
    expect(outcome.items).toEqual(['/', bytes])
    expect(outcome.items[1]).toBe(bytes)
  })

  test.each(shapes)('%s, validated three times over', async (_name, application) => {
    const inner: string[] = []
    const warn = (message: string) => inner.push(message)
    const outcome = await answer(validator(validator(application, { warn }), { warn }))
    expect(outcome).toMatchObject({ status: OK, headers: PLAIN, warnings: [] })
    expect(outcome.items).toEqual(['/', bytes])
    expect(inner).toEqual([])
  })

  test('one that writes, and awaits it', async () => {
    const outcome = await answer(async (_environ, startResponse) => {
      const write = startResponse(OK, [...PLAIN, ['Content-Length', '4']])
      await write('ab')
      await write(Buffer.from('c'))
      return ['d']
    })
    expect(outcome).toMatchObject({ written: ['ab', Buffer.from('c')], items: ['d'], warnings: [] })
  })

  test('one that replaces its head because of an error', async () => {
    const outcome = await answer((_environ, startResponse) => {
      startResponse(OK, [...PLAIN, ['Content-Length', '1']])
      startResponse('500 Sorry', [['Content-Type', 'text/html']], new TypeError('x'))
      return ['sorry']
    })
    expect(outcome).toMatchObject({ status: '500 Sorry', items: ['sorry'], warnings: [] })
  })

  test.each<[string, HeaderList, string]>([
    ['204 No Content', [], 'GET'],
    [
      '304 Not Modified',
      [
        ['ETag', 'W/"x"'],
        ['Content-Location', '/x'],
      ],
      'GET',
    ],
    [
      '302 Found',
      [...PLAIN, ['Location', '/x'], ['Set-Cookie', 'a=b'], ['Set-Cookie', 'c=d']],
      'GET',
    ],
    ['200 OK', [...PLAIN, ['Content-Length', '12345']], 'HEAD'],
    ['200 ', [...PLAIN, ['X', 'tab\tand \xe4']], 'GET'],
  ])('%s with %j for %s', async (status, headers, method) => {
    const quiet: Application = (_environ, startResponse) => {
      startResponse(status, headers)
      return []
    }
    const outcome = await answer(quiet, makeEnviron({ REQUEST_METHOD: method }))
    expect(outcome).toMatchObject({ status, headers, warnings: [], items: [] })
  })

  test('fact 2: the wrapper has no length, so nobody adds a Content-Length', async () => {
    const { body } = await answer((_environ, startResponse) => (startResponse(OK, PLAIN), ['x']))
    expect(Array.isArray(body)).toBe(false)
    expect('length' in body).toBe(false)
  })

  test('a synchronous body stays synchronous, a synchronous application as well', () => {
    const application = validator((_environ, startResponse) => (startResponse(OK, PLAIN), ['x']))
    const body = application(makeEnviron(), () => async () => {})
    expect(Symbol.iterator in body).toBe(true)
    expect(Symbol.asyncIterator in body).toBe(false)
    if ('close' in body) body.close?.()
  })

  const fault = new RangeError('mine')
  const later = { next: () => Promise.reject(fault) }
  test.each<[string, () => unknown]>([
    ['throws', () => thrower(fault)],
    ['rejects', () => Promise.reject(fault)],
    [
      'throws at its first step',
      () => ({ [Symbol.iterator]: () => ({ next: () => thrower(fault) }) }),
    ],
    ['rejects at its first step', () => ({ [Symbol.asyncIterator]: () => later })],
  ])('one that %s keeps its error', async (_name, failing) => {
    await expect(answer(app(failing))).rejects.toBe(fault)
  })
})
