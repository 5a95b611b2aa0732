/** The messages for missing and wrong arguments, unknown options and values out of range. */
import { expect, it } from 'vitest'
import { ConfigurationError } from '../../src/errors.ts'
import * as middleware from '../../src/exports/middleware.ts'
import type { Application } from '../../src/types.ts'

const app: Application = () => []
/** As JavaScript calls it, without types. */
const functions = middleware as unknown as Record<string, (...args: unknown[]) => unknown>
const { FileStore } = middleware as unknown as Record<string, new (...args: unknown[]) => unknown>
const SECRET =
  'session: a secret has 32 characters at least; make one with `openssl rand -base64 32`'
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
  ['sendfile', [app], "sendfile: header must be 'X-Sendfile', or 'X-Accel-Redirect' with a map"],
])('%s of %j throws a ConfigurationError that says what it expects', (name, given, message) => {
  expect(() => functions[name]!(...given)).toThrow(new ConfigurationError(message))
})

it('FileStore without a directory throws at once', () => {
  expect(() => new FileStore!()).toThrow(
    new ConfigurationError('FileStore: the argument must be the path of a directory'),
  )
})
