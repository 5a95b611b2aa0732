import { expect, test, vi } from 'vitest'
import { run, type RunOptions } from '../handlers/auto.ts'
import { FastCGIHandler, type FastCGIOptions } from '../handlers/fastcgi.ts'
import { HTTPHandler, type HTTPOptions } from '../handlers/http.ts'
import type { NodeFastCGIOptions } from '../handlers/node-fastcgi.ts'
import { SCGIHandler, type SCGIOptions } from '../handlers/scgi.ts'
import { makeServer } from '../handlers/make-server.ts'
import { ConfigurationError } from '../src/errors.ts'
import { checkOptionNames, OPTION_NAMES } from '../src/options.ts'

type Name =
  | keyof FastCGIOptions
  | keyof HTTPOptions
  | keyof NodeFastCGIOptions
  | keyof RunOptions
  | keyof SCGIOptions

/** The compiler says if one is missing here, or too many. */
const NAMES: Record<Name, true> = {
  allowedClients: true,
  responseTimeout: true,
  backlog: true,
  exitOnUncaughtError: true,
  gateway: true,
  shutdownTimeout: true,
  group: true,
  requestHandler: true,
  headersTimeout: true,
  highWaterMark: true,
  idleTimeout: true,
  listen: true,
  maxConnections: true,
  maxHeaderBytes: true,
  maxHeaders: true,
  maxRequestsPerConnection: true,
  mode: true,
  multiplex: true,
  multiprocess: true,
  osEnviron: true,
  owner: true,
  pathInfo: true,
  scriptName: true,
  writeTimeout: true,
  serverSoftware: true,
  validate: true,
}

test('every option of a handler or of run() is known, and no other', () => {
  expect(OPTION_NAMES).toEqual(Object.keys(NAMES))
  expect(() => checkOptionNames(NAMES)).not.toThrow()
})

const names = OPTION_NAMES.join(', ')

test.each(['multiplx', 'Listen', 'port', '__proto__', 'toString', ''])('%j is refused', (given) => {
  const options = Object.fromEntries([[given, 1]])
  expect(() => checkOptionNames(options)).toThrow(
    new ConfigurationError(`${given}: no such option; there are ${names}`),
  )
})

const misspelt = { listen: '127.0.0.1:0', multiplx: false }

test.each([FastCGIHandler, SCGIHandler, HTTPHandler])(
  '%o does not start with an option that is misspelt',
  async (Handler) => {
    const starting = new Handler(misspelt).run(() => [])
    await expect(starting).rejects.toThrow(ConfigurationError)
    await expect(starting).rejects.toThrow('multiplx: no such option')
  },
)

test('nor does makeServer', async () => {
  const options = { maxConections: 1 } as HTTPOptions
  await expect(makeServer('127.0.0.1', 0, () => [], options).start()).rejects.toThrow(
    'maxConections: no such option',
  )
})

test('nor does run(), which says so in one line', async () => {
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  try {
    expect(await run(() => [], { gateway: 'http', ...misspelt })).toBeNull()
    expect(write.mock.calls).toEqual([[`multiplx: no such option; there are ${names}\n`]])
  } finally {
    write.mockRestore()
    process.exitCode = undefined
  }
})

test('what means nothing to a gateway is taken: the program may be another one elsewhere', async () => {
  for (const Handler of [FastCGIHandler, SCGIHandler, HTTPHandler]) {
    const options = { listen: '127.0.0.1:0', multiplex: false, validate: false }
    await (await new Handler(options).run(() => [])).close()
  }
})
