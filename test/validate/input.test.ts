/** Correct uses of `wsgi.input` under the validator. Violations are in rows/streams.ts. */
import { PassThrough, Readable } from 'node:stream'
import { describe, expect, test, vi } from 'vitest'
import { PeerError } from '../../src/errors.ts'
import { bytesSource, Input } from '../../src/request/input.ts'
import type { Environ, InputStream } from '../../src/types.ts'
import { FieldStorage } from '../../src/exports/forms.ts'
import { validator } from '../../src/validate/validator.ts'
import { makeEnviron, OK, open, PLAIN, startResponse } from './harness.ts'

type Act = (input: Environ['wsgi.input']) => unknown

/** Lets an application do something with this input. */
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

describe('A correct use of wsgi.input:', () => {
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
    ['a partial read', async (input) => String(await input.read(1)), 'a'],
  ])('the validator does not change the result of %s', async (_name, act, result) => {
    expect(await use(made(), act, length)).toEqual(result)
    expect(await use(made(), act)).toEqual(result)
  })

  test('the validator passes the arguments of read() on unchanged', async () => {
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
  ])('the validator does not change the error of a truncated body: %s', async (_name, act) => {
    const short = new Input(bytesSource(Buffer.from('ab')), 3)
    const failure = use(short, act, { CONTENT_LENGTH: '3' })
    await expect(failure).rejects.toThrow(PeerError)
    await expect(failure).rejects.toThrow('The request body ended 1 bytes before')
  })

  test('chunks() can be stopped early, is closed then, and other reads continue after it', async () => {
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

  test('destroying the validated stream destroys the stream of the gateway, even if it was never read', async () => {
    const inner = Readable.from([Buffer.from('ab')])
    await use(Object.assign(made(), { stream: () => inner }), (input) => {
      const stream = input.stream().destroy()
      return new Promise((resolve) => stream.on('close', resolve))
    })
    expect(inner.destroyed).toBe(true)
  })
})

type Use = (input: InputStream) => Promise<unknown>
/** An extra argument, which the types do not allow. */
const extra: [] = JSON.parse('[1]') as []

test.each<[string, Use, Use]>([
  ['read()', (input) => input.read(), (input) => input.read(-1)],
  ['readline()', (input) => input.readline(), (input) => input.readline(-1)],
  ['readlines()', (input) => input.readlines(), (input) => input.readlines(-1)],
  [
    'second chunk',
    (input) => {
      const chunks = input.chunks()
      void chunks.next()
      return chunks.next()
    },
    (input) => input.chunks(...extra).next(),
  ],
])(
  'A client that disconnects does not end the process before a validated %s is awaited; a violation would',
  async (_, begin, violate) => {
    const unhandled: unknown[] = []
    const listener = (error: unknown) => unhandled.push(error)
    process.on('unhandledRejection', listener)
    try {
      const error = await use(new Input(bytesSource(Buffer.from('abc')), 10), async (input) => {
        const promise = begin(input)
        for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
        return promise.catch((reason: unknown) => reason)
      })
      expect(error).toMatchObject({ code: 'PORTICO_BODY_CUT_SHORT' })
      expect(unhandled).toEqual([])
      await use(made(), async (input) => {
        void violate(input)
        for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
      })
      expect(unhandled).toEqual([expect.objectContaining({ code: 'PORTICO_APPLICATION' })])
    } finally {
      process.off('unhandledRejection', listener)
    }
  },
)

const pipe: Act = async (input) => {
  const stream = input.stream()
  stream.pipe(new PassThrough()).resume()
  await expect.poll(() => stream.destroyed).toBe(true)
  await new Promise(setImmediate)
}

test('A client that disconnects does not end the process while a validated stream() is only piped; a violation would', async () => {
  const uncaught: unknown[] = []
  const listener = (error: unknown) => uncaught.push(error)
  const others = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', listener)
  try {
    await use(new Input(bytesSource(Buffer.from('abc')), 10), pipe)
    expect(uncaught).toEqual([])
    // Its bytes are strings.
    await use(Object.assign(made(), { stream: () => Readable.from(['a']) }), pipe)
    expect(uncaught).toEqual([expect.objectContaining({ code: 'PORTICO_APPLICATION' })])
  } finally {
    process.off('uncaughtException', listener)
    for (const other of others) process.on('uncaughtException', other)
  }
})

describe('A second reader of the body:', () => {
  const readers: [string, (environ: Environ) => unknown][] = [
    ['read()', (environ) => environ['wsgi.input'].read()],
    ['chunks()', (environ) => drain(environ['wsgi.input'].chunks())],
    ['readlines()', (environ) => environ['wsgi.input'].readlines()],
    ['iteration', (environ) => drain(environ['wsgi.input'])],
  ]
  const first: typeof readers = [
    ...readers,
    ['a form parser', (environ) => FieldStorage.parse(environ)],
  ]

  test.each(
    first.flatMap(([name, read]) =>
      readers.map(([second, again]) => [name, second, read, again] as const),
    ),
  )('the validator warns if %s is followed by %s', async (_name, _second, read, again) => {
    const warnings: string[] = []
    const environ = makeEnviron({ REQUEST_METHOD: 'POST', ...FORM })
    environ['wsgi.input'] = new Input(bytesSource(Buffer.from('a=1&b=2')), 7)
    const reader = validator(
      async (_environ, start) => {
        await read(environ)
        await again(environ)
        start(OK, PLAIN)
        return []
      },
      { warn: (message) => warnings.push(message) },
    )
    const body = await reader(environ, startResponse)
    body.close?.()
    expect(warnings).toEqual([
      expect.stringMatching(
        /^wsgi\.input: .* gets nothing: 7 bytes of body were already read to the end/,
      ),
    ])
  })

  test('the validator does not warn about reads with a size after the end', async () => {
    const warnings: string[] = []
    const environ = makeEnviron({ CONTENT_LENGTH: '2' })
    environ['wsgi.input'] = new Input(bytesSource(Buffer.from('ab')), 2)
    const reader = validator(
      async (given, start) => {
        while ((await given['wsgi.input'].read(1)).length > 0);
        start(OK, PLAIN)
        return []
      },
      { warn: (message) => warnings.push(message) },
    )
    const body = await reader(environ, startResponse)
    body.close?.()
    expect(warnings).toEqual([])
  })
})

const FORM = { CONTENT_TYPE: 'application/x-www-form-urlencoded', CONTENT_LENGTH: '7' }
