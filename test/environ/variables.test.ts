/**
 * Variables of consecutive requests, each of which finds the caches that earlier requests have filled,
 * compared with a model that has no cache.
 */
import { Buffer } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createEnviron } from '../../src/environ/environ.ts'
import { encodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import { encodeRequest } from '../../src/protocol/scgi.ts'
import { addHeaders } from '../../src/environ/from-http.ts'
import { environFromHeaders, environFromPairs } from '../../src/server/from-params.ts'

type Pair = readonly [name: string, value: string]
type Variables = Record<string, string>

const REPLACED = /^HTTP_(?:HOST|X_FORWARDED_(?:HOST|PORT|PROTO)|X_REAL_IP)$/

/**
 * The environ of these variables; null if one repeats a name and `once` is true for it. `replaced`
 * are headers of which the last value counts.
 */
function model(
  pairs: readonly Pair[],
  once: (name: string, value: string) => boolean,
  replaced = REPLACED,
): Variables | null {
  const variables = new Map<string, string>()
  for (const [name, value] of pairs) {
    if (/^$|\.|^HTTP_(?:PROXY|CONTENT_TYPE|CONTENT_LENGTH)$/.test(name)) continue
    const earlier = variables.get(name)
    if (earlier !== undefined && once(name, value)) return null
    if (/^CONTENT_(?:TYPE|LENGTH)$/.test(name) && value === '') {
      variables.delete(name)
      continue
    }
    const joined = earlier !== undefined && name.startsWith('HTTP_') && !replaced.test(name)
    const between = name === 'HTTP_COOKIE' ? '; ' : ', '
    variables.set(name, joined ? earlier + between + value : value)
  }
  return Object.fromEntries(variables)
}

const KNOWN = [
  'QUERY_STRING',
  'CONTENT_TYPE',
  'CONTENT_LENGTH',
  'PATH_INFO',
  'HTTP_HOST',
  'HTTP_X_FORWARDED_PROTO',
  'HTTP_COOKIE',
  'HTTP_ACCEPT',
  'HTTP_PROXY',
  'HTTP_CONTENT_TYPE',
  'HTTP_CONTENT_LENGTH',
  'HTTP_SEC_CH_UA',
  'HTTP_SEC_CH_UA_PLATFORM',
  'HTTP_UPGRADE_INSECURE_REQUESTS',
]

/** A known name with one byte changed, which a lookup that skips bytes would mistake for it. */
const nearMiss = fc
  .tuple(
    fc.constantFrom(...KNOWN),
    fc.nat(),
    fc.integer({ min: 1, max: 255 }).filter((byte) => byte !== 10 && byte !== 13), // Refused.
  )
  .chain(([known, position, byte]) => {
    const index = position % known.length
    const [before, after] = [known.slice(0, index), known.slice(index)]
    return fc.constantFrom(
      before + String.fromCharCode(byte) + after.slice(1),
      before + after.slice(1),
      after + before,
    )
  })
/** As a double their first eight bytes are NaN, or one of the zeros. */
const odd = fc.constantFrom(
  '\xff'.repeat(8),
  `\x01\x01\x01\x01\x01\x01\xf8\x7f`,
  `${'\x01'.repeat(7)}\x80`,
  '__proto__',
  'toString',
  'wsgi.input',
  'portico.signal',
  'X',
)
const name = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...KNOWN) }, nearMiss, odd)
const value = fc.constantFrom('', 'a', 'b', ', ')
const pairs = fc.array(fc.tuple(name, value), { maxLength: 12 })
const requests = fc.array(pairs, { minLength: 1, maxLength: 4 })

/** At any offset in memory, up to its very end. */
function at(before: number, bytes: Buffer): [block: Buffer, start: number, end: number] {
  const memory = new Uint8Array(before + bytes.length)
  memory.fill(0x48, 0, before)
  memory.set(bytes, before)
  const block = Buffer.from(memory.buffer, before >> 1)
  return [block, before - (before >> 1), block.length]
}

