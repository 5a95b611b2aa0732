// oxlint-disable unicorn/consistent-function-scoping -- a test shows its whole case in one place
import { Buffer } from 'node:buffer'
import { inspect } from 'node:util'
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest'
import { BaseHandler } from '../../handlers/base.ts'
import { ErrorLog } from '../../src/request/error-log.ts'
import { PeerError } from '../../src/errors.ts'
import { Input } from '../../src/request/input.ts'
import type { Application, Body, Chunk, Environ, HeaderList, Write } from '../../src/types.ts'
import { FileWrapper } from '../../src/wsgiref/util.ts'
import {
  CountingBody,
  deferred,
  ERROR_PAGE,
  record,
  RecordingHandler,
  turns,
} from '../support/handlers.ts'

const rejections: unknown[] = []
const rejected = (error: unknown) => rejections.push(error)
process.on('unhandledRejection', rejected)
afterAll(() => process.off('unhandledRejection', rejected))
afterEach(async () => {
  await turns()
  expect(rejections.splice(0)).toEqual([])
})

/** An application that responds with `body` and these headers. */
function respondWith(body: unknown, headers: HeaderList = [], status = '200 OK'): Application {
  return (_, startResponse) => {
    startResponse(status, headers)
    return body as Body
  }
}

const HEAD = { REQUEST_METHOD: 'HEAD' }

describe('The environ of BaseHandler', () => {
  test('has the keys of PEP 3333', async () => {
    let seen: Environ | undefined
    const handler = new RecordingHandler({ HTTPS: 'on' }, { multiprocess: true })
    handler.wsgiRunOnce = true
    await handler.run((environ, startResponse) => {
      seen = environ
      return respondWith([])(environ, startResponse)
    })
    expect(seen).toMatchObject({
      'wsgi.version': [1, 0],
      'wsgi.url_scheme': 'https',
      'wsgi.multithread': false,
      'wsgi.multiprocess': true,
      'wsgi.run_once': true,
      'wsgi.input_terminated': true,
      'wsgi.file_wrapper': FileWrapper,
      'portico.gateway': 'cgi',
    })
    expect(seen?.['wsgi.input']).toBeInstanceOf(Input)
    expect(seen?.['wsgi.errors']).toBeInstanceOf(ErrorLog)
  })

  test('has the variables of the deployment, unless the request sets them', async () => {
    const osEnviron = { HOME: '/nowhere', LANG: 'C', HTTP_PROXY: 'http://proxy', 'app.key': 'x' }
    const handler = new RecordingHandler({ HOME: '/override' }, { osEnviron })
    let seen: Record<string, unknown> = {}
    await handler.run((environ, startResponse) => {
      seen = { ...environ }
      return respondWith([])(environ, startResponse)
    })
    expect(seen).toMatchObject({ HOME: '/override', LANG: 'C', 'app.key': 'x' })
    expect(seen).not.toHaveProperty('HTTP_PROXY')
  })

  test('is a new object for each request', async () => {
    const seen: Environ[] = []
    const application: Application = (environ, startResponse) => {
      seen.push(environ)
      return respondWith([])(environ, startResponse)
    }
    await record(application)
    await record(application)
    expect(seen[0]).not.toBe(seen[1])
  })

  test.each(['_write', '_flush', 'getStdin', 'getStderr', 'addCgiVars'] as const)(
    'needs a subclass that overrides %s()',
    (method) => {
      expect(() => new BaseHandler()[method]('')).toThrow(`${method}() must be overridden`)
    },
  )

  test('of an invalid request never reaches the application, and the client gets a 400', async () => {
    const handler = await record(() => expect.unreachable(), { CONTENT_LENGTH: '-1' })
    expect(handler.output).toBe(
      'Status: 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nBad Request\n',
    )
    expect(handler.errors).toBe(
      'GET /: PORTICO_BAD_REQUEST: CONTENT_LENGTH is not a number of bytes\n',
    )
  })
})

