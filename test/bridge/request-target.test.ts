/** The target that a framework sees is the path and the query of the environ, however spelled. */
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { targetOf } from '../../src/bridge/request-target.ts'
import { createEnviron } from '../../src/environ/environ.ts'
import { decodePath } from '../../src/environ/decode-path.ts'

const path = fc
  .array(fc.string({ unit: fc.constantFrom('a', '.', '%', '%41', '/', ' ', '?', '\xe9', "'") }))
  .map((segments) => segments.map((segment) => `/${segment}`).join(''))

/** Percent-encodes what has to be, or all. */
const hex = (byte: string) => `%${byte.charCodeAt(0).toString(16).padStart(2, '0')}`
const spellings = [/[^\w.'/]/g, /[^/]/g] as const

test('decodes to the path, and is made of visible characters', () => {
  fc.assert(
    fc.property(
      path,
      path,
      fc.constantFrom('', 'q=%20&r'),
      fc.constantFrom(undefined, '/elsewhere', ...spellings),
      (script, rest, query, uri) => {
        const environ = createEnviron()
        Object.assign(environ, { SCRIPT_NAME: script, PATH_INFO: rest, QUERY_STRING: query })
        const end = query && `?${query}`
        if (uri instanceof RegExp) {
          environ['REQUEST_URI'] = (script + rest || '/').replace(uri, hex) + end
        } else if (uri !== undefined) {
          environ['REQUEST_URI'] = uri
        }
        const { base, url, original } = targetOf(environ)
        expect([base, url, original].join('')).toMatch(/^[!-~]*$/)
        expect(decodePath(base)).toBe(script)
        expect(decodePath(url)).toBe(rest || '/')
        expect(decodePath(original)).toBe(script + rest || '/')
        expect([url, original].map((text) => text.slice(text.length - end.length))).toEqual([
          end,
          end,
        ])
        if (uri instanceof RegExp) expect(original).toBe(environ['REQUEST_URI'])
      },
    ),
    { numRuns: 1000 },
  )
})
