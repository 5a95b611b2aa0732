/** Unusual environs that are correct. Violations are in rows/environ.ts. */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createEnviron } from '../../src/exports/gateway.ts'
import { setupTestingDefaults } from '../../src/exports/wsgiref.ts'
import type { Environ } from '../../src/types.ts'
import { runApplication, hello, judge, makeEnviron } from './harness.ts'

describe('Unusual environs:', () => {
  test.each<[string, object]>([
    ['a CGI request', { 'portico.gateway': 'cgi', 'wsgi.run_once': true, CONTENT_LENGTH: '0' }],
    ['OPTIONS *', { REQUEST_METHOD: 'OPTIONS', PATH_INFO: '*', REQUEST_URI: '*' }],
    ['OPTIONS for a proxy', { REQUEST_METHOD: 'OPTIONS', REQUEST_URI: 'http://example.com/' }],
    ['a mounted application', { SCRIPT_NAME: '/a', PATH_INFO: '' }],
    ['repeated slashes and #', { PATH_INFO: '//a//b#c', REQUEST_URI: '//a//b%23c?d=/' }],
    ['an absolute REQUEST_URI', { REQUEST_URI: 'http://example.com/x' }],
    ['a version with two digits', { SERVER_PROTOCOL: 'HTTP/1.10' }],
    ['a server-side include', { SERVER_PROTOCOL: 'INCLUDED' }],
    ['IPv6', { SERVER_NAME: '::1', HTTP_HOST: '[::1]:8000' }],
    ['a Host with an empty port', { HTTP_HOST: 'example.com:' }],
    ['an IPv6 Host with an empty port', { HTTP_HOST: '[::1]:' }],
    ['an empty Host', { HTTP_HOST: '' }],
    ['IPv6 in brackets', { SERVER_NAME: '[::1]' }],
    ['a server_name of nginx', { SERVER_NAME: '*.example.com' }],
    ['any byte in a path', { PATH_INFO: '/\xe3\x81\x82\x01\x7f\xff' }],
    ['names of members of Object', { constructor: 'a', toString: 'b', HTTP_HASOWNPROPERTY: 'c' }],
    ['keys of other programs', { 'author.key': undefined, 'x.y': new Map() }],
    ['several threads', { 'wsgi.multithread': true }],
  ])('the validator accepts %s in an environ', async (_name, values) => {
    const { items, warnings } = await runApplication(hello, Object.assign(makeEnviron(), values))
    expect({ items, warnings }).toEqual({ items: ['a', 'b'], warnings: [] })
  })

  test('the validator warns about CONNECT, which is valid but unusual', async () => {
    const values = { REQUEST_METHOD: 'CONNECT', REQUEST_URI: 'example.com:443' }
    const { warnings } = await runApplication(hello, makeEnviron(values))
    expect(warnings).toEqual([expect.stringMatching(/^environ: REQUEST_METHOD .* not "CONNECT"$/)])
  })

  test('the validator accepts an environ whose prototype creates portico.signal', async () => {
    const prototype = Object.create(null)
    Object.defineProperty(prototype, 'portico.signal', { get: () => new AbortController().signal })
    const { 'portico.signal': _signal, ...rest } = makeEnviron()
    const environ: Environ = Object.assign(Object.create(prototype), rest)
    expect((await runApplication(hello, environ)).items).toEqual(['a', 'b'])
  })
})

test('Each message of the validator is one printable line, whatever the environ contains', async () => {
  const text = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('REQUEST_URI', '/a\n#', '*'))
  const value = fc.oneof(text, fc.anything())
  const names = fc.oneof(text, fc.constantFrom(...Object.keys(makeEnviron())))
  const property = fc.asyncProperty(fc.dictionary(names, value), async (values) => {
    const verdict = await judge(() => runApplication(hello, Object.assign(makeEnviron(), values)))
    for (const line of verdict.split('\n')) {
      expect(line).toMatch(/^$|^(?:warning: )?environ: [ -~]{1,400}$/)
    }
  })
  await fc.assert(property, { numRuns: 500 })
})

test('The message for an environ made with {} names createEnviron()', async () => {
  const verdict = await judge(() => runApplication(hello, {} as Environ))
  expect(verdict).toContain("make it with createEnviron() from 'portico/gateway'")
})

test("The validator accepts an environ made by createEnviron() of 'portico/gateway'", async () => {
  const { warnings } = await runApplication(hello, setupTestingDefaults(createEnviron()))
  expect(warnings).toEqual([])
})

const LONG = 200_000

test.each(
  ['REQUEST_METHOD', 'SERVER_NAME', 'SERVER_PORT', 'SERVER_PROTOCOL', 'SCRIPT_NAME', 'PATH_INFO']
    .concat(['REQUEST_URI', 'CONTENT_LENGTH', 'CONTENT_TYPE', 'HTTP_HOST'])
    .flatMap((name) => Array.from(':/.-a1[ %').map((character) => [name, character] as const)),
)('the validator checks a %s of 200,000 times %j in linear time', async (name, character) => {
  for (const value of [character.repeat(LONG), `${character.repeat(LONG)}!`]) {
    const begin = performance.now()
    await judge(() => runApplication(hello, Object.assign(makeEnviron(), { [name]: value })))
    expect(performance.now() - begin).toBeLessThan(1_000)
  }
})
