/** `wsgi.input` under the validator, where it is right. What is wrong is in validate-rows/streams.ts. */
import { Readable } from 'node:stream'
import { describe, expect, test, vi } from 'vitest'
import { PeerError } from '../../src/errors.ts'
import { bytesSource, Input } from '../../src/request/input.ts'
import type { Environ } from '../../src/types.ts'
import { makeEnviron, OK, open, PLAIN } from './harness.ts'

type Act = (input: Environ['wsgi.input']) => unknown

/** Has an application do something with such an input. */
async function use(input: object, act: Act, variables: Partial<Environ> = {}): Promise<unknown> {
  const environ = Object.assign(makeEnviron(variables), { 'wsgi.input': input })
  let result: unknown
  const body = await open(async (given, start) => {
    start(OK, PLAIN)
    result = await act(given['wsgi.input'])
    return []
  }, environ)
  await body.close()
  return result
}

async function drain(source: AsyncIterable<Buffer>): Promise<string[]> {
  const items: string[] = []
  for await (const item of source) items.push(item.toString())
  return items
}

async function readOneChunk(input: Environ['wsgi.input']): Promise<string[]> {
  for await (const chunk of input.chunks()) {
    return [chunk.toString(), (await input.read()).toString()]
  }
  return []
}

const TEXT = 'a\nbc\nd'
const length = { CONTENT_LENGTH: String(TEXT.length) }
const made = () => new Input(bytesSource(Buffer.from(TEXT)), TEXT.length)

describe('an input that keeps its promises', () => {
  test.each<[name: string, act: Act, result: unknown]>([
    ['read()', async (input) => String(await input.read()), TEXT],
    ['read(2)', async (input) => String(await input.read(2)), 'a\n'],
    ['read(0)', async (input) => String(await input.read(0)), ''],
    ['read(undefined)', async (input) => String(await input.read(undefined)), TEXT],
    [
      'read past the end',
      async (input) => [await input.read(9), await input.read(9)].join('|'),
      `${TEXT}|`,
    ],
    ['readline()', async (input) => String(await input.readline()), 'a\n'],
    ['readline(1)', async (input) => String(await input.readline(1)), 'a'],
    ['readline(0)', async (input) => String(await input.readline(0)), ''],
    ['readlines()', async (input) => (await input.readlines()).join('|'), 'a\n|bc\n|d'],
    ['readlines(0)', async (input) => (await input.readlines(0)).join('|'), 'a\n|bc\n|d'],
    ['readlines(2)', async (input) => (await input.readlines(2)).join('|'), 'a\n'],
    ['readlines(3)', async (input) => (await input.readlines(3)).join('|'), 'a\n|bc\n'],
    ['for await', drain, ['a\n', 'bc\n', 'd']],
    ['chunks()', (input) => drain(input.chunks()), [TEXT]],
    ['stream()', (input) => drain(input.stream()), [TEXT]],
    ['a part, and no more', async (input) => String(await input.read(1)), 'a'],
  ])('passes untouched: %s', async (_name, act, result) => {
    expect(await use(made(), act, length)).toEqual(result)
    expect(await use(made(), act)).toEqual(result)
  })

  test('is given the arguments as they are', async () => {
    const read = vi.fn(async () => Buffer.alloc(0))
    await use(Object.assign(made(), { read }), async (input) => {
      await input.read()
      await input.read(2)
    })
    expect(read.mock.calls).toEqual([[], [2]])
  })

  test.each<[string, Act]>([
    ['read()', (input) => input.read()],
    ['chunks()', (input) => drain(input.chunks())],
    ['stream()', (input) => drain(input.stream())],
  ])('keeps its own error where the body is cut short: %s', async (_name, act) => {
    const short = new Input(bytesSource(Buffer.from('ab')), 3)
    const failure = use(short, act, { CONTENT_LENGTH: '3' })
    await expect(failure).rejects.toThrow(PeerError)
    await expect(failure).rejects.toThrow('The request body ended 1 bytes before')
  })

  test('may be left in the midst of its chunks, hears of it, and can be read by others', async () => {
    const left = vi.fn()
    const input = made()
    const chunks = async function* () {
      try {
        yield await input.read(1)
        yield await input.read(1)
      } finally {
        left()
      }
    }
    const watched = new Proxy(input, {
      get(target, key) {
        const value: unknown = key === 'chunks' ? chunks : Reflect.get(target, key)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    expect(await use(watched, readOneChunk, length)).toEqual(['a', TEXT.slice(1)])
    expect(left).toHaveBeenCalledTimes(1)
  })

  test('hears that its stream was given up, even before anybody read it', async () => {
    const inner = Readable.from([Buffer.from('ab')])
    await use(Object.assign(made(), { stream: () => inner }), (input) => {
      const stream = input.stream().destroy()
      return new Promise((resolve) => stream.on('close', resolve))
    })
    expect(inner.destroyed).toBe(true)
  })
})
