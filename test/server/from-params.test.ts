/** Variables from bytes: the same environ as `setVariable` makes, whatever the names are. */
import { Buffer } from 'node:buffer'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createEnviron, isLine, ruleFor, setVariable } from '../../src/environ/environ.ts'
import { decodePairs, encodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import { encodeRequest } from '../../src/protocol/scgi.ts'
import { environFromHeaders, environFromPairs } from '../../src/server/from-params.ts'
import type { Environ } from '../../src/types.ts'

function expected(pairs: readonly (readonly [string, string])[]): Environ {
  const environ = createEnviron()
  for (const [name, value] of pairs) setVariable(environ, name, value)
  return environ
}

/** The bytes in the middle of others, as they stand in a buffer of reads. */
function inside(bytes: Buffer, before: number): [block: Buffer, start: number, end: number] {
  const block = Buffer.concat([Buffer.alloc(before, 'H'), bytes, Buffer.alloc(9, 'T')])
  return [block, before, before + bytes.length]
}

const name = fc.oneof(
  fc.constantFrom(
    'QUERY_STRING',
    'CONTENT_LENGTH',
    'CONTENT_TYPE',
    'HTTP_COOKIE',
    'HTTP_HOST',
    'HTTP_PROXY',
    'HTTP_CONTENT_LENGTH',
    'PATH',
    'PATH_INFO',
    'REMOTE_USER',
    'HTTPS',
    'wsgi.input',
    'portico.signal',
    '__proto__',
    // One byte off a known name, at each end and in the middle.
    'QUERY_STRINH',
    'PUERY_STRING',
    'QUERY_RTRING',
    'SCRIPT_FILENAMF',
    'HTTP_ACCEPT_LANGUAGD',
  ),
  fc.string({ unit: fc.integer({ min: 1, max: 255 }).map((c) => String.fromCharCode(c)) }),
)
const byte = fc.oneof(fc.integer({ min: 1, max: 255 }), fc.constantFrom(10, 13))
const value = fc.string({ unit: byte.map((c) => String.fromCharCode(c)) })

function isForbidden([key, text]: readonly [string, string]): boolean {
  return isLine(ruleFor(key)) && /[\0\r\n]/.test(key + text)
}

const REFUSED = 'contains a line break or a NUL'

describe('The PARAMS of FastCGI', () => {
  it('make the same environ as setVariable() for each of them', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value)), fc.nat(20), (pairs, before) => {
        const read = () => environFromPairs(...inside(encodePairs(pairs), before), 10_000)
        if (pairs.some(isForbidden)) {
          expect(read).toThrow(REFUSED)
          return
        }
        expect(read()).toEqual(expected(pairs))
        expect(Object.keys(read())).toEqual(Object.keys(expected(pairs)))
      }),
    )
  })

  it('have the same errors as decodePairs(), whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(4), (bytes, most) => {
        const list = decodePairs(Buffer.from(bytes), most)
        const read = () => environFromPairs(...inside(Buffer.from(bytes), 3), most)
        if (typeof list === 'string') {
          expect(read).toThrow(list === 'malformed' ? 'are malformed' : `more than ${most} PARAMS`)
        } else if (list.some((key, i) => i % 2 === 0 && isForbidden([key, list[i + 1]!]))) {
          expect(read).toThrow(REFUSED)
        } else expect(typeof read()).toBe('object')
      }),
    )
  })
})

/** The content of the netstring. */
function headers(pairs: readonly (readonly [string, string])[]): Buffer {
  const netstring = encodeRequest(pairs.flat(), 0)
  return netstring.subarray(netstring.indexOf(':') + 1, -1)
}

describe('SCGI headers', () => {
  it('make the same environ as setVariable() for each of them', () => {
    const distinct = fc.uniqueArray(fc.tuple(name, value), { selector: ([key]) => key })
    fc.assert(
      fc.property(distinct, fc.nat(20), (all, before) => {
        const own = new Set(['', 'CONTENT_LENGTH', 'SCGI'])
        const pairs = all.filter(([key]) => !own.has(key))
        const read = () => environFromHeaders(...inside(headers(pairs), before), 10_000)
        if (pairs.some(isForbidden)) {
          expect(read).toThrow(REFUSED)
          return
        }
        expect(read()).toEqual(expected([['CONTENT_LENGTH', '0'], ['SCGI', '1'], ...pairs]))
      }),
    )
  })

  it.each<[what: string, pairs: [string, string][], refused: boolean]>([
    [
      'with a repeated header are joined',
      [
        ['HTTP_X_A', '1'],
        ['HTTP_X_A', '2'],
      ],
      false,
    ],
    [
      'with a repeated header that is dropped are accepted',
      [
        ['HTTP_PROXY', '1'],
        ['HTTP_PROXY', '2'],
      ],
      false,
    ],
    [
      'with a repeated known name are refused',
      [
        ['PATH_INFO', '/a'],
        ['PATH_INFO', '/b'],
      ],
      true,
    ],
    [
      'with another repeated name are refused',
      [
        ['X', ''],
        ['X', ''],
      ],
      true,
    ],
    ['with a repeated CONTENT_LENGTH are refused', [['CONTENT_LENGTH', '0']], true],
    ['with an empty CONTENT_LENGTH have none', [['CONTENT_LENGTH', '']], false],
    [
      'with a CONTENT_LENGTH after an empty one are refused',
      [
        ['CONTENT_LENGTH', ''],
        ['CONTENT_LENGTH', '5'],
      ],
      true,
    ],
    [
      'with a CONTENT_TYPE and an empty one have none',
      [
        ['CONTENT_TYPE', 'a/b'],
        ['CONTENT_TYPE', ''],
      ],
      false,
    ],
    ["with one of Portico's keys are accepted", [['portico.signal', 'x']], false],
    ['with a name that an error has, too, are accepted', [['code', 'x']], false],
  ])('%s', (_, pairs, refused) => {
    const bytes = headers(pairs)
    const read = () => environFromHeaders(bytes, 0, bytes.length, 10_000)
    if (refused) expect(read).toThrow('appears twice')
    else expect(read()).toEqual(expected([['CONTENT_LENGTH', '0'], ['SCGI', '1'], ...pairs]))
  })
})
