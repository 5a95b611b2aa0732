/** What applications do wrong with `wsgi.input` and `wsgi.errors`, and what gateways make of them. */
import { Readable } from 'node:stream'
import type { Environ } from '../../../src/types.ts'
import { answer, app, applications, makeEnviron, OK, PLAIN, refusal, type Row } from '../harness.ts'

/** The streams as somebody without types sees them. */
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
    '2a.44 2b.52 2e.27',
    'read of two',
    reading((input) => input.read(1, 2)),
    'wsgi.input: read() call 1 takes one argument, not 2 arguments',
  ],
  [
    '2e.27',
    'read of -1, the second time',
    reading(async (input) => [await input.read(0), await input.read(-1)]),
    'wsgi.input: read() call 2 takes a whole number from 0, not -1',
  ],
  [
    '2e.27',
    'read of a string',
    reading((input) => input.read('1')),
    'wsgi.input: read() call 1 takes a whole number from 0, not "1"',
  ],
  [
    '2a.45 2e.26',
    'readline of two',
    reading((input) => input.readline(1, 2)),
    'wsgi.input: readline() call 1 takes one argument, not 2 arguments',
  ],
  [
    '2a.46',
    'readlines of two',
    reading((input) => input.readlines(1, 2)),
    'wsgi.input: readlines() call 1 takes one argument, not 2 arguments',
  ],
  [
    '2e.28',
    'chunks of one',
    reading((input) => input.chunks(1).next()),
    'wsgi.input: chunks() call 1 takes no argument, not 1 argument',
  ],
  [
    '',
    'stream of one',
    reading((input) => input.stream(1)),
    'wsgi.input: stream() call 1 takes no argument, not 1 argument',
  ],
  [
    '2a.48',
    'close of the input',
    reading((input) => input.close()),
    'wsgi.input: close() must not be called; the gateway closes it',
  ],
  [
    '2a.51',
    'a method that only some input has',
    reading((input) => input.getValue()),
    'TypeError: input.getValue is not a function',
  ],
  [
    '2f.9',
    'two reads at once',
    reading((input) => Promise.all([input.read(1), input.readline()])),
    'wsgi.input: readline() call 1 came before read() call 1 had finished; each must be awaited',
  ],
  [
    '2f.9',
    'a read after stream()',
    reading((input) => [input.stream(), input.read()][1]),
    'wsgi.input: read() call 1 came before stream() call 1 had finished; each must be awaited',
  ],
  [
    '2a.49 2e.29',
    'errors.write of bytes',
    complaining((errors) => errors.write(Buffer.from('x'))),
    'wsgi.errors: write() call 1 takes a string, not an object of class Buffer',
  ],
  [
    '2a.49',
    'errors.write of nothing, the second time',
    complaining((errors) => [errors.write('x'), errors.write()]),
    'wsgi.errors: write() call 2 takes one argument, not 0 arguments',
  ],
  [
    '2a.49',
    'errors.writelines of two',
    complaining((errors) => errors.writelines([], 1)),
    'wsgi.errors: writelines() call 1 takes one argument, not 2 arguments',
  ],
  [
    '2a.49',
    'errors.writelines of a string',
    complaining((errors) => errors.writelines('ab')),
    'wsgi.errors: writelines() call 1 takes an iterable of strings, not "ab"',
  ],
  [
    '2a.49',
    'errors.writelines of numbers',
    complaining((errors) => errors.writelines(['a', 1])),
    'wsgi.errors: writelines() call 1 takes strings, not 1 as line 2',
  ],
  [
    '2a.49',
    'errors.flush of one',
    complaining((errors) => errors.flush(1)),
    'wsgi.errors: flush() takes no argument, not 1 argument',
  ],
  [
    '2a.50 2e.29',
    'close of the errors',
    complaining((errors) => errors.close()),
    'wsgi.errors: close() must not be called; the gateway closes it',
  ],
  [
    '2a.51',
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
    checks: string,
    what: string,
    input: () => Record<string, unknown>,
    act: Act,
    verdict: string,
  ])[],
): Row[] =>
  table.map(([checks, what, input, act, verdict]) => [
    checks,
    what,
    () =>
      refusal(() => {
        const environ = makeEnviron({ CONTENT_LENGTH: '4' })
        return answer(
          using((given) => act(given['wsgi.input'])),
          Object.assign(environ, { 'wsgi.input': input() }),
        )
      }),
    `wsgi.input: ${verdict}`,
  ])

const early = (call: string, came: string) =>
  `${call} must be an error where the body ends early, not an end after ${came} of CONTENT_LENGTH 4`

