/** The messages for missing and wrong arguments, unknown options and values out of range. */
import { expect, it, vi } from 'vitest'
import { ConfigurationError } from '../../src/errors.ts'
import { TestApp } from '../../src/embedded/test-app.ts'
import * as middleware from '../../src/exports/middleware.ts'
import type { Application, StartResponse } from '../../src/types.ts'

const app: Application = () => []
/** The functions without their types, as JavaScript calls them. */
const functions = middleware as unknown as Record<string, (...args: unknown[]) => unknown>
const { FileStore } = middleware as unknown as Record<string, new (...args: unknown[]) => unknown>
const SECRET =
  'session: a secret must have at least 32 characters; make one with `openssl rand -base64 32`'
const TRUSTED =
  "proxyFix: trusted must be an array of addresses and CIDR blocks, or 'unix' for a Unix socket"

it.each<[string, unknown[], string]>([
  ['session', [app], SECRET],
  ['session', [app, {}], SECRET],
  ['session', [app, { secret: 5 }], SECRET],
  ['session', [app, { secret: [undefined] }], SECRET],
  ['session', [app, { secret: 'short' }], SECRET],
  ['proxyFix', [app], TRUSTED],
  ['proxyFix', [app, {}], TRUSTED],
  ['proxyFix', [app, { trusted: 'unix' }], TRUSTED],
  ['cascade', [], 'cascade: the first argument must be an array of applications'],
  ['cascade', [app], 'cascade: the first argument must be an array of applications'],
  [
    'staticFiles',
    [],
    'staticFiles: the first argument must be the path of a directory (got nothing)',
  ],
  ['cgiBin', [], 'cgiBin: the first argument must be the path of a directory (got nothing)'],
  [
    'cgiBin',
    ['/etc/passwd'],
    'cgiBin: the first argument must be the path of a directory (got "/etc/passwd")',
  ],
  [
    'mount',
    [],
    "mount: the argument must be an object of paths to applications, { '/shop': shop }",
  ],
  [
    'mount',
    [null],
    "mount: the argument must be an object of paths to applications, { '/shop': shop }",
  ],
  [
    'mount',
    [new Map([['/', app]])],
    "mount: the argument must be an object of paths to applications, { '/shop': shop }",
  ],
  ['staticFiles', [5], 'staticFiles: the first argument must be the path of a directory (got 5)'],
  [
    'hook',
    [[], { onChunck: () => {} }],
    "hook: unknown option 'onChunck'. Did you mean 'onChunk'?",
  ],
  ['hook', [[], null], 'The options of hook must be an object, got null'],
  ['accessLog', [app, []], 'The options of accessLog must be an object, got an array'],
  [
    'accessLog',
    [app, new Map([['format', 'json']])],
    'The options of accessLog must be an object, got [object Map]',
  ],
  [
    'sendfile',
    [app],
    "sendfile: header must be 'X-Sendfile', or 'X-Accel-Redirect' with a map (got undefined)",
  ],
  ['accessLog', [app, null], 'The options of accessLog must be an object, got null'],
  ['cascade', [[app], null], 'The options of cascade must be an object, got null'],
  ['errorPage', [app, null], 'The options of errorPage must be an object, got null'],
  ['staticFiles', ['src', null], 'The options of staticFiles must be an object, got null'],
])('%s(%j) throws a ConfigurationError that names what it expects', (name, given, message) => {
  expect(() => functions[name]!(...given)).toThrow(new ConfigurationError(message))
})

it('FileStore without a directory throws at once', () => {
  expect(() => new FileStore!()).toThrow(
    new ConfigurationError('FileStore: the argument must be the path of a directory'),
  )
})

/** The first argument of a function. */
const firstOf = (name: string): unknown =>
  name === 'cascade' ? [app] : name === 'staticFiles' || name === 'cgiBin' ? 'src' : app

const misspelt: [name: string, options: object, nearest: string][] = [
  ['accessLog', { fromat: 'json' }, 'format'],
  ['basicAuth', { user: {}, verify: () => true }, 'users'],
  ['cascade', { catches: [404] }, 'catch'],
  ['cgiBin', { maxScript: 1 }, 'maxScripts'],
  ['errorPage', { developement: true }, 'development'],
  ['proxyFix', { trusted: ['127.0.0.1'], field: ['for'] }, 'fields'],
  ['sendfile', { header: 'X-Sendfile', escpae: false }, 'escape'],
  ['session', { secret: 'x'.repeat(32), maxage: 5 }, 'maxAge'],
  ['staticFiles', { dotFile: true }, 'dotfiles'],
]

it.each(misspelt)('%s with %j suggests %s', (name, options, nearest) => {
  const first = firstOf(name)
  expect(() => functions[name]!(first, options)).toThrow(
    new RegExp(`^${name}: unknown option '\\w+'. Did you mean '${nearest}'\\?`),
  )
  expect(() => functions[name]!(first, options)).toThrow(ConfigurationError)
})