describe('The Content-Length', () => {
  const cases: [string, unknown, HeaderList, string][] = [
    ['a list', ['ht', 'tp'], [], 'Content-Length: 4\r\n\r\nhttp'],
    ['an empty list', [], [], 'Content-Length: 0\r\n\r\n'],
    ['a list of nothing', ['', Buffer.alloc(0)], [], 'Content-Length: 0\r\n\r\n'],
    ['bytes, not characters', ['йцук'], [], 'Content-Length: 8\r\n\r\nÐ¹Ñ\x86Ñ\x83Ðº'],
    ['a string', 'http', [], 'Content-Length: 4\r\n\r\nhttp'],
    ['a Buffer', Buffer.from('\xff', 'latin1'), [], 'Content-Length: 1\r\n\r\n\xff'],
    [
      'a Uint8Array inside another',
      new Uint8Array(4).subarray(1, 3),
      [],
      'Content-Length: 2\r\n\r\n\0\0',
    ],
    ['a generator', new Set(['a', 'b']).values(), [], '\r\nab'],
    ['a generator of nothing', new Set<string>().values(), [], 'Content-Length: 0\r\n\r\n'],
    ['a Set', new Set(['a', '', 'b']), [], '\r\nab'],
    ['a type', ['x'], [['Content-Type', 'a/b']], 'Content-Type: a/b\r\nContent-Length: 1\r\n\r\nx'],
    ['its own length', ['x'], [['content-length', '1']], 'content-length: 1\r\n\r\nx'],
    [
      'its own length of a generator',
      new Set(['x']),
      [['Content-Length', '1']],
      'Content-Length: 1\r\n\r\nx',
    ],
  ]

  test.each(cases)('of %s', async (_, body, headers, rest) => {
    const handler = await record(respondWith(body, headers))
    expect(handler.output).toBe(`Status: 200 OK\r\n${rest}`)
    expect(handler.errors).toBe('')
    expect(handler.calls.at(-1)).toBe('end')
    expect(handler.ends).toBe(1)
  })

  test('is absent after write()', async () => {
    const handler = await record((_, startResponse) => {
      void startResponse('200 OK', [])('http')
      return []
    })
    expect(handler.output).toBe('Status: 200 OK\r\n\r\nhttp')
  })

  test.each([
    ['a list', () => ['abc', 'de', 'fg']],
    ['a generator', () => new Set(['abc', 'de', 'fg']).values()],
    ['a string', () => 'abcdefg'],
    ['bytes', () => [new Uint8Array(Buffer.from('abcdefg'))]],
  ])('that was declared is never exceeded by %s', async (_, body) => {
    const handler = await record(respondWith(body(), [['Content-Length', '4']]))
    expect(handler.output).toBe('Status: 200 OK\r\nContent-Length: 4\r\n\r\nabcd')
    expect(handler.errors).toBe(
      'GET /: The application sent more than the 4 bytes it declared; truncated\n',
    )
    expect(handler.calls.at(-1)).toBe('end')
  })

  test('that was declared but not reached ends the response as incomplete', async () => {
    const handler = await record(respondWith(['abc'], [['Content-Length', '12345']]))
    expect(handler.output).toBe('Status: 200 OK\r\nContent-Length: 12345\r\n\r\nabc')
    expect(handler.calls.at(-1)).toBe('broken')
    expect(handler.errors).toBe('GET /: The application sent 3 of the 12345 bytes it declared\n')
  })

  test.each(['-1', '+5', '0x5', '5 5', '5, 5', '1e3', '', ' 5', '1234567890123456'])(
    'cannot be declared as %j',
    async (length) => {
      const handler = await record(respondWith(['x'], [['Content-Length', length]]))
      expect(handler.output).toBe(ERROR_PAGE)
      expect(handler.errors).toContain('is not a number of bytes')
    },
  )

  test('cannot be declared twice', async () => {
    for (const second of ['1', '2']) {
      const headers: HeaderList = [
        ['Content-Length', '1'],
        ['content-length', second],
      ]
      const handler = await record(respondWith(['x'], headers))
      expect(handler.output).toBe(ERROR_PAGE)
      expect(handler.errors).toContain('Content-Length')
    }
  })
})

describe('A response without a body:', () => {
  const statuses = ['100 Continue', '103 Early Hints', '204 No Content', '304 Not Modified']

  test.each(statuses)('%s drops it, and invents no header', async (status) => {
    for (const body of [['x'], [], new Set(['x']), 'x']) {
      const handler = await record(respondWith(body, [], status))
      expect(handler.output).toBe(`Status: ${status}\r\n\r\n`)
      expect(handler.calls.at(-1)).toBe('end')
    }
  })

  test.each(statuses)('%s sends a Content-Length only with 304 (RFC 9110, 8.6)', async (status) => {
    const { output } = await record(respondWith([], [['Content-Length', '7']], status))
    expect(output.includes('Content-Length: 7\r\n')).toBe(status.startsWith('304'))
  })

  test.each([
    ['a list', () => ['http'], 'Content-Length: 4\r\n'],
    ['an empty list', () => [], ''],
    ['a generator', () => new Set(['http']).values(), ''],
    ['a generator of nothing', () => new Set<string>().values(), ''],
  ])('HEAD of %s has the head of GET, as far as that is known', async (_, body, header) => {
    const handler = await record(respondWith(body()), HEAD)
    expect(handler.output).toBe(`Status: 200 OK\r\n${header}\r\n`)
    expect(handler.calls.at(-1)).toBe('end')
    expect(handler.errors).toBe('')
  })

  test('HEAD keeps the Content-Length of an empty result', async () => {
    const handler = await record(respondWith([], [['Content-Length', '12345']]), HEAD)
    expect(handler.output).toBe('Status: 200 OK\r\nContent-Length: 12345\r\n\r\n')
    expect(handler.calls.at(-1)).toBe('end')
    expect(handler.errors).toBe('')
  })

  test('HEAD asks an endless generator for no more than its first chunk', async () => {
    let made = 0
    let closed = 0
    const handler = await record((_, startResponse) => {
      startResponse('200 OK', [])
      return (function* endless() {
        try {
          for (;;) yield `${(made += 1)}`
        } finally {
          closed += 1
        }
      })()
    }, HEAD)
    expect(handler.output).toBe('Status: 200 OK\r\n\r\n')
    expect([made, closed]).toEqual([1, 1])
  })

  test('an endless generator is not asked for more than it declared', async () => {
    const body = new CountingBody(
      (function* endless() {
        for (;;) yield 'ab'
      })(),
    )
    const handler = await record(respondWith(body, [['Content-Length', '3']]))
    expect(handler.body).toBe('aba')
    expect(body.closed).toBe(1)
  })
})

