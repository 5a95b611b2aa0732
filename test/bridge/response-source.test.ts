/**
 * `takeSource`: a Response is answered the same, byte for byte, whether it is known what it was made
 * of (Node 20 and 22) or its stream has to be read (Node 24, a polyfill).
 */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { fromFetch, type FetchHandler } from '../../src/exports/fetch.ts'
import { answer, ERROR_PAGE, type Answered } from './harness.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** The same bridge where the insides of a Response are hidden, as Node 24 hides them. */
async function read(handler: FetchHandler): Promise<Answered> {
  const insides = vi.spyOn(Object, 'getOwnPropertySymbols').mockReturnValue([])
  try {
    const answered = await answer(fromFetch(handler))
    expect(insides).toHaveBeenCalled()
    return answered
  } finally {
    insides.mockRestore()
  }
}

const bytes = new Uint8Array([0, 255, 128])
class Own extends Response {}

describe('a Response of', () => {
  test.each<[string, () => Response, string?]>([
    ['a text', () => new Response('J\xfcrgen \u20ac \ud800!')],
    ['no text', () => new Response('')],
    ['a long text', () => new Response('\u20ac'.repeat(100_000))],
    ['bytes', () => new Response(bytes)],
    ['a part of a Buffer', () => new Response(Buffer.from('abcdef').subarray(2, 4)), 'cd'],
    ['an ArrayBuffer', () => new Response(bytes.buffer)],
    ['64 KiB', () => new Response(Buffer.alloc(65_536, 'portico '))],
    [
      'a query',
      () => new Response(new URLSearchParams({ a: '1', b: '\u20ac' })),
      'a=1&b=%E2%82%AC',
    ],
    ['a Blob', () => new Response(new Blob(['a', 'b'])), 'ab'],
    ['JSON', () => Response.json({ a: 1 }), '{"a":1}'],
    ['a subclass', () => new Own('own'), 'own'],
    ['a clone', () => new Response('cloned').clone(), 'cloned'],
    [
      'what has been cloned',
      () => {
        const response = new Response('cloned')
        response.clone()
        return response
      },
      'cloned',
    ],
    [
      'bytes that were changed behind it',
      () => {
        const own = Buffer.from('before')
        const response = new Response(own)
        own.fill('x')
        return response
      },
      'before',
    ],
    ['a status of its own', () => new Response('no', { status: 404, statusText: 'Gone fishing' })],
  ])('%s', async (_, make, body) => {
    const seen = await answer(fromFetch(make))
    expect(seen).toEqual(await read(make))
    expect(seen.err).toBe('')
    if (body !== undefined) expect(seen.out.split('\r\n\r\n')[1]).toBe(body)
  })
})

/** The answers to two requests, and whether something was logged. */
async function twice(ask: () => Promise<Answered>): Promise<[string, boolean][]> {
  const answers = [await ask(), await ask()]
  return answers.map(({ out, err }) => [out, err !== ''])
}

test.each<[string, () => FetchHandler]>([
  [
    'has been sent before',
    () => {
      const response = new Response('x')
      return () => response
    },
  ],
  [
    'has been read',
    () => {
      const response = new Response('x')
      return async () => {
        await response.text().catch(() => '')
        return response
      }
    },
  ],
  [
    'somebody else reads',
    () => () => {
      const response = new Response('x')
      response.body!.getReader()
      return response
    },
  ],
])('a Response that %s is an error', async (reason, make) => {
  const [seen, hidden] = [make(), make()]
  const [first, second] = await twice(() => answer(fromFetch(seen)))
  expect([first, second]).toEqual(await twice(() => read(hidden)))
  expect(second).toEqual([ERROR_PAGE, true])
  expect(first![1]).toBe(reason !== 'has been sent before')
})

test('a Response of a polyfill needs none of the globals', async () => {
  const { Response: RealResponse } = globalThis
  const polyfill = {
    status: 200,
    headers: new Headers(),
    body: new RealResponse('polyfilled').body,
    statusText: '',
  }
  vi.stubGlobal('Response', undefined)
  try {
    const { out, err } = await answer(fromFetch(() => polyfill as Response))
    expect([out.split('\r\n\r\n')[1], err]).toEqual(['polyfilled', ''])
  } finally {
    vi.unstubAllGlobals()
  }
})
