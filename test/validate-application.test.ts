/**
 * The validator as the author of an application meets it: one crafted application for each check.
 * Numbers are those of the acceptance facts.
 */
import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { ApplicationError, ConfigurationError } from '../src/errors.ts'
import type { Application, Chunk, Environ, StartResponse } from '../src/types.ts'
import { validator } from '../src/validate.ts'
import { answer, app, OK, PLAIN } from './validate-harness.ts'

/** The streams as somebody without types sees them. */
type Method = (...args: unknown[]) => unknown
interface LooseInput extends Record<
  'read' | 'readline' | 'readlines' | 'stream' | 'close',
  Method
> {
  chunks(...args: unknown[]): AsyncGenerator
}
type LooseErrors = Record<'write' | 'writelines' | 'flush' | 'close', Method>

const start = (...args: unknown[]): Application =>
  app((_environ, startResponse) => {
    startResponse(...args)
    return ['x']
  })
const withStatus = (status: unknown) => start(status, PLAIN)
const withHeaders = (headers: unknown) => start(OK, headers)
const withHeader = (name: unknown, value: unknown) => withHeaders([...PLAIN, [name, value]])
const returning = (body: unknown, status = OK, headers = PLAIN): Application =>
  app((_environ, startResponse) => {
    startResponse(status, headers)
    return body
  })
const using = (use: (environ: Environ) => unknown): Application =>
  app(async (environ, startResponse) => {
    startResponse(OK, PLAIN)
    await use(environ)
    return []
  })
const reading = (read: (input: LooseInput) => unknown) =>
  using((environ) => read(environ['wsgi.input'] as never))
const complaining = (complain: (errors: LooseErrors) => unknown) =>
  using((environ) => complain(environ['wsgi.errors'] as never))

