/** `targetOf`: the URL that a framework sees. */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { targetOf } from '../../src/environ/request-target.ts'
import { createEnviron } from '../../src/environ/environ.ts'
import { decodePath } from '../../src/environ/decode-path.ts'

const anyPath = fc
  .array(fc.string({ unit: fc.constantFrom('a', '.', '%', '%41', '/', ' ', '?', '\xe9', "'") }))
  .map((segments) => segments.map((segment) => `/${segment}`).join(''))

/** Percent-encodes what has to be, or all. */
const hex = (byte: string) => `%${byte.charCodeAt(0).toString(16).padStart(2, '0')}`
const spellings = [/[^\w.'/]/g, /[^/]/g] as const

test('targetOf gives a target of printable ASCII that decodes to the path', () => {
  fc.assert(
    fc.property(
      anyPath,
      anyPath,
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

/** The base, URL and original target for an environ. */
function targetFor(variables: Readonly<Record<string, string>>): string[] {
  const environ = Object.assign(createEnviron(), { SCRIPT_NAME: '', QUERY_STRING: '' }, variables)
  const { base, url, original } = targetOf(environ)
  return [base, url, original]
}

describe('A target with characters that a target must not contain', () => {
  test.each([
    ['UTF-8 in the path', '/caf\xc3\xa9', '', '/caf\xc3\xa9', '/caf%C3%A9'],
    ['UTF-8 in the query', '/x', 'q=\xc3\xa9', '/x?q=\xc3\xa9', '/x?q=%C3%A9'],
    ['a space in a decoded REQUEST_URI', '/x y', '', '/x y', '/x%20y'],
    ['a control character', '/a\x7fb', 'c\x01', '/a\x7fb?c\x01', '/a%7Fb?c%01'],
    ['a number sign in the query', '/x', 'a#b', '/x', '/x?a%23b'],
    ['other printable characters', '/a|b', 'c="<>"', '/a|b?c="<>"', '/a|b?c="<>"'],
  ])('has %s percent-encoded', (_, path, query, uri, expected) => {
    const variables = { PATH_INFO: path, QUERY_STRING: query, REQUEST_URI: uri }
    expect(targetFor(variables)[1]).toBe(expected)
  })
})

describe('A target below a mount point that REQUEST_URI lacks (X-Forwarded-Prefix)', () => {
  test.each([
    ['/api', '/users/a/b', '/users/a%2Fb', ['/api', '/users/a%2Fb', '/api/users/a%2Fb']],
    ['/api', '/\xc3', '/%c3', ['/api', '/%c3', '/api/%c3']],
    ['/a p', '/x', '/%78', ['/a%20p', '/%78', '/a%20p/%78']],
    ['/api/in', '/a/b', '/in/a%2Fb', ['/api/in', '/a%2Fb', '/api/in/a%2Fb']],
    ['/api', '/new', '/old%21', ['/api', '/new', '/api/new']],
  ])('%s%s, sent as %s, keeps the encoding of the client', (script, path, uri, expected) => {
    const variables = { SCRIPT_NAME: script, PATH_INFO: path, REQUEST_URI: uri }
    expect(targetFor(variables)).toEqual(expected)
  })
})
