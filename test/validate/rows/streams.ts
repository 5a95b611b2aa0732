/** Violations in the use of `wsgi.input` and `wsgi.errors`, by applications and by gateways. */
import { Readable } from 'node:stream'
import type { Environ } from '../../../src/types.ts'
import {
  runApplication,
  app,
  applications,
  makeEnviron,
  OK,
  PLAIN,
  refusal,
  type Row,
} from '../harness.ts'

/** The streams as untyped code sees them. */
type Method = (...args: unknown[]) => unknown
type LooseErrors = Record<'write' | 'writelines' | 'flush' | 'close' | 'end', Method>
interface LooseInput extends Record<
  'read' | 'readline' | 'readlines' | 'stream' | 'close' | 'getValue',
  Method
> {
  chunks(...args: unknown[]): AsyncGenerator
  [Symbol.asyncIterator](): AsyncGenerator
}

const using = (use: (environ: Environ) => unknown) =>
  app(async (environ, startResponse) => {
    startResponse(OK, PLAIN)
    await use(environ)
    return []
  })
const reading = (read: (input: LooseInput) => unknown) =>
  using((environ) => read(environ['wsgi.input'] as never))
const complaining = (complain: (errors: LooseErrors) => unknown) =>
  using((environ) => complain(environ['wsgi.errors'] as never))

async function drain<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}

const misuses = applications([
  [
    'read of two',
    reading((input) => input.read(1, 2)),
    'wsgi.input: read() call 1 takes one argument, not 2 arguments',
  ],
  [
    'read of -1, the second time',
    reading(async (input) => [await input.read(0), await input.read(-1)]),
    'wsgi.input: read() call 2 takes a whole number of 0 or more, not -1',
  ],
  [
    'read of a string',
    reading((input) => input.read('1')),
    'wsgi.input: read() call 1 takes a whole number of 0 or more, not "1"',
  ],
  [
    'readline of two',
    reading((input) => input.readline(1, 2)),
    'wsgi.input: readline() call 1 takes one argument, not 2 arguments',
  ],
  [
    'readlines of two',
    reading((input) => input.readlines(1, 2)),
    'wsgi.input: readlines() call 1 takes one argument, not 2 arguments',
  ],
  [
    'chunks of one',
    reading((input) => input.chunks(1).next()),
    'wsgi.input: chunks() call 1 takes no argument, not 1 argument',
  ],
  [
    'stream of one',
    reading((input) => input.stream(1)),
    'wsgi.input: stream() call 1 takes no argument, not 1 argument',
  ],
  [
    'close of the input',
    reading((input) => input.close()),
    'wsgi.input: the application must not call close(); the gateway does',
  ],
  [
    'a method that only some input has',
    reading((input) => input.getValue()),
    'TypeError: input.getValue is not a function',
  ],
  [
    'two reads at once',
    reading((input) => Promise.all([input.read(1), input.readline()])),
    'wsgi.input: readline() call 1 called before read() call 1 had finished; await each call',
  ],
  [
    'a read after stream()',
    reading((input) => [input.stream(), input.read()][1]),
    'wsgi.input: read() call 1 called before stream() call 1 had finished; await each call',
  ],
  [
    'errors.write of bytes',
    complaining((errors) => errors.write(Buffer.from('x'))),
    'wsgi.errors: write() call 1 takes a string, not an object of class Buffer',
  ],
  [
    'errors.write of nothing, the second time',
    complaining((errors) => [errors.write('x'), errors.write()]),
    'wsgi.errors: write() call 2 takes one argument, not 0 arguments',
  ],
  [
    'errors.writelines of two',
    complaining((errors) => errors.writelines([], 1)),
    'wsgi.errors: writelines() call 1 takes one argument, not 2 arguments',
  ],
  [
    'errors.writelines of a string',
    complaining((errors) => errors.writelines('ab')),
    'wsgi.errors: writelines() call 1 takes an iterable of strings, not "ab"',
  ],
  [
    'errors.writelines of numbers',
    complaining((errors) => errors.writelines(['a', 1])),
    'wsgi.errors: writelines() call 1 takes strings, not 1 as line 2',
  ],
  [
    'errors.flush of one',
    complaining((errors) => errors.flush(1)),
    'wsgi.errors: flush() takes no argument, not 1 argument',
  ],
  [
    'close of the errors',
    complaining((errors) => errors.close()),
    'wsgi.errors: the application must not call close(); the gateway does',
  ],
  [
    'a method that only some errors have',
    complaining((errors) => errors.end()),
    'TypeError: errors.end is not a function',
  ],
])

const bytes = (...texts: string[]) => texts.map((text) => Buffer.from(text))
/** An input whose methods give these, one after the other. */
const giving = (...results: unknown[]): Record<string, unknown> => {
  const next = async () => results.shift()
  return {
    read: next,
    readline: next,
    readlines: next,
    chunks: () => results.values(),
    stream: () => Readable.from(results),
    async *[Symbol.asyncIterator](): AsyncGenerator {},
  }
}
type Act = (input: Environ['wsgi.input']) => unknown

