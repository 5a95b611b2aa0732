/** Rows about what an application may be, and what it may return. */
import { Buffer } from 'node:buffer'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Application, Chunk, Environ, StartResponse } from '../../types.ts'
import { FileWrapper } from '../../wsgiref/util.ts'
import { validator } from '../../validate/validator.ts'
import { reportClose, text, watched, type Row } from '../row.ts'
import { BINARY } from './input.ts'

/** 4 MiB in total: far more than all buffers between an application and its peer hold. */
const BLOCK = Buffer.alloc(65_536, 'block ')
const BLOCKS = 64

const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', text(['Date', 'Mon, 05 Jun 2006 18:49:54 GMT']))
  return ['Hello, world!']
}

/** An object with `next` and `close`, as Plack's getline. */
class Counter {
  readonly #environ: Environ
  readonly #last: number
  #count = 0

  constructor(environ: Environ, last: number) {
    this.#environ = environ
    this.#last = last
  }

  [Symbol.iterator](): this {
    return this
  }

  next(): IteratorResult<Chunk> {
    if (this.#count === this.#last) return { done: true, value: undefined }
    this.#count += 1
    return { done: false, value: String(this.#count) }
  }

  close(): void {
    reportClose(this.#environ)
  }
}

class HelloClass {
  readonly #startResponse: StartResponse

  constructor(_environ: Environ, startResponse: StartResponse) {
    this.#startResponse = startResponse
  }

  *[Symbol.iterator](): Generator<Chunk> {
    this.#startResponse('200 OK', text())
    yield 'Hello, '
    yield 'class'
  }
}

/** An application of some kind that responds with `body`. */
function kind(name: string, application: Row['application'], expect: Row['expect']): Row {
  return { name, request: { target: '/' }, application, expect }
}

export const applicationRows: readonly Row[] = [
  kind('a function returns an array', hello, {
    body: 'Hello, world!',
    headers: { 'Content-Type': ['text/plain'], 'Content-Length': ['13'] },
  }),
  kind('a response is the same under the validator', validator(hello), { body: 'Hello, world!' }),
  kind(
    'a bare string is one chunk',
    ((_environ, startResponse) => {
      startResponse('200 OK', text())
      return 'a string'
    }) as Application,
    { body: 'a string', headers: { 'Content-Length': ['8'] } },
  ),
  kind(
    'a generator announces its head before its first chunk',
    function* (_environ, startResponse) {
      startResponse('200 OK', text())
      yield 'one '
      yield Buffer.from('two ')
      yield new Uint8Array([0x33])
    } as Application,
    { body: 'one two 3' },
  ),
  kind(
    'an async function takes its time',
    async (_environ, startResponse) => {
      await sleep(5)
      startResponse('200 OK', text())
      return ['late']
    },
    { body: 'late', headers: { 'Content-Length': ['4'] } },
  ),
  kind(
    'an async generator streams',
    async function* (_environ, startResponse) {
      startResponse('200 OK', text())
      yield 'a'
      await sleep(5)
      yield 'b'
      yield 'c'
    } as Application,
    { body: 'abc' },
  ),
  kind('a class is constructed and iterated', HelloClass, { body: 'Hello, class' }),
  kind(
    'an object with next and close is read and closed',
    (environ, startResponse) => {
      startResponse('200 OK', text())
      return new Counter(environ, 4)
    },
    { body: '1234', closed: 1 },
  ),
  kind(
    'a Node stream is a body',
    (_environ, startResponse) => {
      startResponse('200 OK', text())
      return Readable.from([Buffer.from('from '), Buffer.from('a stream')])
    },
    { body: 'from a stream' },
  ),
  kind(
    'a file is sent whole',
    (environ, startResponse) => {
      const Wrapper = environ['wsgi.file_wrapper'] as typeof FileWrapper
      startResponse('200 OK', text())
      return new Wrapper(fileOf(environ, BINARY))
    },
    { body: BINARY, closed: 1 },
  ),
  kind(
    'a file with a length is sent, of whatever build the wrapper is',
    (environ, startResponse) => {
      startResponse('200 OK', text(['Content-Length', '14750']))
      return new FileWrapper(fileOf(environ, BINARY.subarray(0, 14_750)))
    },
    { body: BINARY.subarray(0, 14_750), headers: { 'Content-Length': ['14750'] }, closed: 1 },
  ),
  kind(
    'write() sends without a length',
    (_environ, startResponse) => {
      void startResponse('200 OK', text())('http')
      return []
    },
    { body: 'http' },
  ),
  kind(
    'three calls of write() are one body, and the returned body follows',
    async (_environ, startResponse) => {
      const write = startResponse('200 OK', text())
      for (const word of ['one ', 'two ', 'three ']) await write(word)
      return ['four']
    },
    { body: 'one two three four' },
  ),
  kind(
    'empty chunks end nothing',
    async function* (_environ, startResponse) {
      startResponse('200 OK', text())
      yield ''
      yield 'a'
      yield ''
      yield new Uint8Array()
      yield 'b'
      yield ''
    } as Application,
    { body: 'ab' },
  ),
  kind(
    'a large body streams through',
    async function* (_environ, startResponse) {
      startResponse('200 OK', text())
      for (let i = 0; i < BLOCKS; i += 1) yield BLOCK
    } as Application,
    { body: () => Buffer.concat(Array.from({ length: BLOCKS }, () => BLOCK)) },
  ),
  kind(
    'binary stays binary',
    (_environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'application/octet-stream']])
      return [BINARY.subarray(0, 1000), BINARY.subarray(1000)]
    },
    { body: BINARY, headers: { 'Content-Length': ['96000'] } },
  ),
  kind(
    'what looks like a head is body',
    (_environ, startResponse) => {
      startResponse('200 OK', text())
      return ['Foo: Bar\r\n\r\nHello World']
    },
    { body: 'Foo: Bar\r\n\r\nHello World' },
  ),
  kind(
    'a line feed stays one byte',
    (_environ, startResponse) => {
      startResponse('200 OK', text())
      return ['Bar\nBaz']
    },
    { body: 'Bar\nBaz', headers: { 'Content-Length': ['7'] } },
  ),
  kind(
    'a string is sent as UTF-8, and its length is in bytes',
    (_environ, startResponse) => {
      startResponse('200 OK', text())
      return ['абвг']
    },
    { body: 'абвг', headers: { 'Content-Length': ['8'] } },
  ),
  kind(
    'an array with close() has a length, and is closed',
    (environ, startResponse) => {
      startResponse('200 OK', text())
      return watched(environ, ['a', 'b'])
    },
    { body: 'ab', headers: { 'Content-Length': ['2'] }, closed: 1 },
  ),
  kind(
    'wsgi.errors takes text',
    (environ, startResponse) => {
      environ['wsgi.errors'].write('a word for the log\n')
      environ['wsgi.errors'].flush()
      startResponse('200 OK', text())
      return ['written']
    },
    { body: 'written', logged: 'a word for the log\n' },
  ),
  kind(
    'portico.signal is there, and not aborted',
    (environ, startResponse) => {
      startResponse('200 OK', text())
      return [String(environ['portico.signal'].aborted)]
    },
    { body: 'false' },
  ),
]

/** Bytes as a file object in Python's style. */
function fileOf(environ: Environ, bytes: Buffer) {
  let at = 0
  return {
    read(size: number): Buffer {
      const part = bytes.subarray(at, at + size)
      at += part.length
      return part
    },
    close: () => reportClose(environ),
  }
}
