/** `wsgi.input` under the validator, as a gateway has to make it. */
import { Readable } from 'node:stream'
import { describe, expect, test, vi } from 'vitest'
import { ApplicationError } from '../src/errors.ts'
import type { Environ } from '../src/types.ts'
import { makeEnviron, OK, open, PLAIN } from './validate-harness.ts'

const full = {
  read: async (): Promise<unknown> => Buffer.from('ab'),
  readline: async (): Promise<unknown> => Buffer.from('a\n'),
  readlines: async (): Promise<unknown> => [Buffer.from('a\n')],
  stream: (): unknown => Readable.from([]),
  async *chunks(): AsyncGenerator {
    yield Buffer.from('ab')
  },
  async *[Symbol.asyncIterator](): AsyncGenerator {},
}
/** Has an application do something with such an input. */
const use = async (
  input: Record<string, unknown>,
  act: (input: Environ['wsgi.input']) => unknown,
  variables: Partial<Environ> = {},
) => {
  const environ = Object.assign(makeEnviron(variables), { 'wsgi.input': { ...full, ...input } })
  let result: unknown
  const body = await open(async (given, start) => {
    start(OK, PLAIN)
    result = await act(given['wsgi.input'])
    return []
  }, environ)
  await body.close()
  return result
}
const drain = async <T>(source: AsyncIterable<T>) => {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}

async function readTwice(input: Environ['wsgi.input']): Promise<void> {
  await input.read(2)
  await input.readline()
}

async function readOneChunk(input: Environ['wsgi.input']): Promise<Buffer[]> {
  for await (const chunk of input.chunks()) return [chunk, await input.read()]
  return []
}

describe('wsgi.input has to give what it promises', () => {
  const rows: [
    string,
    Record<string, unknown>,
    (input: Environ['wsgi.input']) => unknown,
    string,
  ][] = [
    [
      'read that blocks',
      { read: () => Buffer.from('') },
      (input) => input.read(),
      'read() must return a Promise, not an object of class Buffer',
    ],
    [
      'read of null at the end',
      { read: async () => null },
      (input) => input.read(),
      'read() must resolve to a Buffer, not null',
    ],
    [
      'read of a string',
      { read: async () => 'x' },
      (input) => input.read(),
      'read() must resolve to a Buffer, not "x"',
    ],
    [
      'read of too much',
      {},
      (input) => input.read(1),
      'read() gave 2 bytes where 1 were asked for',
    ],
    [
      'readline of two lines',
      { readline: async () => Buffer.from('a\nb') },
      (input) => input.readline(),
      'readline() gave more than one line',
    ],
    [
      'readline of too much',
      {},
      (input) => input.readline(1),
      'readline() gave 2 bytes where 1 were asked for',
    ],
    [
      'readline of null',
      { readline: async () => null },
      (input) => drain(input),
      'readline() must resolve to a Buffer, not null',
    ],
    [
      'readlines of a Buffer',
      { readlines: async () => Buffer.from('') },
      (input) => input.readlines(),
      'readlines() must resolve to an array, not an object of class Buffer',
    ],
    [
      'readlines of strings',
      { readlines: async () => ['a'] },
      (input) => input.readlines(),
      'readlines() must resolve to a Buffer, not "a"',
    ],
    [
      'chunks of strings',
      {
        chunks: async function* () {
          yield 'a'
        },
      },
      (input) => drain(input.chunks()),
      'chunks() must resolve to a Buffer, not "a"',
    ],
    [
      'an empty chunk',
      {
        chunks: async function* () {
          yield Buffer.alloc(0)
        },
      },
      (input) => drain(input.chunks()),
      'chunks() must not give an empty piece',
    ],
    [
      'stream of nothing',
      { stream: () => undefined },
      (input) => input.stream(),
      'stream() must return a Readable, not undefined',
    ],
  ]

  test.each(rows)('%s', async (_name, input, act, message) => {
    await expect(use(input, act)).rejects.toThrow(new ApplicationError(`wsgi.input: ${message}`))
  })

  test('more bytes than CONTENT_LENGTH, over several reads', async () => {
    await expect(use({}, readTwice, { CONTENT_LENGTH: '3' })).rejects.toThrow(
      new ApplicationError('wsgi.input: readline() passed CONTENT_LENGTH 3 by 1'),
    )
    await expect(use({}, readTwice, { CONTENT_LENGTH: '4' })).resolves.toBeUndefined()
  })

  test('what is right comes through as it is; arguments as well', async () => {
    const read = vi.fn(full.read)
    expect(await use({ read }, (input) => input.read())).toEqual(Buffer.from('ab'))
    expect(await use({ read }, (input) => input.read(2))).toEqual(Buffer.from('ab'))
    expect(read.mock.calls).toEqual([[], [2]])
    expect(await use({}, (input) => input.readline())).toEqual(Buffer.from('a\n'))
    expect(await use({}, (input) => input.readlines(9))).toEqual([Buffer.from('a\n')])
    expect(await use({}, (input) => drain(input.chunks()))).toEqual([Buffer.from('ab')])
    expect(await use({}, (input) => drain(input.stream()))).toEqual([])
    const lines = [Buffer.from('a\n'), Buffer.from('b'), Buffer.alloc(0)]
    const readline = async () => lines.shift()
    expect(await use({ readline }, (input) => drain(input))).toEqual([
      Buffer.from('a\n'),
      Buffer.from('b'),
    ])
  })

  test('leaving chunks() early tells the input, and lets others read', async () => {
    const left = vi.fn()
    const chunks = async function* () {
      try {
        yield Buffer.from('a')
        yield Buffer.from('b')
      } finally {
        left()
      }
    }
    expect(await use({ chunks }, readOneChunk)).toEqual([Buffer.from('a'), Buffer.from('ab')])
    expect(left).toHaveBeenCalledTimes(1)
  })
})
