/** Warnings of the validator, and correct applications of every kind, which it does not change. */
import { Readable } from 'node:stream'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type {
  Application,
  ApplicationClass,
  Chunk,
  Environ,
  HeaderList,
  StartResponse,
  Write,
} from '../../src/types.ts'
import { FileWrapper } from '../../src/wsgiref/util.ts'
import { validator } from '../../src/validate/validator.ts'
import { runApplication, app, makeEnviron, OK, PLAIN, returning } from './harness.ts'
import { writeOnce } from './rows/exchange.ts'

function respond(status: string, ...headers: HeaderList): Application {
  return (_environ, startResponse) => {
    startResponse(status, headers)
    return []
  }
}

/** Has sent the headers: a second call throws its error. */
const sent: StartResponse = (_status, _headers, error) => {
  if (error) throw error
  return async () => {}
}

function thrower(error: Error): never {
  throw error
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('Warnings:', () => {
  test('without the option warn, the validator writes a warning as one line to wsgi.errors', async () => {
    const environ = makeEnviron({ REQUEST_METHOD: 'FOO' })
    const errors = environ['wsgi.errors']
    const body = await validator(respond(OK, ...PLAIN))(environ, () => async () => {})
    body.close?.()
    // oxlint-disable-next-line typescript/no-base-to-string -- the one made for tests has its own
    expect(String(errors)).toBe(
      'portico validator: environ: REQUEST_METHOD is usually one of GET, HEAD, POST, PUT, DELETE, ' +
        'PATCH, OPTIONS, TRACE, not "FOO"\n',
    )
  })

  test('under CGI the validator sends standard output to standard error until the body is closed', async () => {
    const said = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
    const { log, dir, groupEnd } = console
    const { stdout } = process
    const talker = app((_environ, startResponse) => {
      console.group('hello')
      console.log('hello', 1)
      console.groupEnd()
      process.stdout.write('hello\n')
      process.stdout.end()
      startResponse(OK, PLAIN)
      return []
    })
    // Two nested validators warn once.
    const inner = validator(talker, { warn: (message) => expect.unreachable(message) })
    const outcome = await runApplication(inner, makeEnviron({ 'portico.gateway': 'cgi' }))
    const calls = ['console.group()', 'console.log()', 'process.stdout.write()']
    expect(outcome.warnings).toEqual(
      [...calls, 'process.stdout.end()'].map(
        (method) =>
          `${method} writes into the response under CGI; use wsgi.errors or console.error()`,
      ),
    )
    expect(said.mock.calls.map(([text]) => text)).toEqual(['hello\n', '  hello 1\n', 'hello\n'])
    expect([console.log, console.dir, console.groupEnd]).toEqual([log, dir, groupEnd])
    expect(process.stdout).toBe(stdout)
  })

  test('a process.stdout that an application keeps writes to standard output after the request', async () => {
    let kept: NodeJS.WriteStream | undefined
    const keeper = app((_environ, startResponse) => {
      kept = process.stdout
      startResponse(OK, PLAIN)
      return []
    })
    const { warnings } = await runApplication(keeper, makeEnviron({ 'portico.gateway': 'cgi' }))
    const said = vi.spyOn(process.stdout, 'write').mockImplementation(() => true)
    kept?.write('x')
    expect(said.mock.calls).toEqual([['x']])
    expect(warnings).toEqual([])
  })

  test('the function warn may use console.log itself', async () => {
    const said = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
    const talker = app((_environ, startResponse) => {
      console.log('hello')
      startResponse(OK, PLAIN)
      return []
    })
    const application = validator(talker, { warn: (message) => console.log(message) })
    const environ = makeEnviron({ 'portico.gateway': 'cgi' })
    const body = await application(environ, () => async () => {})
    body.close?.()
    expect(said.mock.calls.map(([text]) => text)).toEqual([
      'console.log() writes into the response under CGI; use wsgi.errors or console.error()\n',
      'hello\n',
    ])
  })

  test('the validator does not replace console.log unless the gateway is CGI', async () => {
    const said = vi.spyOn(console, 'log').mockImplementation(() => {})
    const talker = app((_environ, startResponse) => {
      console.log('hello')
      startResponse(OK, PLAIN)
      return []
    })
    expect((await runApplication(talker)).warnings).toEqual([])
    expect(said.mock.calls).toEqual([['hello']])
  })

  test('the validator accepts middleware that returns an empty chunk for each chunk that it keeps', async () => {
    const warnings: string[] = []
    const inner = validator(returning(['a', 'b', 'c']), { warn: (text) => warnings.push(text) })
    const outcome = await runApplication(async function* (environ, startResponse) {
      const body = await inner(environ, startResponse)
      for await (const _chunk of body) yield ''
      await body.close?.()
      yield 'abc'
    })
    expect(outcome.items).toEqual(['', '', '', 'abc'])
    expect(warnings).toEqual([])
  })

  test.each<[string, Write]>([
    ['at once', async () => {}],
    ['in the same turn of the event loop', (chunk) => ticks(20).then(() => void chunk)],
  ])(
    'the validator does not warn a plain function whose chunk is taken %s',
    async (_name, write) => {
      expect(await writeOnce(write)).toBe('')
    },
  )

  test('a failed write that is not awaited causes no unhandled rejection', async () => {
    const unheard = vi.fn()
    process.on('unhandledRejection', unheard)
    const failed = Promise.reject(new Error('gone'))
    failed.catch(() => {})
    await writeOnce(() => failed)
    process.off('unhandledRejection', unheard)
    expect(unheard).not.toHaveBeenCalled()
  })
})

async function ticks(count: number): Promise<void> {
  for (let tick = 0; tick < count; tick++) await Promise.resolve()
}

describe('Correct applications:', () => {
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
  const kinds: [string, Application | ApplicationClass][] = [
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

  test.each(kinds)(
    'the validator does not change the response of %s',
    async (_name, application) => {
      const outcome = await runApplication(application)
      expect(outcome).toMatchObject({ status: OK, headers: PLAIN, warnings: [] })
      expect(outcome.items).toEqual(['/', bytes])
      expect(outcome.items[1]).toBe(bytes)
    },
  )

  test.each(kinds)(
    'three nested validators do not change the response of %s',
    async (_name, application) => {
      const inner: string[] = []
      const warn = (message: string) => inner.push(message)
      const outcome = await runApplication(validator(validator(application, { warn }), { warn }))
      expect(outcome).toMatchObject({ status: OK, headers: PLAIN, warnings: [] })
      expect(outcome.items).toEqual(['/', bytes])
      expect(inner).toEqual([])
    },
  )

  test('the validator accepts an application that awaits its writes', async () => {
    const outcome = await runApplication(async (_environ, startResponse) => {
      const write = startResponse(OK, [...PLAIN, ['Content-Length', '4']])
      await write('ab')
      await write(Buffer.from('c'))
      return ['d']
    })
    expect(outcome).toMatchObject({ written: ['ab', Buffer.from('c')], items: ['d'], warnings: [] })
  })

  test('the validator accepts an application that does not catch the error of startResponse', async () => {
    const error = new Error('mine')
    const crafted: Application = function* (_environ, startResponse) {
      startResponse(OK, PLAIN)
      yield 'a'
      startResponse('500 Sorry', PLAIN, error)
    }
    const body = await validator(crafted)(makeEnviron(), sent)
    const read = async () => {
      for await (const chunk of body) expect(chunk).toBe('a')
    }
    await expect(read()).rejects.toBe(error)
    await body.close?.()
  })

  test('the validator accepts an application that replaces its headers after an error', async () => {
    const outcome = await runApplication((_environ, startResponse) => {
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
        ['Content-Security-Policy', 'x'],
        ['Last-Modified', 'Mon, 05 Jun 2006 18:49:54 GMT'],
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
  ])(
    'the validator accepts the status %s with the headers %j for %s',
    async (status, headers, method) => {
      const quiet: Application = (_environ, startResponse) => {
        startResponse(status, headers)
        return []
      }
      const outcome = await runApplication(quiet, makeEnviron({ REQUEST_METHOD: method }))
      expect(outcome).toMatchObject({ status, headers, warnings: [], items: [] })
    },
  )

  test('the validator accepts letters, digits, - and _ in header names, and no other character', async () => {
    for (let code = 0; code < 256; code++) {
      const character = String.fromCharCode(code)
      const outcome = runApplication(respond(OK, ...PLAIN, [`a${character}b`, 'c']))
      if (/[\w-]/.test(character)) await outcome
      else
        await expect(outcome).rejects.toThrow(
          'startResponse call 1: header 2: the name must consist of',
        )
    }
  })

  test('a validated body has no length, so no gateway adds a Content-Length', async () => {
    const { body } = await runApplication(
      (_environ, startResponse) => (startResponse(OK, PLAIN), ['x']),
    )
    expect(Array.isArray(body)).toBe(false)
    expect('length' in body).toBe(false)
  })

  test('the validator keeps a synchronous application and its body synchronous', () => {
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
      'throws in its first step',
      () => ({ [Symbol.iterator]: () => ({ next: () => thrower(fault) }) }),
    ],
    ['rejects in its first step', () => ({ [Symbol.asyncIterator]: () => later })],
  ])(
    'the validator does not change the error of an application that %s',
    async (_name, failing) => {
      await expect(runApplication(app(failing))).rejects.toBe(fault)
    },
  )
})