describe('startResponse:', () => {
  const bad: [string, string, unknown, string][] = [
    ['a short status', '200', [], 'at least 4 characters'],
    ['a status that is a number', 200 as unknown as string, [], 'must be of type string'],
    ['a split status', '200 OK\r\nX: y', [], 'Control characters'],
    ['headers that are an object', '200 OK', {}, 'an array of pairs (got Object)'],
    ['no headers', '200 OK', null, 'an array of pairs (got null)'],
    ['a bad name', '200 OK', [['a b', 'c']], 'not a header name'],
    ['a split value', '200 OK', [['A', 'c\r\nX: y']], 'control characters'],
    ['a wide value', '200 OK', [['A', '\u0100']], 'above U+00FF'],
    ['a value that is a number', '200 OK', [['A', 5]], 'must be of type string'],
  ]

  test.each(bad)('refuses %s before a byte is sent', async (_, status, headers, message) => {
    const handler = await record(respondWith(['x'], headers as HeaderList, status))
    expect(handler.output).toBe(ERROR_PAGE)
    expect(handler.errors).toMatch(/^GET \/: ApplicationError: /)
    expect(handler.errors).toContain(message)
  })

  test.each([
    'Connection',
    'keep-alive',
    'Proxy-Authenticate',
    'Proxy-Authorization',
    'TE',
    'Trailers',
    'TRANSFER-ENCODING',
    'Upgrade',
  ])('refuses the hop-by-hop header %s', async (name) => {
    const handler = await record(respondWith(['x'], [[name, 'y']]))
    expect(handler.output).toBe(ERROR_PAGE)
    expect(handler.errors).toContain(`Hop-by-hop header, '${name}: y', not allowed`)
  })

  test.each<[what: string, headers: HeaderList]>([
    ['one', [['Status', '404 Not Found']]],
    ['in upper case', [['STATUS', '404']]],
    [
      'repeated and empty',
      [
        ['Status', '404 Not Found'],
        ['status', ''],
      ],
    ],
  ])('drops a header Status, which would replace the status: %s', async (_, headers) => {
    const handler = await record(respondWith(['x'], [...headers, ['X-Status', '1']]))
    expect(handler.output).toBe('Status: 200 OK\r\nX-Status: 1\r\nContent-Length: 1\r\n\r\nx')
    expect(handler.errors).toBe('')
  })

  test('a second call without an error throws', async () => {
    const handler = await record((_, startResponse) => {
      startResponse('200 OK', [])
      startResponse('200 OK', [])
      return []
    })
    expect(handler.output).toBe(ERROR_PAGE)
    expect(handler.errors).toContain('Headers already set!')
  })

  test('without headers throws an error that says what they are', async () => {
    const handler = await record((_, startResponse) => {
      startResponse('200 OK', undefined as unknown as [])
      return []
    })
    expect(handler.output).toBe(ERROR_PAGE)
    expect(handler.errors).toContain('Headers must be an array of pairs (got undefined)')
    expect(handler.errors).toContain('ApplicationError')
  })

  test('a second call with an error replaces an unsent head', async () => {
    const handler = await record((_, startResponse) => {
      startResponse('200 OK', [['A', '1']])
      startResponse('500 Oops', [['B', '2']], new Error('why'))
      return ['oops']
    })
    expect(handler.output).toBe('Status: 500 Oops\r\nB: 2\r\nContent-Length: 4\r\n\r\noops')
    expect(handler.errors).toBe('')
  })

  test('a second call with an error throws that error if the head has been sent', async () => {
    const error = new Error('why')
    let caught: unknown
    const handler = await record(async (_, startResponse) => {
      const write = startResponse('200 OK', [])
      await write('some')
      try {
        startResponse('500 Oops', [], error)
      } catch (thrown) {
        caught = thrown
      }
      return []
    })
    expect(caught).toBe(error)
    expect(handler.output).toBe('Status: 200 OK\r\n\r\nsome')
  })

  test('can be called again after it has refused a head', async () => {
    const handler = await record((_, startResponse) => {
      expect(() => startResponse('bad!', [])).toThrow()
      startResponse('200 OK', [])
      return ['x']
    })
    expect(handler.body).toBe('x')
  })

  test('can be called by a generator at its first chunk', async () => {
    const handler = await record(function* app(_, startResponse) {
      startResponse('200 OK', [])
      yield 'late'
    })
    expect(handler.output).toBe('Status: 200 OK\r\n\r\nlate')
  })

  test('ignores later changes of the list of headers', async () => {
    const headers: HeaderList = [['A', '1']]
    const handler = await record((_, startResponse) => {
      startResponse('200 OK', headers)
      headers[0]![1] = '2\r\nX: y'
      headers.push(['Connection', 'x'])
      return []
    })
    expect(handler.output).toBe('Status: 200 OK\r\nA: 1\r\nContent-Length: 0\r\n\r\n')
  })

  test('has no effect after the end of the response, and neither has its write()', async () => {
    const late = deferred<Parameters<Application>[1]>()
    const handler = await record((environ, startResponse) => {
      late.resolve(startResponse)
      return respondWith(['x'])(environ, startResponse)
    })
    const before = handler.output
    const write = (await late.promise)('500 Late', [])
    await write('late')
    expect(handler.output).toBe(before)
    expect(handler.ends).toBe(1)
  })
})

