/** Rows about applications that violate the contract or throw: a plain 500, or an aborted response. */
import type { Application, Chunk, Environ, HeaderList, StartResponse } from '../../types.ts'
import { reportClose, text, watched, type Row } from '../row.ts'

/** The text of wsgiref. */
const ERROR_BODY = 'A server error occurred.  Please contact the administrator.'

/** The fixed text and its length, and nothing that the application has set. */
const PLAIN_500: Row['expect'] = {
  status: '500 Internal Server Error',
  headers: { 'Content-Type': ['text/plain'], 'Content-Length': [String(ERROR_BODY.length)] },
  body: ERROR_BODY,
  never: 'LEAK',
}

/** A head that must not be sent, whatever is in it. */
function badHead(name: string, status: string, headers: [unknown, unknown][]): Row {
  return {
    name: `${name} is a 500, and no byte of it is sent`,
    request: { target: '/' },
    application: (environ, startResponse) => {
      startResponse(status, [['X-Leak', 'LEAK'], ...(headers as HeaderList)])
      return watched(environ, ['LEAK'])
    },
    expect: PLAIN_500,
  }
}

/** An application that throws; the error is in the log. */
function failing(name: string, application: Application, more: Row['expect'] = {}): Row {
  return {
    name,
    request: { target: '/' },
    application,
    expect: { ...PLAIN_500, ...more },
  }
}

class TestFault extends Error {
  override readonly name = 'TestFault'
}

/** Throws in place of a chunk. */
function thrown(message: string): never {
  throw new TestFault(message)
}

export const errorRows: readonly Row[] = [
  ...['Connection', 'Keep-Alive', 'TE', 'Trailers', 'Transfer-Encoding', 'Upgrade'].map((name) =>
    badHead(`the hop-by-hop header ${name}`, '200 OK', [[name, 'close']]),
  ),
  badHead('a header name with a space', '200 OK', [['X LEAK', 'x']]),
  badHead('a header name with a colon', '200 OK', [['X:LEAK', 'x']]),
  badHead('an empty header name', '200 OK', [['', 'LEAK']]),
  badHead('a header name with a line feed', '200 OK', [['X\nLEAK', 'x']]),
  badHead('a header value with CRLF', '200 OK', [['X-A', 'a\r\nX-LEAK: b']]),
  badHead('a header value with a bare CR', '200 OK', [['X-A', 'a\rLEAK']]),
  badHead('a header value with NUL', '200 OK', [['X-A', 'text\0LEAK']]),
  badHead('a header value above U+00FF', '200 OK', [['X-A', 'LEAK\u0142']]),
  badHead('a header value that is not a string', '200 OK', [['X-A', 1]]),
  badHead('a status without a reason', '200', []),
  badHead('a status without a number', '20X OK', []),
  badHead('a status without a space', '200OK', []),
  badHead('a status with CRLF', '200 OK\r\nX-LEAK: b', []),
  badHead('a Content-Length that is not a number', '200 OK', [['Content-Length', '4LEAK']]),
  failing(
    'an error before startResponse is a 500',
    () => {
      throw new TestFault('LEAK')
    },
    { logged: 'TestFault' },
  ),
  failing(
    'a rejected promise is a 500',
    async () => {
      await Promise.resolve()
      throw new TestFault('LEAK')
    },
    { logged: 'TestFault' },
  ),
  failing(
    'an error after startResponse and before the first chunk is a 500',
    (_environ, startResponse) => {
      startResponse('200 OK', text(['X-Leak', 'LEAK']))
      throw new TestFault('LEAK')
    },
    { logged: 'TestFault' },
  ),
  failing(
    'an error in the first step of a generator is a 500',
    function* (environ, startResponse): Generator<Chunk> {
      try {
        startResponse('200 OK', text(['X-Leak', 'LEAK']))
        yield thrown('LEAK')
      } finally {
        reportClose(environ)
      }
    } as Application,
    { logged: 'TestFault', closed: 1 },
  ),
  failing('an error that is undefined is a 500 like any other', () => {
    // oxlint-disable-next-line no-throw-literal, only-throw-error -- the row tests this.
    throw undefined
  }),
  failing('a response without startResponse is a 500', () => []),
  failing('a chunk before startResponse is a 500', (environ) => watched(environ, ['LEAK']), {
    closed: 1,
  }),
  failing('an invalid body is a 500', ((_environ: Environ, startResponse: StartResponse) => {
    startResponse('200 OK', text())
    return 42
  }) as unknown as Application),
  failing(
    'an invalid chunk is a 500',
    (environ, startResponse) => {
      startResponse('200 OK', text())
      return watched(environ, [42 as unknown as Chunk])
    },
    { closed: 1 },
  ),
  failing('startResponse twice is a 500', (_environ, startResponse) => {
    startResponse('200 OK', text())
    startResponse('200 OK', text(['X-Leak', 'LEAK']))
    return ['LEAK']
  }),
  {
    name: 'startResponse with an error replaces headers that are not sent',
    request: { target: '/' },
    application: (_environ, startResponse) => {
      startResponse('200 OK', text(['X-Leak', 'LEAK']))
      startResponse('503 Service Unavailable', text(), new TestFault('busy'))
      return ['later']
    },
    expect: { status: '503 Service Unavailable', body: 'later', never: 'LEAK' },
  },
  {
    name: 'startResponse with an error throws it when the headers are sent',
    request: { target: '/' },
    application: async (_environ, startResponse) => {
      await startResponse('200 OK', text())('sent')
      startResponse('500 Too Late', text(), new TestFault('late'))
      return ['LEAK']
    },
    expect: { body: 'sent', broken: true, never: 'LEAK', logged: 'TestFault' },
  },
  {
    name: 'an error after the first chunk aborts the response, and closes the body',
    request: { target: '/' },
    application: async function* (environ, startResponse) {
      try {
        startResponse('200 OK', text())
        yield 'sent'
        throw new TestFault('late')
      } finally {
        reportClose(environ)
      }
    } as Application,
    expect: { body: 'sent', broken: true, closed: 1, logged: 'TestFault' },
  },
  {
    name: 'an iterator that throws on its second item is closed',
    request: { target: '/' },
    application: (environ, startResponse) => {
      startResponse('200 OK', text())
      let count = 0
      const next = (): IteratorResult<Chunk> => {
        count += 1
        if (count > 1) throw new TestFault('second')
        return { done: false, value: 'first' }
      }
      return watched(environ, { [Symbol.iterator]: () => ({ next }) })
    },
    expect: { body: 'first', broken: true, closed: 1, logged: 'TestFault' },
  },
  {
    name: 'an error in close() does not change the response, and is logged',
    request: { target: '/' },
    application: (environ, startResponse) => {
      startResponse('200 OK', text())
      const close = (): never => {
        reportClose(environ)
        throw new TestFault('in close')
      }
      return Object.assign(['complete'], { close })
    },
    expect: { body: 'complete', closed: 1 },
  },
]
