/** The cache of header names: clients may send any number of names of any length. */
import type { IncomingMessage } from 'node:http'
import { afterEach, beforeEach, expect, test, vi, type MockInstance } from 'vitest'
import { createEnviron } from '../../src/environ/environ.ts'
import type { Environ } from '../../src/types.ts'

let addHeaders: typeof import('../../src/environ/from-http.ts').addHeaders
let set: MockInstance<Map<unknown, unknown>['set']>
beforeEach(async () => {
  vi.resetModules() // With nothing remembered yet.
  ;({ addHeaders } = await import('../../src/environ/from-http.ts'))
  set = vi.spyOn(Map.prototype, 'set')
})
afterEach(() => vi.restoreAllMocks())

/** The names of this test that the maps contain. */
function remembered(): string[] {
  const keys = set.mock.calls.map(([key]) => String(key))
  return keys.filter((key) => key.startsWith('X-') || key.startsWith('X_'))
}

function environOf(...names: string[]): Environ {
  const environ = createEnviron()
  const rawHeaders = names.flatMap((name) => [name, 'value'])
  addHeaders(environ, { rawHeaders, httpVersion: '1.1' } as IncomingMessage, 10_000)
  return environ
}

test('The variable of a header of up to 64 characters is cached, a longer one is not', () => {
  const [fits, long] = [`X-${'a'.repeat(62)}`, `X-${'a'.repeat(63)}`]
  for (let i = 0; i < 3; i++) {
    expect(environOf(fits, long)).toMatchObject({
      [`HTTP_X_${'A'.repeat(62)}`]: 'value',
      [`HTTP_X_${'A'.repeat(63)}`]: 'value',
    })
  }
  expect(remembered()).toEqual([fits])
})

test('512 header names are cached, and further ones become variables as well', () => {
  const names = Array.from({ length: 600 }, (_, i) => `X-${i}`)
  for (let i = 0; i < 2; i++) expect(environOf(...names)['HTTP_X_599']).toBe('value')
  expect(remembered()).toEqual(names.slice(0, 512))
})

test('A header name that does not become a variable is cached, too', () => {
  for (let i = 0; i < 2; i++) expect(environOf('X-a', 'X_a', 'X-a.b')).toHaveProperty('HTTP_X_A')
  expect(remembered()).toEqual(['X-a', 'X_a', 'X-a.b'])
})

test('A repeated header is joined, whether its name is cached or not', () => {
  environOf(...Array.from({ length: 600 }, (_, i) => `X-${i}`))
  for (const name of ['X-0', 'X-599', `X-${'a'.repeat(100)}`]) {
    const variable = `HTTP_${name.toUpperCase().replace('-', '_')}`
    // Twice: a mark that an earlier request has left must not count in a later one.
    for (let i = 0; i < 2; i++) {
      expect(environOf(name, 'Host', name.toLowerCase())[variable]).toBe('value, value')
    }
  }
})