const faults = inputs([
  [
    '2a.44',
    'read that blocks',
    () => ({ ...giving(), read: () => Buffer.from('') }),
    (input) => input.read(),
    'read() call 1 must return a Promise, not an object of class Buffer',
  ],
  [
    '2a.44 2e.27',
    'read of null at the end',
    () => giving(...bytes('abcd'), null),
    async (input) => [await input.read(4), await input.read()],
    'read() call 2 must give a Buffer, not null',
  ],
  [
    '2a.44 2e.27',
    'read of a string',
    () => giving('abcd'),
    (input) => input.read(),
    'read() call 1 must give a Buffer, not "abcd"',
  ],
  [
    '2e.27',
    'read of too much',
    () => giving(...bytes('ab')),
    (input) => input.read(1),
    'read() call 1 must give at most 1 byte, not 2',
  ],
  [
    '2a.45 2e.26',
    'readline of null',
    () => giving(null),
    (input) => input.readline(),
    'readline() call 1 must give a Buffer, not null',
  ],
  [
    '2a.45 2e.26',
    'readline of two lines',
    () => giving(...bytes('a\nb')),
    (input) => input.readline(),
    String.raw`readline() call 1 must give one line, not "a\u000ab"`,
  ],
  [
    '2a.45',
    'readline of too much',
    () => giving(...bytes('a\n')),
    (input) => input.readline(1),
    'readline() call 1 must give at most 1 byte, not 2',
  ],
  [
    '2a.47 2e.28',
    'an iteration whose second line is a string',
    () => giving(...bytes('a\n'), 'b\n'),
    drain,
    'readline() call 2 must give a Buffer, not "b\\u000a"',
  ],
  [
    '2a.46',
    'readlines of a Buffer',
    () => giving(...bytes('abcd')),
    (input) => input.readlines(),
    'readlines() call 1 must give an array, not an object of class Buffer',
  ],
  [
    '2a.46',
    'readlines of strings',
    () => giving(['a']),
    (input) => input.readlines(),
    'readlines() call 1, line 1, must give a Buffer, not "a"',
  ],
  [
    '',
    'readlines of pieces of lines',
    () => giving(bytes('a', 'b\n')),
    (input) => input.readlines(),
    String.raw`readlines() call 1, line 2, must not follow one without its "\n"`,
  ],
  [
    '',
    'readlines that overlooks its hint',
    () => giving(bytes('a\n', 'b\n')),
    (input) => input.readlines(1),
    'readlines() call 1, line 2, must not be there: those before it passed 1 byte',
  ],
  [
    '',
    'chunks of strings',
    () => giving(...bytes('a'), 'b'),
    (input) => drain(input.chunks()),
    'chunks() call 1, piece 2, must give a Buffer, not "b"',
  ],
  [
    '',
    'an empty chunk',
    () => giving(...bytes('')),
    (input) => drain(input.chunks()),
    'chunks() call 1, piece 1, must not be empty',
  ],
  [
    '',
    'stream of nothing',
    () => ({ ...giving(), stream: () => undefined }),
    (input) => input.stream(),
    'stream() call 1 must give a Readable, not undefined',
  ],
  [
    '',
    'a stream of strings',
    () => giving(...bytes('a'), 'b'),
    (input) => drain(input.stream()),
    'stream() call 1, piece 2, must give a Buffer, not "b"',
  ],
  [
    '',
    'more than CONTENT_LENGTH, over several reads',
    () => giving(...bytes('abc', 'de')),
    async (input) => [await input.read(3), await input.readline(2)],
    'readline() call 1 must not pass CONTENT_LENGTH 4 with 5 bytes in all',
  ],
  [
    '',
    'more after the end',
    () => giving(...bytes('abcd', '', 'e')),
    async (input) => [await input.read(4), await input.read(1), await input.read(1)],
    'read() call 3 must give nothing after the end, not 1 byte',
  ],
  // A body that is cut short, and does not say so
  [
    '',
    'read of less than is left',
    () => giving(...bytes('abc')),
    (input) => input.read(),
    early('read() call 1', '3 bytes'),
  ],
  [
    '',
    'read of less than was asked for',
    () => giving(...bytes('a', 'b')),
    async (input) => [await input.read(1), await input.read(2)],
    early('read() call 2', '2 bytes'),
  ],
  [
    '',
    'readline of a line without its end',
    () => giving(...bytes('a\n', 'b')),
    drain,
    early('readline() call 2', '3 bytes'),
  ],
  [
    '',
    'readlines of some lines',
    () => giving(bytes('a\n')),
    (input) => input.readlines(),
    early('readlines() call 1', '2 bytes'),
  ],
  [
    '',
    'readlines of less than its hint',
    () => giving(bytes('a\n')),
    (input) => input.readlines(3),
    early('readlines() call 1', '2 bytes'),
  ],
  [
    '',
    'chunks of some bytes',
    () => giving(...bytes('a')),
    (input) => drain(input.chunks()),
    early('chunks() call 1', '1 byte'),
  ],
  [
    '',
    'a stream of some bytes',
    () => giving(...bytes('ab', 'c')),
    (input) => drain(input.stream()),
    early('stream() call 1', '3 bytes'),
  ],
])

export const streamRows: Row[] = [...misuses, ...faults]
