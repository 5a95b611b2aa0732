import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import * as errors from '../src/errors.ts'
import { temporaryDirectory } from './server/child.ts'

const copyName = 'copy'
// A second evaluation of the same file, as the CommonJS build has one.
const copy = (await import(/* @vite-ignore */ `../src/errors.ts?${copyName}`)) as typeof errors

const { ApplicationError, ConfigurationError, PeerError, PorticoError } = errors

const directory = temporaryDirectory()
afterAll(directory.remove)

describe('instanceof between two copies of errors.ts', () => {
  const peerError = new copy.PeerError('PORTICO_TOO_LARGE', 'too large')
  class Subclass extends PeerError {}

  test('is tested with two unrelated classes', () => {
    expect(copy.PeerError).not.toBe(PeerError)
    expect(Object.getPrototypeOf(peerError)).not.toBe(PeerError.prototype)
  })

  test.each([
    ['an instance of the same class', PeerError, true],
    ['an instance of the base class', PorticoError, true],
    ['an instance of Error', Error, true],
    ['not an instance of another class', ApplicationError, false],
    ['not an instance of a third class', ConfigurationError, false],
    ['not an instance of a subclass', Subclass, false],
  ])('says that an error of the other copy is %s', (_, constructor, expected) => {
    expect(peerError instanceof constructor).toBe(expected)
  })

  test('says that an instance of a subclass is one of all its base classes', () => {
    const error = new Subclass('PORTICO_TOO_LARGE', '')
    for (const constructor of [Subclass, PeerError, copy.PeerError, copy.PorticoError]) {
      expect(error instanceof constructor).toBe(true)
    }
    expect(error instanceof copy.ApplicationError).toBe(false)
  })

  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  test.each([
    ['undefined', undefined],
    ['null', null],
    ['a string', 'PeerError'],
    ['a plain error', new Error('PeerError')],
    ['an error of the same name', Object.assign(new Error('x'), { name: 'PeerError' })],
    ['a revoked Proxy', proxy],
  ])('says that %s is not an instance, and does not throw', (_, value) => {
    for (const constructor of [PorticoError, PeerError, Subclass]) {
      expect(value instanceof constructor).toBe(false)
    }
  })
})

test('a form over its limit is a 413 where portico.cjs runs a script that imports portico/forms', () => {
  const script = join(directory.path, 'form.cjs')
  const forms = pathToFileURL(resolve('dist/src/exports/forms.js')).href
  writeFileSync(
    script,
    `const { CGIHandler } = require(${JSON.stringify(resolve('cgi-bin/portico.cjs'))})
    new CGIHandler().run(async (environ, startResponse) => {
      const { FieldStorage } = await import(${JSON.stringify(forms)})
      await FieldStorage.parse(environ, { maxTotalSize: 3 })
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return ['ok']
    })`,
  )
  const output = execFileSync(process.execPath, [script], {
    input: 'a=12345678',
    encoding: 'utf8',
    env: {
      GATEWAY_INTERFACE: 'CGI/1.1',
      REQUEST_METHOD: 'POST',
      CONTENT_TYPE: 'application/x-www-form-urlencoded',
      CONTENT_LENGTH: '10',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  expect(output).toMatch(/^Status: 413 Content Too Large\r\n/)
})
