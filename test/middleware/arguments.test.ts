/** What a layer says when an argument is missing, or is not what it takes. */
import { expect, it } from 'vitest'
import { ConfigurationError } from '../../src/errors.ts'
import * as middleware from '../../src/exports/middleware.ts'
import type { Application } from '../../src/types.ts'

const app: Application = () => []
/** As JavaScript calls it, without types. */
const layers = middleware as unknown as Record<string, (...args: unknown[]) => unknown>
const { FileStore } = middleware as unknown as Record<string, new (...args: unknown[]) => unknown>
const SECRET =
  'session: a secret has 32 characters at least; make one with `openssl rand -base64 32`'
const TRUSTED =
  "proxyFix: trusted is an array of addresses and CIDR blocks, and 'unix' for a Unix socket"

it.each<[string, unknown[], string]>([
  ['session', [app], SECRET],
  ['session', [app, {}], SECRET],
  ['session', [app, { secret: 5 }], SECRET],
  ['session', [app, { secret: [undefined] }], SECRET],
  ['session', [app, { secret: 'short' }], SECRET],
  ['proxyFix', [app], TRUSTED],
  ['proxyFix', [app, {}], TRUSTED],
  ['proxyFix', [app, { trusted: 'unix' }], TRUSTED],
  ['cascade', [], 'cascade: it takes an array of applications'],
  ['cascade', [app], 'cascade: it takes an array of applications'],
  ['staticFiles', [], 'staticFiles: it needs the path of a folder'],
  ['mount', [], "mount: it takes applications by their places, { '/shop': shop }"],
  ['mount', [null], "mount: it takes applications by their places, { '/shop': shop }"],
  ['sendfile', [app], "sendfile: header is 'X-Sendfile', or 'X-Accel-Redirect' with a map"],
])('%s of %j says what it expects', (name, given, message) => {
  expect(() => layers[name]!(...given)).toThrow(new ConfigurationError(message))
})

it('FileStore without a folder says so at once', () => {
  expect(() => new FileStore!()).toThrow(
    new ConfigurationError('FileStore: it needs the path of a folder'),
  )
})