describe('A broken contract:', () => {
  const none = () => undefined
  const cases: [string, Application, string][] = [
    [
      'undefined',
      none as unknown as Application,
      'must return an iterable of chunks (got undefined)',
    ],
    ['null', respondWith(null), 'must return an iterable of chunks (got null)'],
    ['a number', respondWith(42), 'must return an iterable of chunks (got number)'],
    ['an object', respondWith({}), 'must return an iterable of chunks (got object)'],
    [
      'a Response',
      respondWith(new Response('x')),
      'must return an iterable of chunks (got object)',
    ],
    [
      'an application',
      respondWith(() => []),
      '(got function). A function that creates an application is not one: serve its result',
    ],
    [
      'a server',
      respondWith({ listen: () => {} }),
      '(got object). A function that creates an application is not one: serve its result',
    ],
    ['a promise of null', async () => Promise.resolve(null as unknown as Body), '(got null)'],
    ['no startResponse', () => ['x'], 'A body chunk before startResponse()'],
    ['no startResponse, no body', () => [], 'ended without calling startResponse()'],
    [
      'an empty chunk before startResponse',
      () => new Set(['']),
      'A body chunk before startResponse()',
    ],
    ['a number in a list', respondWith(['a', 5]), 'A body chunk must be a string or a Uint8Array'],
    ['a number in a generator', respondWith(new Set([5])), '(got number)'],
    ['null in a generator', respondWith(new Set([null])), '(got null)'],
    ['an ArrayBuffer', respondWith([new ArrayBuffer(1)]), '(got object)'],
  ]

  test.each(cases)('%s: a 500, and the log says why', async (_, application, message) => {
    const handler = await record(application)
    expect(handler.output).toBe(ERROR_PAGE)
    expect(handler.errors).toContain(`ApplicationError: `)
    expect(handler.errors).toContain(message)
    expect(handler.ends).toBe(1)
  })

  test('write() before startResponse is an error', () => {
    expect(() => new RecordingHandler().write('x')).toThrow('write() before startResponse()')
  })

  test.each([5, null, undefined, {}])('write(%j) is an error', async (chunk) => {
    const handler = await record(async (_, startResponse) => {
      const write = startResponse('200 OK', [])
      await write(chunk as Chunk)
      return []
    })
    expect(handler.output).toBe(ERROR_PAGE)
  })
})