describe('what an application does wrong is an error that says what', () => {
  const rows: [name: string, application: Application, message: string][] = [
    // startResponse
    ['one argument', start(OK), 'startResponse: takes (status, headers, error?), not 1 arguments'],
    ['four', start(1, 2, 3, 4), 'startResponse: takes (status, headers, error?), not 4 arguments'],
    ['a status that is a number', withStatus(200), 'Status must be a string, not 200'],
    ['fact 7', withStatus('200'), 'Status must be at least 4 characters, not "200"'],
    ['fact 8', withStatus('20X OK'), 'Status message must begin w/3-digit code, not "20X OK"'],
    ['fact 9', withStatus('200OK'), 'Status message must have a space after code, not "200OK"'],
    ['a code below 100', withStatus('099 Low'), 'Status code must be at least 100, not "099 Low"'],
    [
      'a line end in the status',
      withStatus('200 OK\r\nX: y'),
      String.raw`Status must not hold "\u000d": "200 OK\u000d\u000aX: y"`,
    ],
    ['text in the status', withStatus('200 \u0416'), String.raw`Status must not hold "\u0416"`],
    ['a string as error', start(OK, PLAIN, 'x'), 'startResponse: error must be an Error'],
    [
      'a second call without error',
      app((_environ, startResponse) => {
        startResponse(OK, PLAIN)
        startResponse(OK, PLAIN)
        return []
      }),
      'Headers already set! A second startResponse needs the error that made it necessary',
    ],
    [
      'a second call with null for it',
      app((_environ, startResponse) => {
        startResponse(OK, PLAIN, undefined)
        startResponse(OK, PLAIN, null)
        return []
      }),
      'Headers already set!',
    ],
    // headers
    [
      'fact 6: headers that are a Map',
      withHeaders(new Map(PLAIN)),
      'Headers must be an array of arrays [name, value], not an object of class Map',
    ],
    ['headers of an object', withHeaders({}), 'Headers must be an array of arrays [name, value]'],
    [
      'flat headers',
      withHeaders(['A', 'b']),
      'Headers: each must be an array [name, value], not "A"',
    ],
    [
      'a header of three',
      withHeaders([['A', 'b', 'c']]),
      'Headers: each must be an array [name, value], not an array of 3',
    ],
    ['a name of another type', withHeader(1, 'a'), 'Headers: a name must be a string, not 1'],
    [
      'a value of another type',
      withHeader('A', 1),
      'Headers: the value of "A" must be a string, not 1',
    ],
    ['Status as a header', withHeader('sTatus', '200'), 'The Status header cannot be used'],
    [
      'a colon in a name',
      withHeader('A:', 'b'),
      'Header names may not contain ":" or a newline: "A:"',
    ],
    [
      'a newline in a name',
      withHeader('A\nB', 'c'),
      'Header names may not contain ":" or a newline',
    ],
    ['a space in a name', withHeader('A B', 'c'), 'Bad header name "A B"'],
    ['a name that begins with a digit', withHeader('1A', 'c'), 'Bad header name "1A"'],
    ['an empty name', withHeader('', 'c'), 'Bad header name ""'],
    [
      'a name that ends in -',
      withHeader('A-', 'c'),
      'Header names may not end in "-" or "_": "A-"',
    ],
    [
      'a name that ends in _',
      withHeader('A_', 'c'),
      'Header names may not end in "-" or "_": "A_"',
    ],
    [
      'fact 99: a hop-by-hop header',
      withHeader('Connection', 'close'),
      "The header Connection is the gateway's",
    ],
    [
      'a line end in a value',
      withHeader('A', 'b\r\nC: d'),
      String.raw`Headers: the value of A must not hold "\u000d": "b\u000d\u000aC: d"`,
    ],
    ['fact 178: NUL', withHeader('A', 'text\0plain'), String.raw`must not hold "\u0000"`],
    ['DEL in a value', withHeader('A', '\x7f'), String.raw`must not hold "\u007f"`],
    ['fact 251: text in a value', withHeader('A', '\u0416'), String.raw`must not hold "\u0416"`],
    ['no Content-Type', withHeaders([]), 'No Content-Type header found for the status 200'],
    [
      'two Content-Types',
      withHeaders([...PLAIN, ...PLAIN]),
      'Headers: Content-Type is there 2 times',
    ],
    [
      'two Content-Lengths',
      withHeaders([...PLAIN, ['Content-Length', '1'], ['content-length', '1']]),
      'Headers: Content-Length is there 2 times',
    ],
    [
      'a negative Content-Length',
      withHeader('Content-Length', '-1'),
      'Headers: Content-Length must be 1 to 15 digits, not "-1"',
    ],
    ...['100 Continue', '204 No Content', '304 Not Modified'].map(
      (status): [string, Application, string] => [
        `a Content-Type for ${status}`,
        withStatus(status),
        `Content-Type header found for the status ${status.slice(0, 3)}, which has no body`,
      ],
    ),
    ...['101 Switching', '204 No Content'].map((status): [string, Application, string] => [
      `a Content-Length for ${status}`,
      start(status, [['Content-Length', '0']]),
      `Content-Length header found for the status ${status.slice(0, 3)}, which has no body`,
    ]),
    // the body
    [
      'no body',
      returning(undefined),
      'The application must return an iterable, if only an empty array, not undefined',
    ],
    ['null', returning(null), 'if only an empty array, not null'],
    ['false', returning(false), 'if only an empty array, not false'],
    ['a string', returning('hello'), 'The application must not return "hello" as its body'],
    [
      'bytes',
      returning(Buffer.from('hello')),
      'The application must not return an object of class Buffer',
    ],
    ['a number', returning(1), 'The application must return an iterable, not 1'],
    [
      'an object',
      returning({}),
      'The application must return an iterable, not an object of class Object',
    ],
    [
      'a Promise of a string',
      returning(Promise.resolve('x')),
      'The application must not return "x" as its body',
    ],
    [
      'a fetch Response',
      returning(new Response('x')),
      'The application returned a Response of the Fetch API; wrap it with fromFetch',
    ],
    [
      'a close that is no function',
      returning(Object.assign([], { close: 1 })),
      'body: close must be a function, not 1',
    ],
    [
      'a Readable with an encoding',
      returning(Readable.from([Buffer.from('x')]).setEncoding('hex')),
      'body: the Readable gives strings of the encoding "hex"',
    ],
    ['a number as chunk', returning([1]), 'body: a chunk must be a Uint8Array or a string, not 1'],
    [
      'fact 98: an array as chunk',
      returning([['x']]),
      'body: a chunk must be a Uint8Array or a string, not an array of 1',
    ],
    [
      'a Promise as chunk',
      returning(
        (function* () {
          yield Promise.resolve('x')
        })(),
      ),
      'not an object of class Promise; await it first',
    ],
    [
      'fact 97: no startResponse',
      app(() => ['x']),
      'body: gave a chunk, but startResponse has not yet been called',
    ],
    [
      'nor in an empty body',
      app(() => []),
      'body: the iteration ended, but startResponse has not been called',
    ],
    [
      'a generator that calls startResponse too late',
      app(function* (_environ, startResponse) {
        yield 'x'
        startResponse(OK, PLAIN)
      }),
      'body: gave a chunk, but startResponse has not yet been called',
    ],
    [
      'more than Content-Length',
      returning(['ab', 'cd'], OK, [...PLAIN, ['Content-Length', '3']]),
      'body: Content-Length is 3, but 4 bytes came',
    ],
    [
      'fact 180: less than Content-Length',
      returning([], OK, [...PLAIN, ['Content-Length', '1']]),
      'body: Content-Length is 1, but only 0 bytes came',
    ],
    [
      'characters taken for bytes',
      returning(['\u0416'], OK, [...PLAIN, ['Content-Length', '1']]),
      'body: Content-Length is 1, but 2 bytes came',
    ],
    [
      'a body for 204',
      returning(['x'], '204 No Content', []),
      'body: the status 204 has no body, but 1 bytes came',
    ],
    [
      'a body for 304',
      returning(['x'], '304 Not Modified', []),
      'body: the status 304 has no body, but 1 bytes came',
    ],
    // write
    [
      'write without a chunk',
      app(async (_environ, startResponse) => {
        await startResponse(OK, PLAIN)()
        return []
      }),
      'write: takes one chunk, not 0 arguments',
    ],
    [
      'fact 98: write of a number',
      app(async (_environ, startResponse) => {
        await startResponse(OK, PLAIN)(1)
        return []
      }),
      'write: a chunk must be a Uint8Array or a string, not 1',
    ],
    [
      'write past Content-Length',
      app(async (_environ, startResponse) => {
        const write = startResponse(OK, [...PLAIN, ['Content-Length', '1']])
        await write('x')
        await write('y')
        return []
      }),
      'write: Content-Length is 1, but 2 bytes came',
    ],
    [
      'write from inside the body',
      app(async function* (_environ, startResponse) {
        const write = startResponse(OK, PLAIN)
        yield 'x'
        await write('y')
      }),
      'write: was called after the iteration of the body had begun',
    ],
    // wsgi.input
    [
      'read of two',
      reading((input) => input.read(1, 2)),
      'wsgi.input: read() takes one argument, not 2',
    ],
    [
      'read of -1',
      reading((input) => input.read(-1)),
      'wsgi.input: read() takes a whole number from 0, not -1',
    ],
    [
      'read of a string',
      reading((input) => input.read('1')),
      'wsgi.input: read() takes a whole number from 0, not "1"',
    ],
    [
      'readline of two',
      reading((input) => input.readline(1, 2)),
      'wsgi.input: readline() takes one argument, not 2',
    ],
    [
      'readlines of two',
      reading((input) => input.readlines(1, 2)),
      'wsgi.input: readlines() takes one argument, not 2',
    ],
    [
      'chunks of one',
      reading((input) => input.chunks(1).next()),
      'wsgi.input: chunks() takes no argument, not 1',
    ],
    [
      'stream of one',
      reading((input) => input.stream(1)),
      'wsgi.input: stream() takes no argument, not 1',
    ],
    [
      'fact: close of the input',
      reading((input) => input.close()),
      'wsgi.input: close() must not be called; the gateway closes it',
    ],
    [
      'two reads at once',
      reading((input) => Promise.all([input.read(1), input.readline()])),
      'wsgi.input: readline() was called before read() had finished; await each read',
    ],
    [
      'a read after stream()',
      reading((input) => {
        input.stream()
        return input.read()
      }),
      'wsgi.input: read() was called before stream() had finished; await each read',
    ],
    // wsgi.errors
    [
      'write of bytes to errors',
      complaining((errors) => errors.write(Buffer.from('x'))),
      'wsgi.errors: write() takes a string, not an object of class Buffer',
    ],
    [
      'write of nothing to errors',
      complaining((errors) => errors.write()),
      'wsgi.errors: write() takes one argument, not 0',
    ],
    [
      'writelines of two',
      complaining((errors) => errors.writelines([], 1)),
      'wsgi.errors: writelines() takes one argument, not 2',
    ],
    [
      'writelines of a string',
      complaining((errors) => errors.writelines('ab')),
      'wsgi.errors: writelines() takes an iterable of strings, not "ab"',
    ],
    [
      'writelines of numbers',
      complaining((errors) => errors.writelines([1])),
      'wsgi.errors: write() takes a string, not 1',
    ],
    [
      'flush of one',
      complaining((errors) => errors.flush(1)),
      'wsgi.errors: flush() takes no argument, not 1',
    ],
    [
      'close of the errors',
      complaining((errors) => errors.close()),
      'wsgi.errors: close() must not be called; the gateway closes it',
    ],
  ]

  test.each(rows)('%s', async (_name, application, message) => {
    const failure = await answer(application).then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(failure).toBeInstanceOf(ApplicationError)
    expect(failure).toHaveProperty('message', expect.stringContaining(message))
  })

  test('every character that fact 177 forbids in a name, and some that a token may have', async () => {
    const controls = Array.from({ length: 32 }, (_, code) => String.fromCharCode(code))
    for (const character of [
      ...controls,
      ...'(),/:;<=>?@[\\]{}"!#$%&\'*+.^`|~ \x7f\xe4'.split(''),
    ]) {
      await expect(answer(withHeader(`a${character}b`, 'c'))).rejects.toThrow(ApplicationError)
    }
    for (const character of 'azAZ09-_') {
      await expect(answer(withHeader(`a${character}b`, 'c'))).resolves.toBeDefined()
    }
  })

  test('startResponse and write after the end', async () => {
    let late: StartResponse | undefined
    let write: ((chunk: Chunk) => Promise<void>) | undefined
    await answer((_environ, startResponse) => {
      late = startResponse
      write = startResponse(OK, PLAIN)
      return []
    })
    expect(() => late?.(OK, PLAIN, new Error('late'))).toThrow(
      new ApplicationError('startResponse: was called after the body had ended'),
    )
    expect(() => write?.('x')).toThrow(
      new ApplicationError('write: was called after the body had ended'),
    )
  })

  test.each<[string, unknown, string]>([
    ['nothing', undefined, 'An application is a function'],
    ['a Hono or another object with fetch()', { fetch: () => {} }, 'use fromFetch(app)'],
    ['a Koa', { callback: () => {} }, 'this has callback(); use fromNode(app.callback())'],
    [
      'an Express',
      Object.assign(() => {}, { handle: () => {}, use: () => {} }),
      'An application takes (environ, startResponse); this takes (req, res); use fromNode(app)',
    ],
  ])('%s is no application', (_name, value, message) => {
    expect(() => validator(value as Application)).toThrow(ConfigurationError)
    expect(() => validator(value as Application)).toThrow(message)
  })
})
