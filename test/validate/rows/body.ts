/** Values that are not applications, and applications whose body breaks one rule. */
import { open as openFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import type { Application, HeaderList } from '../../../src/types.ts'
import { FileWrapper } from '../../../src/wsgiref/util.ts'
import { validator } from '../../../src/validate/validator.ts'
import {
  runApplication,
  app,
  applications,
  judge,
  makeEnviron,
  OK,
  PLAIN,
  refusal,
  returning,
  type Row,
} from '../harness.ts'

const withLength = (length: string): HeaderList => [...PLAIN, ['Content-Length', length]]
const fault = new RangeError('mine')

async function* yields(chunk: unknown): AsyncGenerator {
  yield chunk
}

const applicationRows: Row[] = [
  [
    'an application that is an object',
    () => refusal(() => validator({} as Application)),
    'ConfigurationError: An application is a function (environ, startResponse) => chunks, a ' +
      'generator function, or a class; this is of type object',
  ],
  [
    'an application of the Fetch API',
    () => refusal(() => validator({ fetch: () => {} } as unknown as Application)),
    'ConfigurationError: This is an application of the Fetch API: run fromFetch(it), with ' +
      "fromFetch from 'portico/fetch', or use run() of 'portico'",
  ],
  [
    'an application of Express',
    () => {
      const members = { handle: () => {}, set: () => {}, listen: () => {} }
      return refusal(() => validator(Object.assign(() => [], members)))
    },
    'ConfigurationError: This is an Express application: run fromNode(it), with fromNode from ' +
      "'portico/node', or use run() of 'portico'",
  ],
  ...applications([
    [
      'one that throws',
      app(() => {
        throw fault
      }),
      'RangeError: mine',
    ],
    ['one that rejects', app(() => Promise.reject(fault)), 'RangeError: mine'],
    ...[undefined, null, false].map(
      (body) =>
        [
          `a body of ${body}`,
          returning(body),
          `The application must return an iterable, if only an empty array, not ${body}`,
        ] as const,
    ),
    [
      'a string',
      returning('hello'),
      'The application must return an iterable of chunks, such as [chunk], not "hello" itself',
    ],
    [
      'a Promise of a string',
      returning(Promise.resolve('hello')),
      'The application must return an iterable of chunks, such as [chunk], not "hello" itself',
    ],
    [
      'bytes',
      returning(Buffer.from('hello')),
      'The application must return an iterable of chunks, such as [chunk], not an object of class ' +
        'Buffer itself',
    ],
    ['a number', returning(1), 'The application must return an iterable, not 1'],
    [
      'an object with getline, as a file handle of Perl',
      returning({ getline: () => 'x' }),
      'The application must return an iterable, not an object of class Object',
    ],
    [
      'an application',
      returning({ fetch: () => new Response('x') }),
      'The application must return an iterable, not an object of class Object. A function that ' +
        "creates an application is not one: serve its result, as in 'export default await create()'",
    ],
    [
      'a Response of the Fetch API',
      returning(new Response('x')),
      'The application must return an iterable, not a Response of the Fetch API; wrap a handler ' +
        'that returns one: fromFetch(handler)',
    ],
    [
      'a close that is not a function',
      returning(Object.assign([], { close: 1 })),
      'body: close must be a function, not 1',
    ],
    [
      'a Readable with an encoding',
      returning(Readable.from([Buffer.from('x')]).setEncoding('hex')),
      'body: the encoding of a Readable must be utf8 or not set, not "hex"',
    ],
    [
      'a Readable of objects',
      returning(Readable.from([{}])),
      'body chunk 1: must be a Uint8Array or a string, not an object of class Object',
    ],
    [
      'a FileWrapper whose file is not there',
      returning(new FileWrapper({ read: () => null }, { path: '/nowhere/to be found' })),
      'warning: body: the path of a FileWrapper should be that of a file, not "/nowhere/to be ' +
        'found"',
    ],
  ]),
  [
    'a FileWrapper whose FileHandle is closed',
    () =>
      refusal(async () => {
        const handle = await openFile(import.meta.filename)
        await handle.close()
        return runApplication(returning(new FileWrapper(handle)))
      }),
    'body: the FileHandle of a FileWrapper must be open, not closed',
  ],
]

const chunkRows = applications([
  [
    'a number as the second chunk',
    returning(['x', 1]),
    'body chunk 2: must be a Uint8Array or a string, not 1',
  ],
  [
    'an array as chunk, asynchronously',
    returning(yields(['x'])),
    'body chunk 1: must be a Uint8Array or a string, not an array of 1',
  ],
  [
    'a Promise as chunk',
    returning([Promise.resolve('x')]),
    'body chunk 1: must be a Uint8Array or a string, not an object of class Promise; await it first',
  ],
  [
    'an array with an ArrayBuffer',
    returning([new ArrayBuffer(1)]),
    'body chunk 1: must be a Uint8Array or a string, not an object of class ArrayBuffer',
  ],
  [
    'no startResponse',
    () => ['x'],
    'body chunk 1: came before startResponse; call startResponse first',
  ],
  [
    'no startResponse, and no chunk',
    () => [],
    'body: the end after 0 chunks: came before startResponse; call startResponse first',
  ],
  [
    'a generator that calls startResponse at its second step',
    function* (_environ, startResponse) {
      yield 'x'
      startResponse(OK, PLAIN)
    },
    'body chunk 1: came before startResponse; call startResponse first',
  ],
  [
    'an iterator whose step is not an object',
    returning({ [Symbol.iterator]: () => ({ next: () => undefined }) }),
    'body: next() call 1 must return an object { done, value }, not undefined',
  ],
  [
    'more than Content-Length',
    returning(['ab', 'cd'], OK, withLength('3')),
    'body chunk 2: Content-Length is 3, but 4 bytes came',
  ],
  [
    'less than Content-Length',
    returning([], OK, withLength('1')),
    'body: the end after 0 chunks: Content-Length is 1, but only 0 bytes came',
  ],
  [
    'characters taken for bytes',
    returning(['\u0416'], OK, withLength('1')),
    'body chunk 1: Content-Length is 1, but 2 bytes came',
  ],
  ...['103 Early Hints', '204 No Content', '304 Not Modified'].map(
    (status) =>
      [
        `a body for ${status}`,
        returning(['', 'x'], status, []),
        `body chunk 2: must be empty for status ${status.slice(0, 3)}, which has no body, ` +
          'not 1 byte',
      ] as const,
  ),
])

/** Middleware that gives one chunk for all that it takes. */
function holdBack(): Promise<string> {
  return judge(async () => {
    const warnings: string[] = []
    const inner = validator(returning(['a', 'b', 'c']), { warn: (text) => warnings.push(text) })
    await runApplication(async function* (environ, startResponse) {
      const body = await inner(environ, startResponse)
      let all = ''
      for await (const chunk of body) all += String(chunk)
      await body.close?.()
      yield all
    })
    return { warnings }
  })
}

export const bodyRows: Row[] = [
  ...applicationRows,
  ...chunkRows,
  [
    'a body for HEAD',
    () =>
      judge(() => runApplication(returning(['ab', 'cd']), makeEnviron({ REQUEST_METHOD: 'HEAD' }))),
    'warning: body chunk 1: should be empty for HEAD, not 2 bytes',
  ],
  [
    'middleware that holds back chunks',
    holdBack,
    'warning: middleware: must return a chunk, if only an empty one, for each that it takes; it ' +
      'took chunk 2 and returned none for the one before',
  ],
]
