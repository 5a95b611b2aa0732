/** A client refuses options that it does not know, and values that would be another test. */
import { describe, expect, it } from 'vitest'
import { ConfigurationError } from '../../src/errors.ts'
import * as testing from '../../src/exports/testing.ts'
import type { Application } from '../../src/types.ts'

const app: Application = () => []
/** The functions without their types, as JavaScript calls them. */
const functions = testing as unknown as Record<string, (...args: unknown[]) => unknown>
const TestApp = testing.TestApp as unknown as {
  new (...args: unknown[]): unknown
  over(...args: unknown[]): unknown
}
const TestSession = testing.TestSession as unknown as new (...args: unknown[]) => unknown
const ADDRESS = '127.0.0.1:1'
const client = { request: () => Promise.reject(new Error()), close: () => Promise.resolve() }

const makers: Record<string, (options: unknown) => unknown> = {
  TestApp: (options) => new TestApp(app, options),
  'TestApp.over': (options) => TestApp.over(client, options),
  TestSession: (options) => new TestSession(client, options),
  inProcessClient: (options) => functions['inProcessClient']!(app, options),
  fastcgiClient: (options) => functions['fastcgiClient']!(ADDRESS, options),
  scgiClient: (options) => functions['scgiClient']!(ADDRESS, options),
  httpClient: (options) => functions['httpClient']!(ADDRESS, options),
  cgiClient: (options) => functions['cgiClient']!(options),
}

function refused(name: string, options: unknown): string {
  try {
    makers[name]!(options)
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError)
    return (error as Error).message
  }
  return 'not refused'
}

describe.each(Object.keys(makers))('%s', (name) => {
  it.each([
    [null, `The options of ${name} must be an object, got null`],
    ['x', `The options of ${name} must be an object, got x`],
    [{ muont: '/a' }, `${name}: unknown option 'muont'. Did you mean 'mount'?`],
    [
      { mount: 'a' },
      `${name}: mount must be '' or a path without a slash at its end, '/shop' for example (got "a")`,
    ],
    [{ mount: '/' }, `${name}: mount must be '' or a path`],
    [{ mount: '/a/' }, `${name}: mount must be '' or a path`],
    [{ mount: '/a b' }, `${name}: mount must be '' or a path`],
    [{ mount: null }, `${name}: mount must be '' or a path`],
  ])('refuses %j', (options, message) => {
    expect(refused(name, options)).toContain(message)
  })
})

it.each<[name: string, options: object, message: string]>([
  ['TestApp', { origin: 'shop.example' }, 'TestApp: origin must be an origin'],
  ['TestApp', { origin: 'ftp://a' }, 'TestApp: origin must be an origin'],
  ['TestApp', { origin: null }, 'TestApp: origin must be an origin'],
  ['TestApp', { validate: 'no' }, 'validate must be true or false (got "no")'],
  ['TestApp', { https: 'on' }, 'https must be true or false (got "on")'],
  ['TestApp', { serverPort: '80' }, 'serverPort must be a whole number from 0 to 65535 (got "80")'],
  ['TestApp', { serverPort: NaN }, 'serverPort must be a whole number from 0 to 65535 (got NaN)'],
  ['TestApp', { serverName: 5 }, 'serverName must be a string (got 5)'],
  ['TestApp', { timeout: 5 }, "TestApp: unknown option 'timeout'"],
  ['TestApp', { as: 'ngnix' }, "Did you mean 'nginx'?"],
  ['TestApp', { variables: { A: 1 } }, 'TestApp: variables must be an object of strings'],
  ['TestApp', { variables: ['A'] }, 'TestApp: variables must be an object of strings'],
  ['TestApp.over', { validate: true }, "TestApp.over: unknown option 'validate'"],
  ['httpClient', { as: 'nginx' }, "httpClient: unknown option 'as'"],
  ['httpClient', { timeout: -1 }, 'timeout must be a whole number of milliseconds from 1 to'],
  ['httpClient', { timeout: 2 ** 31 }, 'timeout must be a whole number of milliseconds from 1 to'],
  ['fastcgiClient', { role: 'filter' }, 'role must be one of responder, authorizer'],
  ['fastcgiClient', { keepConn: 1 }, 'keepConn must be true or false (got 1)'],
  ['scgiClient', { role: 'responder' }, "scgiClient: unknown option 'role'"],
  ['cgiClient', {}, 'cgiClient: command must be an array of a program and its arguments'],
  ['cgiClient', { command: '/bin/true' }, 'cgiClient: command must be an array of a program'],
  ['cgiClient', { command: ['/bin/true', 5] }, 'cgiClient: command must be an array of a program'],
  ['cgiClient', { command: ['a'], stdio: 'pipe' }, "Did you mean 'pipes'?"],
])('%s refuses %j', (name, options, message) => {
  expect(refused(name, options)).toContain(message)
})

it('openHttp and runRow refuse unknown options', async () => {
  const { openHttp, httpRequest, runRow } = functions
  const typo = "unknown option 'timeuot'. Did you mean 'timeout'?"
  await expect(openHttp!(ADDRESS, { timeuot: 5 })).rejects.toThrow(typo)
  await expect(httpRequest!(ADDRESS, {}, { timeuot: 5 })).rejects.toThrow(typo)
  await expect(runRow!(testing.suite[0], client, {}, { expected: {} })).rejects.toThrow(
    "runRow: unknown option 'expected'. Did you mean 'expect'?",
  )
})

it('a variable that is undefined is removed, and removes nothing else', () => {
  expect(refused('TestApp', { variables: { A: undefined, B: 'b' }, origin: undefined })).toBe(
    'not refused',
  )
})
