/**
 * The options in docs/: each page has the names that the types have, and the defaults that the code
 * has. The compiler looks that the names here are those of the types, no more and no fewer.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, it, test } from 'vitest'
import type { RunOptions } from '../../handlers/auto.ts'
import type { FastCGIOptions } from '../../handlers/fastcgi.ts'
import type { HTTPOptions } from '../../handlers/http.ts'
import type { NodeFastCGIOptions } from '../../handlers/node-fastcgi.ts'
import type { InProcessOptions } from '../../src/embedded/test-app.ts'
import * as forms from '../../src/forms/limits.ts'
import type { FieldStorageOptions } from '../../src/forms/storage.ts'
import type { AccessLogOptions } from '../../src/middleware/access-log.ts'
import type { BasicAuthOptions } from '../../src/middleware/basic-auth.ts'
import type { CascadeOptions } from '../../src/middleware/cascade.ts'
import type { ErrorPageOptions } from '../../src/middleware/error-page.ts'
import type { ProxyFixOptions } from '../../src/middleware/proxy-fix.ts'
import type { SendfileOptions } from '../../src/middleware/sendfile.ts'
import type { SessionOptions } from '../../src/middleware/session.ts'
import type { StaticFilesOptions } from '../../src/middleware/static-files.ts'
import { MAX_PARAMS, MAX_PARAMS_BYTES } from '../../src/protocol/fastcgi.ts'
import * as scgi from '../../src/protocol/scgi.ts'
import {
  DEFAULT_SHUTDOWN_TIMEOUT,
  DEFAULT_MAX_CONNECTIONS,
} from '../../src/server/gateway-server.ts'
import {
  HEADERS_TIMEOUT,
  HIGH_WATER_MARK,
  IDLE_TIMEOUT,
  WRITE_TIMEOUT,
} from '../../src/server/deadlines.ts'
import { DEFAULT_BACKLOG } from '../../src/server/listen.ts'
import { DEFAULT_SOCKET_MODE } from '../../src/server/unix-socket.ts'
import type { TestSessionOptions } from '../../src/testing/test-session.ts'

const page = (name: string) => readFileSync(`docs/${name}.md`, 'utf8')

/** Names in backquotes: `listen`, and `maxAge` of `maxAge: 5`. */
const quoted = (text: string) => [...text.matchAll(/`(\w+)/g)].map(([, name = '']) => name)

/** The first table behind `## Options`: each option with what stands in its second column. */
function optionsOf(name: string): Record<string, string> {
  const table = /\n## Options\n\n((?:\|.*\n)+)/.exec(page(name))?.[1] ?? ''
  const rows = table.trimEnd().split('\n').slice(2)
  return Object.fromEntries(
    rows.flatMap((row) => {
      const [, names = '', value = ''] = row.split('|')
      return quoted(names).map((option) => [option, value.trim()])
    }),
  )
}

/** A constant that a handler keeps to itself. */
function constant(file: string, name: string): number {
  const code = readFileSync(file, 'utf8')
  const value = new RegExp(`^const ${name} = ([\\d_]+)$`, 'm').exec(code)?.[1]
  return Number(value?.replaceAll('_', ''))
}

const bytes = (size: number) =>
  size < 2 ** 20
    ? `${size / 2 ** 10} KiB`
    : size < 2 ** 30
      ? `${size / 2 ** 20} MiB`
      : `${size / 2 ** 30} GiB`
const seconds = (time: number) => `${time / 1000} s`
const count = (number: number) => number.toLocaleString('en')

const rights = `0${DEFAULT_SOCKET_MODE.toString(8)}, ours`

/** What all servers have in common. */
const common = {
  backlog: String(DEFAULT_BACKLOG),
  maxConnections: String(DEFAULT_MAX_CONNECTIONS),
  maxRequestsPerConnection: 'no limit',
  highWaterMark: bytes(HIGH_WATER_MARK),
  headersTimeout: seconds(HEADERS_TIMEOUT),
  idleTimeout: seconds(IDLE_TIMEOUT),
  writeTimeout: seconds(WRITE_TIMEOUT),
  responseTimeout: 'no limit',
  shutdownTimeout: seconds(DEFAULT_SHUTDOWN_TIMEOUT),
  mode: rights,
  owner: rights,
  group: rights,
  scriptName: '',
  pathInfo: "`'auto'`",
  osEnviron: '',
  multiprocess: 'false',
}

test('fastcgi.md has the options and their defaults', () => {
  const options: Record<keyof FastCGIOptions, string> = {
    ...common,
    listen: 'descriptor 0',
    allowedClients: '',
    multiplex: 'true',
    maxHeaderBytes: bytes(MAX_PARAMS_BYTES),
    maxHeaders: count(MAX_PARAMS),
    requestHandler: '`FastCGIRequestHandler`',
  }
  expect(optionsOf('fastcgi')).toEqual(options)
  // The page is that of SCGI as well.
  expect([scgi.MAX_HEADER_BYTES, scgi.MAX_HEADERS]).toEqual([MAX_PARAMS_BYTES, MAX_PARAMS])
})

test('http.md has the options and their defaults', () => {
  const options: Record<keyof HTTPOptions, string> = {
    ...common,
    listen: '`:8000` on 127.0.0.1',
    allowedClients: 'everybody',
    maxHeaderBytes: bytes(constant('handlers/http.ts', 'MAX_HEADER_BYTES')),
    maxHeaders: count(constant('handlers/http.ts', 'MAX_HEADERS')),
    serverSoftware: '`Portico`',
    validate: 'false',
    requestHandler: '`HTTPRequestHandler`',
  }
  expect(optionsOf('http')).toEqual(options)
})

test('what run() has besides is on the pages', () => {
  const options: Record<
    Exclude<keyof RunOptions, keyof FastCGIOptions | keyof HTTPOptions>,
    true
  > = { exitOnUncaughtError: true, gateway: true }
  for (const name of Object.keys(options)) {
    expect(page('fastcgi')).toMatch(new RegExp(`\\b${name}: `))
    expect(optionsOf('fastcgi')).not.toHaveProperty(name)
  }
})

test('node-fastcgi.md says of every option whether it is heeded', () => {
  const options: Record<keyof NodeFastCGIOptions, boolean> = {
    allowedClients: true,
    responseTimeout: true,
    backlog: true,
    shutdownTimeout: true,
    group: true,
    requestHandler: true,
    listen: true,
    maxConnections: true,
    mode: true,
    multiprocess: true,
    osEnviron: true,
    owner: true,
    pathInfo: true,
    scriptName: true,
    headersTimeout: false,
    highWaterMark: false,
    idleTimeout: false,
    maxHeaderBytes: false,
    maxHeaders: false,
    maxRequestsPerConnection: false,
    writeTimeout: true,
  }
  const [, heeded = '', ignored = ''] =
    /\nThe options are those ([^]*?)\.\nNone of these ([^]*?)\n\n/.exec(page('node-fastcgi')) ?? []
  const names = (whether: boolean) =>
    Object.entries(options).flatMap(([name, value]) => (value === whether ? [name] : []))
  const skip = new Set(['FastCGIHandler', 'multiplex'])
  expect(
    quoted(heeded)
      .filter((name) => !skip.has(name))
      .toSorted(),
  ).toEqual(names(true).toSorted())
  expect(quoted(ignored).toSorted()).toEqual(names(false).toSorted())
})

test('forms.md has the options, and the defaults of the limits', () => {
  const options: Record<keyof FieldStorageOptions, string | undefined> = {
    charset: undefined,
    keepBlankValues: undefined,
    maxNumFields: count(forms.MAX_NUM_FIELDS),
    maxNumFiles: count(forms.MAX_NUM_FILES),
    maxPartHeaderSize: bytes(forms.MAX_PART_HEADER_SIZE),
    maxTextSize: bytes(forms.MAX_TEXT_SIZE),
    maxTotalSize: bytes(forms.MAX_TOTAL_SIZE),
    onFile: undefined,
    separator: undefined,
    strictParsing: undefined,
    tempDir: undefined,
  }
  const text = page('forms')
  for (const [name, value] of Object.entries(options)) {
    expect(text).toMatch(
      value === undefined ? new RegExp(`\\| .*\`${name}\\b.* \\|`) : `\`${name}\` ${value}`,
    )
  }
})

test('testing.md names the options of TestApp', () => {
  // The place of a real script, and what only a client over a socket needs.
  type Left = 'remotePort' | 'scriptFilename' | 'serverProtocol'
  type Name = Exclude<keyof InProcessOptions | keyof TestSessionOptions, Left>
  const options: Record<Name, true> = {
    https: true,
    mount: true,
    origin: true,
    remoteAddr: true,
    serverName: true,
    serverPort: true,
    validate: true,
    variables: true,
  }
  const row = /\| `new TestApp\(app, options\?\)` \|(.*)\|/.exec(page('testing'))?.[1] ?? ''
  expect(quoted(row).toSorted()).toEqual(Object.keys(options).toSorted())
})

describe('middleware.md names every option of', () => {
  const layers = {
    accessLog: { format: true, write: true } satisfies Record<keyof AccessLogOptions, true>,
    basicAuth: { realm: true, users: true, verify: true } satisfies Record<
      keyof BasicAuthOptions,
      true
    >,
    cascade: { catch: true } satisfies Record<keyof CascadeOptions, true>,
    errorPage: { development: true } satisfies Record<keyof ErrorPageOptions, true>,
    proxyFix: { trusted: true, count: true, fields: true, forwarded: true } satisfies Record<
      keyof ProxyFixOptions,
      true
    >,
    session: {
      secret: true,
      store: true,
      name: true,
      maxAge: true,
      path: true,
      domain: true,
      sameSite: true,
    } satisfies Record<keyof SessionOptions, true>,
    staticFiles: {
      dotfiles: true,
      extensions: true,
      precompressed: true,
      maxAge: true,
    } satisfies Record<keyof StaticFilesOptions, true>,
  }
  it.each(Object.entries(layers))('%s', (layer, options) => {
    const paragraph = new RegExp(`\\n\\*\\*${layer}\\*\\* ([^]*?)\\n\\n`).exec(page('middleware'))
    expect(quoted(paragraph?.[1] ?? '')).toEqual(expect.arrayContaining(Object.keys(options)))
  })

  it('sendfile', () => {
    const options: Record<keyof SendfileOptions, true> = { header: true, map: true, escape: true }
    const text = page('middleware').split('## Files sent by the web server')[1]
    for (const name of Object.keys(options)) expect(text).toContain(`${name}: `)
  })
})