describe('An error', () => {
  const thrown: [string, unknown, string][] = [
    ['an Error', new RangeError('oops'), 'RangeError: oops'],
    ['undefined', undefined, 'The application threw undefined'],
    ['null', null, 'The application threw null'],
    ['zero', 0, '0\n'],
    ['a string', 'text', "'text'"],
    ['control characters', new Error('a\r\x1b[2Jb'), 'a\\x0d\\x1b[2Jb'],
  ]
  const steps: [string, (error: unknown) => Application][] = [
    [
      'in the application',
      (error) => () => {
        throw error
      },
    ],
    ['in its promise', (reason) => () => Promise.reject<Body>(reason)],
    [
      'in a generator before its first chunk',
      (error) =>
        // oxlint-disable-next-line require-yield -- that is the case
        function* app() {
          throw error
        },
    ],
    [
      'after startResponse',
      (error) => (_, startResponse) => {
        startResponse('200 OK', [['A', 'b']])
        throw error
      },
    ],
    [
      'in an async generator, after startResponse',
      (error) =>
        // oxlint-disable-next-line require-yield -- that is the case
        async function* app(_, startResponse) {
          startResponse('200 OK', [['A', 'b']])
          throw error
        },
    ],
  ]
  const everywhere = steps.flatMap(([where, make]) =>
    thrown.map(([what, error, log]) => [what, where, make(error), log] as const),
  )

  test.each(everywhere)('(%s %s) gives a 500 without details', async (_, _where, app, log) => {
    const handler = await record(app)
    expect(handler.output).toBe(ERROR_PAGE)
    expect(handler.errors).toContain(log)
    expect(handler.ends).toBe(1)
    expect(handler.calls.at(-1)).toBe('end')
  })

  test('that reaches the process instead of the handler gives a 500, too', async () => {
    for (const error of [undefined, null, new Error('x')]) {
      const handler = new RecordingHandler()
      const pending = deferred<Body>()
      const running = handler.run(async (_, startResponse) => {
        startResponse('200 OK', [])
        return pending.promise
      })
      await handler.fail(error)
      expect(handler.output).toBe(ERROR_PAGE)
      pending.resolve(['late'])
      await running
      expect(handler.output).toBe(ERROR_PAGE)
      expect(handler.ends).toBe(1)
    }
  })

  test('that reaches the process becomes the error page, although the body never yields', async () => {
    const handler = new RecordingHandler()
    void handler.run(async function* app(_, startResponse) {
      startResponse('200 OK', [])
      await new Promise(() => {})
      yield 'never'
    })
    void handler.fail(new Error('elsewhere'))
    await turns()
    expect(handler.output).toBe(ERROR_PAGE)
  })

  test('after output ends the response as incomplete', async () => {
    const handler = await record(function* app(_, startResponse) {
      startResponse('200 OK', [])
      yield 'some'
      throw new Error('oops')
    })
    expect(handler.output).toBe('Status: 200 OK\r\n\r\nsome')
    expect(handler.errors).toMatch(/^GET \/: Error: oops\n {4}at /)
    expect(handler.calls.at(-1)).toBe('broken')
    expect(handler.ends).toBe(1)
  })

  test('that the client has caused gives its own status, and one line in the log', async () => {
    const handler = await record(() => {
      throw new PeerError('PORTICO_TOO_LARGE', 'Too much\r\n', '413 Content Too Large')
    })
    expect(handler.output).toBe(
      'Status: 413 Content Too Large\r\nContent-Type: text/plain\r\nContent-Length: 18\r\n\r\n' +
        'Content Too Large\n',
    )
    expect(handler.errors).toBe('GET /: PORTICO_TOO_LARGE: Too much\\x0d\n')
  })

  test.each([
    [
      { REQUEST_METHOD: 'POST', SCRIPT_NAME: '/app', PATH_INFO: '/a b', QUERY_STRING: 'key=1' },
      'POST /app/a b: ',
    ],
    [{ PATH_INFO: '/a\nroot: all is well\x1b[2J' }, 'GET /a\\nroot: all is well\\x1b[2J: '],
    [{ PATH_INFO: `/${'a'.repeat(300)}` }, `GET /${'a'.repeat(195)}: `],
    [{ CONTENT_LENGTH: '1x', PATH_INFO: '/early' }, 'GET /early: '],
  ])('is logged with its request, %j', async (variables, subject) => {
    const refuse = () => {
      throw new PeerError('PORTICO_BAD_REQUEST', 'CONTENT_LENGTH is not a number of bytes')
    }
    const { errors } = await record(refuse, variables)
    expect(errors).toBe(`${subject}PORTICO_BAD_REQUEST: CONTENT_LENGTH is not a number of bytes\n`)
  })

  test.each([Symbol('path'), Object.create(null) as object, 5, ['/a']])(
    'is logged and becomes the error page even if the application has set the path to %o',
    async (path) => {
      const handler = await record((environ) => {
        Object.assign(environ, { PATH_INFO: path })
        throw new Error('oops')
      })
      expect(handler.output).toBe(ERROR_PAGE)
      expect(handler.errors).toMatch(/^GET \/: Error: oops\n {4}at /)
    },
  )

  test('on a HEAD request has no body', async () => {
    const handler = await record(() => {
      throw new Error('oops')
    }, HEAD)
    expect(`${handler.output}A server error occurred.  Please contact the administrator.`).toBe(
      ERROR_PAGE,
    )
  })

  test('whose inspection throws gives a 500 like any other', async () => {
    const handler = await record(() => {
      throw {
        get stack() {
          throw new Error('a trap')
        },
        [inspect.custom]() {
          throw new Error('a trap')
        },
      }
    })
    expect(handler.output).toBe(ERROR_PAGE)
    expect(handler.errors).toBe('GET /: [a value whose inspection throws]\n')
  })

  test('that ended the request is the only one in the log, whatever follows', async () => {
    const handler = new RecordingHandler()
    const pending = deferred()
    const running = handler.run(async function* app(_, startResponse) {
      startResponse('200 OK', [])
      await pending.promise
      yield 'late'
    })
    await handler.fail(new Error('elsewhere'))
    pending.resolve()
    await running
    await turns()
    expect(handler.errors).not.toContain('startResponse')
    expect(handler.output).toBe(ERROR_PAGE)
  })

  test('in the handling of an error closes the request and rejects run()', async () => {
    class Broken extends RecordingHandler {
      override errorOutput(): Body {
        throw new Error('second')
      }
    }
    const handler = new Broken()
    const body = new CountingBody(new Set([5 as unknown as Chunk]))
    await expect(handler.run(respondWith(body))).rejects.toThrow('second')
    expect(body.closed).toBe(1)
    expect(handler.ends).toBe(1)
  })

  test('in the handling of an error is written to stderr by a server, which keeps running', async () => {
    class Broken extends RecordingHandler {
      override errorOutput(): Body {
        throw new Error('second\x1b')
      }
    }
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    try {
      new Broken().start(respondWith([5]))
      await turns()
      expect(write.mock.calls.join('')).toMatch(/^Error: second\\x1b\n/)
    } finally {
      write.mockRestore()
    }
  })

  test('is logged as one entry, even if its message has newlines', async () => {
    const { errors } = await record(() => {
      throw new Error('no\nGET /admin: PORTICO_TIMEOUT: forged')
    })
    expect(errors).toMatch(
      /^(?:GET \/: )?Error: no\n  GET \/admin: PORTICO_TIMEOUT: forged\n {6}at /,
    )
  })

  test('in the transport is logged, and the state can be inspected afterwards', async () => {
    const handler = new RecordingHandler()
    handler.wait = () => {
      throw new Error('disk full')
    }
    await handler.run(respondWith(new Set(['x'])))
    expect(handler.errors).toContain('Error: disk full')
    expect(handler.environ).not.toBeNull()
    expect(handler.status).toBe('200 OK')
    expect(handler.headers?.size).toBe(0)
    expect(handler.result).not.toBeNull()
  })

  test('that means that the client has disconnected is never logged', async () => {
    const gone = () => {
      throw new PeerError('PORTICO_DISCONNECTED', 'gone')
    }
    for (const body of [['x'], new Set(['x']), [], 'x', new Set(['x', 5])]) {
      for (const property of ['wait', 'last'] as const) {
        const handler = new RecordingHandler()
        handler[property] = gone
        await handler.run(respondWith(body))
        expect(handler.errors.replace(/^GET \/: ApplicationError[^]*/, '')).toBe('')
      }
    }
  })
})

