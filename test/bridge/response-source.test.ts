/**
 * `takeSource`: a Response is answered the same, byte for byte, whether it is known what it was made
 * of (Node 20 and 22) or its stream has to be read (Node 24, a polyfill).
 */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { fromFetch, type FetchHandler } from '../../src/fetch.ts'
import type { Application } from '../../src/types.ts'
import { answer, ERROR_PAGE } from './harness.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** The bridge of a process in which the insides of a Response are hidden, as Node 24 hides them. */
async function loadBlind(): Promise<typeof fromFetch> {
  vi.resetModules()
  const { fromFetch: bridge } = await import('../../src/fetch.ts')
  const insides = vi.spyOn(Object, 'getOwnPropertySymbols').mockReturnValue([])
  for (let i = 0; i < 3; i += 1) await answer(bridge(() => new Response('x')))
  expect(insides).toHaveBeenCalledTimes(2) // Once for a Request, once for a Response.
  insides.mockRestore()
  return bridge
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
    const blind = await loadBlind()
    const [seen, read] = [await answer(fromFetch(make)), await answer(blind(make))]
    expect(seen).toEqual(read)
    expect(seen.err).toBe('')
    if (body !== undefined) expect(seen.out.split('\r\n\r\n')[1]).toBe(body)
  })
})

/** The answers of an application to two requests, and whether something was logged. */
async function twice(application: Application): Promise<[string, boolean][]> {
  const answers = [await answer(application), await answer(application)]
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
  const blind = await loadBlind()
  const [first, second] = await twice(fromFetch(make()))
  expect([first, second]).toEqual(await twice(blind(make())))
  expect(second).toEqual([ERROR_PAGE, true])
  expect(first![1]).toBe(reason !== 'has been sent before')
})