it.each<[name: string, options: object, message: string]>([
  ['accessLog', { format: 5 }, 'accessLog: format must be a string (got 5)'],
  ['accessLog', { write: 'x' }, 'accessLog: write must be a function (got "x")'],
  [
    'accessLog',
    { format: 'JSON' },
    'accessLog: the format "JSON" has no directive such as %h, and is not a name. Did you mean \'json\'?',
  ],
  [
    'accessLog',
    { format: '' },
    'accessLog: the format "" has no directive such as %h, and is not a name. Known names: common, combined, json',
  ],
  [
    'cascade',
    { catch: [404, 1] },
    'cascade: a status of catch must be a whole number from 100 to 999 (got 1)',
  ],
  ['cgiBin', { timeout: -1 }, 'cgiBin: timeout must be a whole number of ms, 0 or more (got -1)'],
  ['cgiBin', { maxOutput: 1.5 }, 'cgiBin: maxOutput must be a whole number of bytes, or Infinity'],
  ['cgiBin', { maxScripts: 0 }, 'cgiBin: maxScripts must be a whole number, 1 or more (got 0)'],
  ['cgiBin', { maxWaiting: '5' }, 'cgiBin: maxWaiting must be a whole number, 0 or more (got "5")'],
  ['cgiBin', { env: { HTTP_PROXY: 'x' } }, 'cgiBin: env must be an object of variables'],
  ['cgiBin', { inherit: ['HTTP_PROXY'] }, 'cgiBin: inherit must be an array of names'],
  ['cgiBin', { cwd: 'relative' }, 'cgiBin: cwd must be an absolute path (got "relative")'],
  ['cgiBin', { redirects: {} }, 'cgiBin: redirects must be an application (got an object)'],
  ['cascade', { catch: 404 }, 'cascade: catch must be an array of statuses'],
  ['errorPage', { development: 'yes' }, 'errorPage: development must be true or false (got "yes")'],
  ['basicAuth', { users: { a: 1 } }, 'basicAuth: users must be an object of passwords'],
  ['basicAuth', { users: ['ada'] }, 'basicAuth: users must be an object of passwords'],
  [
    'basicAuth',
    { users: new Map([['ada', 'x']]) },
    'basicAuth: users must be an object of passwords',
  ],
  ['basicAuth', { verify: 'x' }, 'basicAuth: verify must be a function'],
  ['basicAuth', { users: {}, realm: 'ü' }, 'basicAuth: realm must be a string of visible ASCII'],
  ['proxyFix', { trusted: ['::1'], count: 0 }, 'proxyFix: count must be a whole number, 1 or more'],
  ['proxyFix', { trusted: ['::1'], fields: 'for' }, 'proxyFix: fields must be an array of for,'],
  [
    'proxyFix',
    { trusted: ['::1'], fields: ['for', 'hots'] },
    'proxyFix: unknown field "hots" in fields. Did you mean \'host\'?',
  ],
  [
    'sendfile',
    { header: 'x-sendfile' },
    "sendfile: header must be 'X-Sendfile', or 'X-Accel-Redirect' with a map (got \"x-sendfile\")",
  ],
  ['sendfile', { header: 'X-Sendfile', map: {} }, "sendfile: map is for 'X-Accel-Redirect' only"],
  [
    'sendfile',
    { header: 'X-Accel-Redirect', map: { '/srv': 1 } },
    'sendfile: map must be an object of strings',
  ],
  [
    'sendfile',
    { header: 'X-Sendfile', escape: 0 },
    'sendfile: escape must be true or false (got 0)',
  ],
  ['staticFiles', { maxAge: -1 }, 'staticFiles: maxAge must be a whole number of seconds'],
  ['staticFiles', { extensions: 'html' }, 'staticFiles: extensions must be an array'],
  [
    'staticFiles',
    { extensions: ['htm', '.html'] },
    'staticFiles: an element of extensions must be text without a dot at its start, \'html\' for example (got ".html")',
  ],
  [
    'staticFiles',
    { extensions: [null] },
    'staticFiles: an element of extensions must be text without a dot',
  ],
  ['staticFiles', { dotfiles: null }, 'staticFiles: dotfiles must be true or false (got null)'],
  ['staticFiles', { precompressed: 1 }, 'staticFiles: precompressed must be true or false'],
  ['staticFiles', { charset: 'a b' }, 'staticFiles: charset must be the name of a charset'],
])('%s with %j names what it expects', (name, options, message) => {
  const first = firstOf(name)
  expect(() => functions[name]!(first, options)).toThrow(message)
})

it.each<[result: unknown, status: string]>([
  [undefined, '200 OK'],
  [false, '200 OK'],
  ['no-store', '500 Internal Server Error'],
  [Promise.resolve({}), '500 Internal Server Error'],
])('intercept with onResponse that returns %j responds with %s', async (result, status) => {
  const closed = vi.fn()
  const intercepted = functions['intercept']!(
    (_: unknown, startResponse: StartResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return Object.assign(['a'], { close: closed })
    },
    { onResponse: () => result },
  ) as Application
  const response = await new TestApp(intercepted).get('/')
  expect(response.status).toBe(status)
  expect(closed).toHaveBeenCalledOnce()
  if (status !== '200 OK') {
    expect(response.errors).toContain(
      'ApplicationError: intercept: onResponse must return an application, or nothing (got ',
    )
  }
})