describe('The body is closed exactly once', () => {
  const twoChunks = () => new CountingBody(['a', 'b'])
  const cases: [string, () => CountingBody, HeaderList, Record<string, string>, string][] = [
    ['at its end', twoChunks, [], {}, '200 OK'],
    ['for HEAD', twoChunks, [], HEAD, '200 OK'],
    ['for 204', twoChunks, [], {}, '204 No Content'],
    ['when it is truncated', twoChunks, [['Content-Length', '1']], {}, '200 OK'],
    [
      'when it is shorter than its Content-Length',
      twoChunks,
      [['Content-Length', '9']],
      {},
      '200 OK',
    ],
    ['when the head is refused late', twoChunks, [['Content-Length', 'x']], {}, '200 OK'],
    [
      'after a bad chunk',
      () => new CountingBody(new Set([5 as unknown as string])),
      [],
      {},
      '200 OK',
    ],
    [
      'after an error in next()',
      () =>
        new CountingBody(
          (function* chunks() {
            yield 'a'
            throw new Error('second item')
          })(),
        ),
      [],
      {},
      '200 OK',
    ],
  ]

  test.each(cases)('%s', async (_, make, headers, variables, status) => {
    const body = make()
    const handler = await record(respondWith(body, headers, status), variables)
    expect(body.closed).toBe(1)
    expect(handler.ends).toBe(1)
  })

  test.each(['an error in the transport', 'a client that has gone'])('after %s', async (what) => {
    for (const property of ['wait', 'last'] as const) {
      const body = twoChunks()
      const handler = new RecordingHandler()
      handler[property] = () => {
        throw what === 'a client that has gone'
          ? new PeerError('PORTICO_DISCONNECTED', '')
          : Error()
      }
      await handler.run(respondWith(body))
      expect(body.closed).toBe(1)
    }
  })

  test('while next() is awaited and the client disconnects', async () => {
    const next = deferred<string>()
    const body = new CountingBody(
      (async function* chunks() {
        yield 'a'
        yield await next.promise
      })(),
    )
    const handler = new RecordingHandler()
    const running = handler.run(respondWith(body))
    await turns()
    handler.abort()
    expect(body.closed).toBe(1)
    next.resolve('late')
    await running
    expect(body.closed).toBe(1)
    expect(handler.body).toBe('a')
    expect(handler.errors).toBe('')
    expect(handler.calls.at(-1)).toBe('broken')
  })

  test('while next() is awaited and then rejects because of the abort', async () => {
    const next = deferred<string>()
    const body = new CountingBody(
      (async function* chunks() {
        yield await next.promise
      })(),
    )
    const handler = new RecordingHandler()
    const running = handler.run(respondWith(body))
    await turns()
    handler.abort()
    next.reject(handler.signal.reason)
    await running
    expect([body.closed, handler.ends, handler.errors]).toEqual([1, 1, ''])
  })

  test('while the application has not responded yet and the client disconnects', async () => {
    const result = deferred<Body>()
    const body = twoChunks()
    const handler = new RecordingHandler()
    const running = handler.run(async (_, startResponse) => {
      startResponse('200 OK', [])
      return result.promise
    })
    handler.abort()
    result.resolve(body)
    await running
    expect([body.closed, handler.ends, handler.output]).toEqual([1, 1, ''])
  })

  test('while the transport is full and the client disconnects', async () => {
    const drained = deferred()
    const body = twoChunks()
    const handler = new RecordingHandler()
    handler.wait = () => drained.promise
    const running = handler.run(respondWith(body))
    await turns()
    handler.abort()
    expect(body.closed).toBe(1)
    drained.resolve()
    await running
    expect([body.closed, handler.ends, handler.body]).toEqual([1, 1, 'a'])
  })

  test('while the transport is full and then fails', async () => {
    const drained = deferred()
    const body = twoChunks()
    const handler = new RecordingHandler()
    handler.wait = () => drained.promise
    const running = handler.run(respondWith(body))
    await turns()
    drained.reject(new PeerError('PORTICO_DISCONNECTED', 'gone'))
    await running
    expect([body.closed, handler.ends, handler.errors]).toEqual([1, 1, ''])
  })

  test('when the gateway sends the file itself', async () => {
    let closed = 0
    class Sendfile extends RecordingHandler {
      override sendfile(): boolean {
        this.sendHeaders()
        this._write('from the kernel')
        return true
      }
    }
    const handler = new Sendfile()
    await handler.run(
      respondWith(
        new FileWrapper({ read: () => expect.unreachable(), close: () => (closed += 1) }),
      ),
    )
    expect(handler.output).toBe('Status: 200 OK\r\n\r\nfrom the kernel')
    expect([closed, handler.ends]).toEqual([1, 1])
  })

  test('by return() if it has no close()', async () => {
    for (const variables of [{}, HEAD]) {
      let closed = 0
      await record(
        respondWith(
          (async function* chunks() {
            try {
              yield 'a'
              yield 'b'
            } finally {
              closed += 1
            }
          })(),
        ),
        variables,
      )
      expect(closed).toBe(1)
    }
  })

  test.each(['at once', 'later'])('also if close() throws %s, which is logged', async (when) => {
    const body = twoChunks()
    body.close = () => {
      body.closed += 1
      const error = new Error('cannot close')
      if (when === 'at once') throw error
      return Promise.reject(error) as unknown as void
    }
    const handler = await record(respondWith(body))
    expect(body.closed).toBe(1)
    expect(handler.output).toBe('Status: 200 OK\r\n\r\nab')
    expect(handler.calls.at(-1)).toBe('end')
    expect(handler.errors).toMatch(/^(?:GET \/: )?Error: cannot close\n/)
  })

  test('after the response has been sent, so that no client waits for it', async () => {
    const order: string[] = []
    const body = twoChunks()
    body.close = () => void order.push('close')
    const handler = new RecordingHandler()
    handler.last = () => void order.push('end')
    await handler.run(respondWith(body))
    expect(order).toEqual(['end', 'close'])
  })
})