/** Has an application do something with an input that its gateway has made badly. */
const inputs = (
  table: readonly (readonly [
    violation: string,
    input: () => Record<string, unknown>,
    act: Act,
    message: string,
  ])[],
): Row[] =>
  table.map(([violation, input, act, message]) => [
    violation,
    () =>
      refusal(() => {
        const environ = makeEnviron({ CONTENT_LENGTH: '4' })
        return runApplication(
          using((given) => act(given['wsgi.input'])),
          Object.assign(environ, { 'wsgi.input': input() }),
        )
      }),
    `wsgi.input: ${message}`,
  ])

const early = (call: string, came: string) =>
  `${call} must reject if the body ends early, not end after ${came} of CONTENT_LENGTH 4`

const faults = inputs([
  [
    'read that blocks',
    () => ({ ...giving(), read: () => Buffer.from('') }),
    (input) => input.read(),
    'read() call 1 must return a Promise, not an object of class Buffer',
  ],
  [
    'read of null at the end',
    () => giving(...bytes('abcd'), null),
    async (input) => [await input.read(4), await input.read()],
    'read() call 2 must return a Buffer, not null',
  ],
  [
    'read of a string',
    () => giving('abcd'),
    (input) => input.read(),
    'read() call 1 must return a Buffer, not "abcd"',
  ],
  [
    'read of too much',
    () => giving(...bytes('ab')),
    (input) => input.read(1),
    'read() call 1 must return at most 1 byte, not 2',
  ],
  [
    'readline of null',
    () => giving(null),
    (input) => input.readline(),
    'readline() call 1 must return a Buffer, not null',
  ],
  [
    'readline of two lines',
    () => giving(...bytes('a\nb')),
    (input) => input.readline(),
    String.raw`readline() call 1 must return one line, not "a\u000ab"`,
  ],
  [
    'readline of too much',
    () => giving(...bytes('a\n')),
    (input) => input.readline(1),
    'readline() call 1 must return at most 1 byte, not 2',
  ],
  [
    'an iteration whose second line is a string',
    () => giving(...bytes('a\n'), 'b\n'),
    drain,
    'readline() call 2 must return a Buffer, not "b\\u000a"',
  ],
  [
    'readlines of a Buffer',
    () => giving(...bytes('abcd')),
    (input) => input.readlines(),
    'readlines() call 1 must return an array, not an object of class Buffer',
  ],
  [
    'readlines of strings',
    () => giving(['a']),
    (input) => input.readlines(),
    'readlines() call 1, line 1, must return a Buffer, not "a"',
  ],
  [
    'readlines that returns parts of lines',
    () => giving(bytes('a', 'b\n')),
    (input) => input.readlines(),
    String.raw`readlines() call 1, line 2, must not follow a line without "\n"`,
  ],
  [
    'readlines that overlooks its hint',
    () => giving(bytes('a\n', 'b\n')),
    (input) => input.readlines(1),
    'readlines() call 1, line 2, is one too many: the lines before it have more than 1 byte',
  ],
  [
    'chunks of strings',
    () => giving(...bytes('a'), 'b'),
    (input) => drain(input.chunks()),
    'chunks() call 1, chunk 2, must return a Buffer, not "b"',
  ],
  [
    'an empty chunk',
    () => giving(...bytes('')),
    (input) => drain(input.chunks()),
    'chunks() call 1, chunk 1, must not be empty',
  ],
  [
    'stream of nothing',
    () => ({ ...giving(), stream: () => undefined }),
    (input) => input.stream(),
    'stream() call 1 must return a Readable, not undefined',
  ],
  [
    'a stream of strings',
    () => giving(...bytes('a'), 'b'),
    (input) => drain(input.stream()),
    'stream() call 1, chunk 2, must return a Buffer, not "b"',
  ],
  [
    'more than CONTENT_LENGTH, over several reads',
    () => giving(...bytes('abc', 'de')),
    async (input) => [await input.read(3), await input.readline(2)],
    'readline() call 1 must not exceed CONTENT_LENGTH 4 with 5 bytes in total',
  ],
  [
    'more after the end',
    () => giving(...bytes('abcd', '', 'e')),
    async (input) => [await input.read(4), await input.read(1), await input.read(1)],
    'read() call 3 must return nothing after the end, not 1 byte',
  ],
  // A body that is cut short, and does not say so
  [
    'read of less than is left',
    () => giving(...bytes('abc')),
    (input) => input.read(),
    early('read() call 1', '3 bytes'),
  ],
  [
    'read of less than was asked for',
    () => giving(...bytes('a', 'b')),
    async (input) => [await input.read(1), await input.read(2)],
    early('read() call 2', '2 bytes'),
  ],
  [
    'readline of a line without its end',
    () => giving(...bytes('a\n', 'b')),
    drain,
    early('readline() call 2', '3 bytes'),
  ],
  [
    'readlines of some lines',
    () => giving(bytes('a\n')),
    (input) => input.readlines(),
    early('readlines() call 1', '2 bytes'),
  ],
  [
    'readlines of less than its hint',
    () => giving(bytes('a\n')),
    (input) => input.readlines(3),
    early('readlines() call 1', '2 bytes'),
  ],
  [
    'chunks of some bytes',
    () => giving(...bytes('a')),
    (input) => drain(input.chunks()),
    early('chunks() call 1', '1 byte'),
  ],
  [
    'a stream of some bytes',
    () => giving(...bytes('ab', 'c')),
    (input) => drain(input.stream()),
    early('stream() call 1', '3 bytes'),
  ],
])

export const streamRows: Row[] = [...misuses, ...faults]
