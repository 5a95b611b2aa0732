/** Environs that are unusual, and right. Those that are wrong are in validate-rows/environ.ts. */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Environ } from '../../src/types.ts'
import { answer, hello, judge, makeEnviron } from './harness.ts'

describe('an unusual environ is fine', () => {
  test.each<[string, object]>([
    ['a CGI request', { 'portico.gateway': 'cgi', 'wsgi.run_once': true, CONTENT_LENGTH: '0' }],
    ['OPTIONS *', { REQUEST_METHOD: 'OPTIONS', PATH_INFO: '*', REQUEST_URI: '*' }],
    ['OPTIONS for a proxy', { REQUEST_METHOD: 'OPTIONS', REQUEST_URI: 'http://example.com/' }],
    ['a mounted application', { SCRIPT_NAME: '/a', PATH_INFO: '' }],
    ['repeated slashes and #', { PATH_INFO: '//a//b#c', REQUEST_URI: '//a//b%23c?d=/' }],
    ['a proxy request', { REQUEST_URI: 'http://example.com/x' }],
    ['a server-side include', { SERVER_PROTOCOL: 'INCLUDED' }],
    ['IPv6', { SERVER_NAME: '::1', HTTP_HOST: '[::1]:8000' }],
    ['IPv6 in brackets', { SERVER_NAME: '[::1]' }],
    ['a server_name of nginx', { SERVER_NAME: '*.example.com' }],
    ['bytes', { PATH_INFO: '/\xe3\x81\x82\x01\x7f\xff' }],
    ['names of Object', { constructor: 'a', toString: 'b', HTTP_HASOWNPROPERTY: 'c' }],
    ['keys of others', { 'author.key': undefined, 'x.y': new Map() }],
    ['several threads', { 'wsgi.multithread': true }],
  ])('%s', async (_name, values) => {
    const { items, warnings } = await answer(hello, Object.assign(makeEnviron(), values))
    expect({ items, warnings }).toEqual({ items: ['a', 'b'], warnings: [] })
  })

  test('CONNECT, which is only not usual', async () => {
    const values = { REQUEST_METHOD: 'CONNECT', REQUEST_URI: 'example.com:443' }
    const { warnings } = await answer(hello, makeEnviron(values))
    expect(warnings).toEqual([expect.stringMatching(/^environ: REQUEST_METHOD .* not "CONNECT"$/)])
  })

  test('an instance whose prototype makes the signal, and has no key without a dot', async () => {
    const prototype = Object.create(null)
    Object.defineProperty(prototype, 'portico.signal', { get: () => new AbortController().signal })
    const { 'portico.signal': _signal, ...rest } = makeEnviron()
    const environ: Environ = Object.assign(Object.create(prototype), rest)
    expect((await answer(hello, environ)).items).toEqual(['a', 'b'])
  })
})

test('whatever is in it, an objection is one printable line', async () => {
  const text = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('REQUEST_URI', '/a\n#', '*'))
  const value = fc.oneof(text, fc.anything())
  const names = fc.oneof(text, fc.constantFrom(...Object.keys(makeEnviron())))
  const property = fc.asyncProperty(fc.dictionary(names, value), async (values) => {
    const verdict = await judge(() => answer(hello, Object.assign(makeEnviron(), values)))
    for (const line of verdict.split('\n')) {
      expect(line).toMatch(/^$|^(?:warning: )?environ: [ -~]{1,400}$/)
    }
  })
  await fc.assert(property, { numRuns: 500 })
})