describe('abort()', () => {
  test('aborts portico.signal with its reason', async () => {
    const reason = new Error('timed out')
    const handler = new RecordingHandler()
    let seen: unknown
    const running = handler.run(async (environ, startResponse) => {
      const signal = environ['portico.signal']
      const write = startResponse('200 OK', [])
      await write('before')
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
      seen = signal.reason
      await write('after')
      return ['more']
    })
    await turns()
    handler.abort(reason)
    await running
    expect(seen).toBe(reason)
    expect(handler.body).toBe('before')
    expect([handler.ends, handler.errors]).toEqual([1, ''])
  })

  test('gives the disconnected client as its reason by default', () => {
    const handler = new RecordingHandler()
    handler.abort()
    expect(handler.signal.reason).toMatchObject({ code: 'PORTICO_DISCONNECTED' })
  })

  test('is visible in a signal that is first used afterwards', async () => {
    const asked = deferred()
    const handler = new RecordingHandler()
    let aborted = false
    const running = handler.run(async (environ) => {
      await asked.promise
      aborted = environ['portico.signal'].aborted
      return []
    })
    handler.abort()
    asked.resolve()
    await running
    expect(aborted).toBe(true)
  })

  test('has no effect after the response has ended', async () => {
    const handler = await record(respondWith(['x']))
    handler.abort()
    expect(handler.ends).toBe(1)
    expect(handler.signal.aborted).toBe(false)
  })

  test('has no effect when it is called a second time', () => {
    const handler = new RecordingHandler()
    handler.abort(new Error('first'))
    handler.abort(new Error('second'))
    expect(handler.signal.reason).toMatchObject({ message: 'first' })
    expect(handler.ends).toBe(1)
  })

  test('survives a transport that fails, immediately or later', async () => {
    for (const last of [
      () => Promise.reject(new PeerError('PORTICO_DISCONNECTED', 'gone')),
      () => {
        throw new Error('broken')
      },
    ]) {
      const handler = new RecordingHandler()
      handler.last = last
      expect(() => handler.abort()).not.toThrow()
      await turns() // An unhandled rejection would show now.
    }
  })

  test('survives a body whose close() fails', async () => {
    const handler = new RecordingHandler()
    const body = new CountingBody(
      (async function* chunks() {
        yield 'a'
        await new Promise(() => {})
      })(),
    )
    body.close = () => {
      throw new Error('cannot close')
    }
    void handler.run(respondWith(body))
    await turns()
    handler.abort()
    expect(handler.errors).toContain('cannot close')
  })

  test('of the signal on a half-closed connection still lets the response be sent', async () => {
    const handler = new RecordingHandler()
    const running = handler.run(async (environ, startResponse) => {
      const { promise, resolve } = deferred()
      environ['portico.signal'].addEventListener('abort', () => resolve())
      await promise
      startResponse('200 OK', [])
      return ['still here']
    })
    handler.disconnected()
    await running
    expect(handler.body).toBe('still here')
    expect(handler.calls.at(-1)).toBe('end')
  })

  test('silences errors that the application throws afterwards', async () => {
    const handler = new RecordingHandler()
    const running = handler.run(async (environ) => {
      await turns()
      environ['portico.signal'].throwIfAborted()
      return []
    })
    handler.abort()
    await running
    expect(handler.errors).toBe('')
  })
})

describe('portico.signal', () => {
  test('is created on first use only', async () => {
    const { AbortController } = globalThis
    let made = 0
    class Counting extends AbortController {
      constructor() {
        super()
        made += 1
      }
    }
    globalThis.AbortController = Counting
    try {
      await record(respondWith(['x']))
      await record(respondWith(new Set(['x'])))
      expect(made).toBe(0)
      await record((environ, startResponse) => {
        expect(environ['portico.signal']).toBe(environ['portico.signal'])
        return respondWith([])(environ, startResponse)
      })
      expect(made).toBe(1)
    } finally {
      globalThis.AbortController = AbortController
    }
  })

  test('is an enumerable key of the environ', async () => {
    await record((environ, startResponse) => {
      expect(Object.keys(environ)).toContain('portico.signal')
      expect({ ...environ }['portico.signal']).toBe(environ['portico.signal'])
      return respondWith([])(environ, startResponse)
    })
  })
})