const spelling = (...names: string[]) =>
  fc
    .tuple(fc.constantFrom(...names), fc.nat())
    .map(([header, bits]) =>
      header.replaceAll(/[a-z]/g, (c, i: number) => ((bits >> (i & 15)) & 1 ? c.toUpperCase() : c)),
    )
const header = fc.oneof(
  spelling('host', 'content-type', 'content-length', 'cookie', 'accept', 'proxy', 'x-real-ip'),
  spelling('http-proxy', 'x_a', 'x-a', 'x.a', 'x'.repeat(64), 'x'.repeat(65), 'new-name'),
  fc.nat(999).map((i) => `x-${i}`),
)
const heads = fc.array(fc.array(fc.tuple(header, value), { maxLength: 10 }), { minLength: 1 })

const variableOf = (key: string): string | null => {
  if (!/^[a-z0-9-]+$/i.test(key)) return null
  const plain = key.toUpperCase().replaceAll('-', '_')
  return /^CONTENT_(?:TYPE|LENGTH)$/.test(plain) ? plain : `HTTP_${plain}`
}

/** Whether the variable removes an earlier one. */
function removesEarlier(key: string, text: string): boolean {
  return text === '' && (key === 'CONTENT_TYPE' || key === 'CONTENT_LENGTH')
}

const single = new Set(['HTTP_HOST', 'CONTENT_TYPE', 'CONTENT_LENGTH'])

function add(list: readonly Pair[]): Variables {
  const environ = createEnviron()
  const request = { rawHeaders: list.flat(), httpVersion: '1.1' } as unknown as IncomingMessage
  addHeaders(environ, request, 1_000)
  return { ...(environ as unknown as Variables) }
}

describe('Consecutive requests', () => {
  it('have only the variables of their own PARAMS', () => {
    fc.assert(
      fc.property(requests, fc.nat(20), (all, before) => {
        for (const list of all) {
          const environ = environFromPairs(...at(before, encodePairs(list)), 100)
          expect({ ...(environ as object) }).toEqual(model(list, () => false))
          // What ends in the middle must not count for the next one.
          if (list.length === 0) continue
          expect(() => environFromPairs(...at(before, encodePairs(list)), list.length - 1)).toThrow(
            `more than ${list.length - 1} PARAMS`,
          )
        }
      }),
      { numRuns: 1000 },
    )
  })

  it('have only the variables of their own SCGI headers, or are refused', () => {
    fc.assert(
      fc.property(requests, fc.nat(20), (all, before) => {
        for (const list of all) {
          const own = list.filter(([key]) => key !== '')
          const netstring = encodeRequest(own.flat(), 1)
          const block = at(before, netstring.subarray(netstring.indexOf(':') + 1, -1))
          const whole: Pair[] = [['CONTENT_LENGTH', '1'], ['SCGI', '1'], ...own]
          const again = own.some(([key, text]) => key === 'CONTENT_LENGTH' && text !== '')
          const expected = again
            ? null
            : model(whole, (key, text) => !key.startsWith('HTTP_') && !removesEarlier(key, text))
          const read = () => environFromHeaders(...block, 100)
          if (expected === null) expect(read).toThrow('appears twice')
          else expect({ ...read() }).toEqual(expected)
        }
      }),
      { numRuns: 1000 },
    )
  })

  it.each([
    ['while their names are cached', 0],
    ['when the cache is full', 600],
  ])('have only the variables of their own HTTP headers, or are refused, %s', (_, names) => {
    for (let i = 0; i < names; i += 1) add([[`other-${i}`, '']])
    fc.assert(
      fc.property(heads, (all) => {
        for (const list of all) {
          const named = list.flatMap(([key, text]): Pair[] => {
            const variable = variableOf(key)
            return variable === null ? [] : [[variable, text]]
          })
          const expected = model(named, (key) => single.has(key), /^$/)
          const hosts = named.filter(([key]) => key === 'HTTP_HOST')
          const invalid = hosts.some(([, text]) => text === ', ')
          if (expected === null || invalid) {
            expect(() => add(list)).toThrow(/has two headers|is not a host$/)
          } else expect(add(list)).toEqual(expected)
        }
      }),
      { numRuns: 1000 },
    )
  })
})
