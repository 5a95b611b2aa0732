/** Rows about applications that break the contract, or just break: plain 500 or a broken answer. */
import type { Application, Chunk, Environ, HeaderList, StartResponse } from '../../types.ts'
import { reportClose, text, watched, type Row } from '../row.ts'

/** wsgiref's words. */
const ERROR_BODY = 'A server error occurred.  Please contact the administrator.'

/** Nothing of the application's: its text and the length of that only. */
const PLAIN_500: Row['expect'] = {
  status: '500 Internal Server Error',
  headers: { 'Content-Type': ['text/plain'], 'Content-Length': [String(ERROR_BODY.length)] },
  body: ERROR_BODY,
  never: 'LEAK',
}

/** A head that must not be sent, whatever is in it. */
function badHead(
  name: string,
  facts: readonly number[],
  status: string,
  headers: [unknown, unknown][],
): Row {
  return {
    name: `${name} is a 500, and no byte of it is sent`,
    facts,
    request: { target: '/' },
    application: (environ, startResponse) => {
      startResponse(status, [['X-Leak', 'LEAK'], ...(headers as HeaderList)])
      return watched(environ, ['LEAK'])
    },
    expect: PLAIN_500,
  }
}

/** An application that breaks; what it throws is in the log. */
function failing(
  name: string,
  facts: readonly number[],
  application: Application,
  more: Row['expect'] = {},
): Row {
  return {
    name,
    facts,
    request: { target: '/' },
    application,
    expect: { ...PLAIN_500, ...more },
  }
}

class TestFault extends Error {
  override readonly name = 'TestFault'
}

/** Throws where a chunk is wanted. */
function thrown(message: string): never {
  throw new TestFault(message)
}

export const errorRows: readonly Row[] = [
  ...['Connection', 'Keep-Alive', 'TE', 'Trailers', 'Transfer-Encoding', 'Upgrade'].map((name) =>
    badHead(`the hop-by-hop header ${name}`, [59, 99], '200 OK', [[name, 'close']]),
  ),
  badHead('a header name with a blank', [177], '200 OK', [['X LEAK', 'x']]),
  badHead('a header name with a colon', [177], '200 OK', [['X:LEAK', 'x']]),
  badHead('an empty header name', [177], '200 OK', [['', 'LEAK']]),
  badHead('a header name with a line feed', [177], '200 OK', [['X\nLEAK', 'x']]),
  badHead('a header value with CRLF', [73, 251], '200 OK', [['X-A', 'a\r\nX-LEAK: b']]),
  badHead('a header value with a bare CR', [73, 251], '200 OK', [['X-A', 'a\rLEAK']]),
  badHead('a header value with NUL', [178], '200 OK', [['X-A', 'text\0LEAK']]),
  badHead('a header value above U+00FF', [251], '200 OK', [['X-A', 'LEAK\u0142']]),
  badHead('a header value that is no string', [6], '200 OK', [['X-A', 1]]),
  badHead('a status without words', [7], '200', []),
  badHead('a status without a number', [8], '20X OK', []),
  badHead('a status without a blank', [9], '200OK', []),
  badHead('a status with CRLF', [8], '200 OK\r\nX-LEAK: b', []),
  badHead('a Content-Length that is no number', [180], '200 OK', [['Content-Length', '4LEAK']]),
  failing(
    'an error before the head is a 500',
    [84, 119],
    () => {
      throw new TestFault('LEAK')
    },
    { logged: 'TestFault' },
  ),
  failing(
    'a rejected promise is a 500',
    [84],
    async () => {
      await Promise.resolve()
      throw new TestFault('LEAK')
    },
    { logged: 'TestFault' },
  ),
  failing(
    'an error after startResponse and before the first chunk is a 500',
    [84],
    (_environ, startResponse) => {
      startResponse('200 OK', text(['X-Leak', 'LEAK']))
      throw new TestFault('LEAK')
    },
    { logged: 'TestFault' },
  ),
  failing(
    'an error in the first step of a generator is a 500',
    [84, 90],
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
  failing('an error that is undefined is a 500 like any other', [84], () => {
    // oxlint-disable-next-line no-throw-literal, only-throw-error -- it is what is tested.
    throw undefined
  }),
  failing('no head at all is a 500', [97], () => []),
  failing('a chunk before the head is a 500', [97], (environ) => watched(environ, ['LEAK']), {
    closed: 1,
  }),
  failing('a body that is none is a 500', [98], ((
    _environ: Environ,
    startResponse: StartResponse,
  ) => {
    startResponse('200 OK', text())
    return 42
  }) as unknown as Application),
  failing(
    'a chunk that is none is a 500',
    [98],
    (environ, startResponse) => {
      startResponse('200 OK', text())
      return watched(environ, [42 as unknown as Chunk])
    },
    { closed: 1 },
  ),
  failing('startResponse twice is a 500', [95], (_environ, startResponse) => {
    startResponse('200 OK', text())
    startResponse('200 OK', text(['X-Leak', 'LEAK']))
    return ['LEAK']
  }),
  {
    name: 'startResponse with an error replaces a head that is not sent',
    facts: [95],
    request: { target: '/' },
    application: (_environ, startResponse) => {
      startResponse('200 OK', text(['X-Leak', 'LEAK']))
      startResponse('503 Service Unavailable', text(), new TestFault('busy'))
      return ['later']
    },
    expect: { status: '503 Service Unavailable', body: 'later', never: 'LEAK' },
  },
  {
    name: 'startResponse with an error throws it when the head is sent',
    facts: [95],
    request: { target: '/' },
    application: async (_environ, startResponse) => {
      await startResponse('200 OK', text())('sent')
      startResponse('500 Too Late', text(), new TestFault('late'))
      return ['LEAK']
    },
    expect: { body: 'sent', broken: true, never: 'LEAK', logged: 'TestFault' },
  },
  {
    name: 'an error after the first chunk breaks the answer off, and closes the body',
    facts: [85, 90],
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
    facts: [90],
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
    name: 'an error in close() changes nothing of the answer, and is logged',
    facts: [94],
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