describe('write()', () => {
  test('sends immediately, before the returned body', async () => {
    const handler = await record(async (_, startResponse) => {
      const write = startResponse('200 OK', [])
      await write('a')
      await write(new Uint8Array([98]))
      return ['c']
    })
    expect(handler.output).toBe('Status: 200 OK\r\n\r\nabc')
    expect(handler.calls).toEqual(['head', 'body', 'flush', 'body', 'flush', 'body', 'end'])
  })

  test('resolves when the transport has drained', async () => {
    const drained = deferred()
    const handler = new RecordingHandler()
    handler.wait = () => drained.promise
    const order: string[] = []
    const running = handler.run(async (_, startResponse) => {
      await startResponse('200 OK', [])('a')
      order.push('written')
      return []
    })
    await turns()
    order.push('drained')
    drained.resolve()
    await running
    expect(order).toEqual(['drained', 'written'])
  })

  test('after the end has no effect', async () => {
    let write: Write = () => expect.unreachable()
    const handler = await record((_, startResponse) => {
      write = startResponse('200 OK', [])
      return ['x']
    })
    await write('late')
    expect(handler.body).toBe('x')
  })

  test('is truncated at the declared length', async () => {
    const handler = await record(async (_, startResponse) => {
      const write = startResponse('200 OK', [['Content-Length', '3']])
      await write('ab')
      await write('cd')
      await write('ef')
      return []
    })
    expect(handler.body).toBe('abc')
    expect(handler.errors).toBe(
      'GET /: The application sent more than the 3 bytes it declared; truncated\n',
    )
  })

  test('that is not awaited causes no unhandled rejection when the client disconnects', async () => {
    for (const wait of [
      () => Promise.reject(new PeerError('PORTICO_DISCONNECTED', 'gone')),
      () => {
        throw new PeerError('PORTICO_DISCONNECTED', 'gone')
      },
    ]) {
      const handler = new RecordingHandler()
      handler.wait = wait
      await handler.run(async (_, startResponse) => {
        const write = startResponse('200 OK', [])
        void write('a')
        await turns()
        void write('b')
        await turns()
        return ['c']
      })
      expect([handler.body, handler.errors, handler.ends]).toEqual(['a', '', 1])
      expect(handler.signal.aborted).toBe(true)
    }
  })

  test('in an endless loop rejects when the client has disconnected', async () => {
    const handler = new RecordingHandler()
    let writes = 0
    const running = handler.run(async (_, startResponse) => {
      const write = startResponse('200 OK', [])
      for (;;) {
        await write('x')
        if ((writes += 1) === 3) handler.abort()
        if (writes > 1000) return []
      }
    })
    await running
    expect([writes, handler.body, handler.errors]).toEqual([3, 'xxx', ''])
  })

  test('that is not awaited ends the request with one log entry when the transport fails', async () => {
    for (const awaited of [true, false]) {
      const handler = new RecordingHandler()
      handler.wait = async () => Promise.reject(new Error('disk full'))
      await handler.run(async (_, startResponse) => {
        const written = startResponse('200 OK', [])('a')
        if (awaited) await written
        await turns()
        return ['c']
      })
      expect([handler.body, handler.ends, handler.calls.at(-1)]).toEqual(['a', 1, 'broken'])
      expect(handler.errors.match(/disk full/g)).toHaveLength(1)
    }
  })
})

describe('In a streamed response', () => {
  test('each chunk is flushed before the next is asked for', async () => {
    const handler = new RecordingHandler()
    const { calls } = handler
    await handler.run(async function* app(_, startResponse) {
      startResponse('200 OK', [])
      yield ''
      calls.push('one')
      yield 'a'
      calls.push('two')
      yield await Promise.resolve('b')
    })
    expect(calls).toEqual(['flush', 'one', 'head', 'body', 'flush', 'two', 'body', 'flush', 'end'])
  })

  test('nothing is deferred: if the application is synchronous, all is sent before run() returns', () => {
    const handler = new RecordingHandler()
    void handler.run(respondWith(['a', 'b']))
    expect(handler.body).toBe('ab')
    expect(handler.ends).toBe(1)
  })
})

describe('An origin server', () => {
  class Origin extends RecordingHandler {
    override originServer = true
  }

  test('sends a status line and Date before the headers', async () => {
    const handler = new Origin()
    await handler.run(respondWith([]))
    expect(handler.output).toMatch(
      /^HTTP\/1\.0 200 OK\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\nContent-Length: 0\r\n\r\n$/,
    )
  })

  test('sends its version and Server if they are set', async () => {
    const handler = new Origin()
    handler.httpVersion = '1.1'
    handler.serverSoftware = 'Portico/1'
    await handler.run(respondWith([], [['Date', 'now']]))
    expect(handler.output).toBe(
      'HTTP/1.1 200 OK\r\nServer: Portico/1\r\nDate: now\r\nContent-Length: 0\r\n\r\n',
    )
  })

  test("keeps the application's Date and Server", async () => {
    const handler = new Origin()
    handler.serverSoftware = 'Portico/1'
    const headers: HeaderList = [
      ['date', 'then'],
      ['SERVER', 'mine'],
    ]
    await handler.run(respondWith([], headers))
    expect(handler.output).toBe(
      'HTTP/1.0 200 OK\r\ndate: then\r\nSERVER: mine\r\nContent-Length: 0\r\n\r\n',
    )
  })

  test('sends no head to HTTP/0.9', async () => {
    const handler = new Origin({ SERVER_PROTOCOL: 'HTTP/0.9' })
    await handler.run(respondWith([]))
    expect(handler.output).toBe('')
  })
})

test.each(['HTTP/0.9', 'HTTP/1.0', 'HTTP/1.1', 'INCLUDED'])(
  'a gateway sends Status and no Date to %s',
  async (protocol) => {
    const handler = new RecordingHandler({ SERVER_PROTOCOL: protocol })
    handler.httpVersion = '1.1'
    handler.serverSoftware = 'Portico/1'
    await handler.run(respondWith([]))
    expect(handler.output).toBe('Status: 200 OK\r\nContent-Length: 0\r\n\r\n')
  },
)
