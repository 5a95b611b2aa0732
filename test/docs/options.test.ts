/**
 * The options in docs/: each page has the names of the types and the defaults of the code. The
 * compiler checks that the names in this file are exactly those of the types.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, it, test } from 'vitest'
import * as cgiBin from '../../src/cgi-bin/options.ts'
import { flagName } from '../../src/command/flags.ts'
import { SETTINGS } from '../../src/command/serve-flags.ts'
import type { InProcessOptions } from '../../src/embedded/in-process.ts'
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
import { textOf } from '../../src/options/row.ts'
import {
  defaultOf,
  namesOf,
  OPTION_NAMES,
  rowOf,
  type OptionName,
  type OptionSet,
} from '../../src/options/table.ts'
import type { TestSessionOptions } from '../../src/testing/test-session.ts'

const page = (name: string) => readFileSync(`docs/${name}.md`, 'utf8')

/** Names in backquotes: `listen`, and `maxAge` of `maxAge: 5`. */
const quoted = (text: string) => [...text.matchAll(/`(\w+)/g)].map(([, name = '']) => name)

/** The first table after `## Options`: each option with its default and its text. */
function tableOf(name: string): Record<string, string[]> {
  const table = /\n## Options\n\n(?:[^|#]+\n\n)?((?:\|.*\n)+)/.exec(page(name))?.[1] ?? ''
  const rows = table.trimEnd().split('\n').slice(2)
  return Object.fromEntries(
    rows.map((row) => {
      const [, names = '', ...columns] = row.split('|').map((column) => column.trim())
      return [quoted(names)[0], columns.slice(0, -1)]
    }),
  )
}

const bytes = (size: number) =>
  size < 2 ** 20
    ? `${size / 2 ** 10} KiB`
    : size < 2 ** 30
      ? `${size / 2 ** 20} MiB`
      : `${size / 2 ** 30} GiB`
const count = (number: number) => number.toLocaleString('en')

/** Defaults that a table words in its own way. Each CGI request has its own process. */
const WORDED: Partial<Record<OptionName, Partial<Record<OptionSet, string>>>> = {
  listen: { fastcgi: '`fd:0`', http: '`:8000`' },
  multiprocess: { cgi: 'true' },
  requestHandler: { fastcgi: '`FastCGIRequestHandler`', http: '`HTTPRequestHandler`' },
}

/** How a default is written in a table of the documentation. */
function written(name: OptionName, set: OptionSet): string {
  const worded = WORDED[name]?.[set]
  if (worded !== undefined) return worded
  const value = defaultOf(name, set) as string | number | boolean | undefined
  if (value === undefined) return ''
  if (value === 0) return 'no limit'
  if (name === 'mode') return `0${Number(value).toString(8)}`
  switch (rowOf(name).kind) {
    case 'time':
      return `${Number(value) / 1000} s`
    case 'bytes':
      return bytes(Number(value))
    case 'choice':
      return `\`'${String(value)}'\``
    case 'text':
    case 'header':
      return `\`${String(value)}\``
    default:
      return name === 'maxHeaders' ? count(Number(value)) : String(value)
  }
}

test.each(['cgi', 'fastcgi', 'http'] as const)(
  'docs/%s.md has the options, their defaults and their texts',
  (set) => {
    expect(tableOf(set)).toEqual(
      Object.fromEntries(
        namesOf(set).map((name) => [name, [written(name, set), textOf(rowOf(name))]]),
      ),
    )
  },
)

test('The doc comment of each option is its text', () => {
  const source = readFileSync('src/options/options.ts', 'utf8')
  const comments = [...source.matchAll(/\/\*\*((?:(?!\*\/)[^])*)\*\/\s*readonly (\w+)\?: /g)].map(
    ([, comment = '', name]) => [name, comment.replaceAll(/\s+(?:\* )?/g, ' ').trim()],
  )
  expect(comments).toEqual(OPTION_NAMES.map((name) => [name, textOf(rowOf(name))]))
})

test('The help of an option fits beside its flag, and is a phrase', () => {
  for (const name of OPTION_NAMES) {
    expect(rowOf(name).help).toMatch(/^(?:[a-z]|CIDR|SCRIPT_NAME).{5,69}[^.]$/)
    expect(rowOf(name).help).not.toMatch(/[`*|]/)
    expect(rowOf(name).more ?? 'A b').toMatch(/^[A-Z`].*[^.]$/)
  }
})

test('SCGI has the options of FastCGI, except multiplex', () => {
  expect(namesOf('scgi')).toEqual(namesOf('fastcgi').filter((name) => name !== 'multiplex'))
  for (const name of namesOf('scgi')) {
    expect(defaultOf(name, 'scgi')).toBe(defaultOf(name, 'fastcgi'))
  }
})

test("docs/fastcgi.md describes run()'s own options outside the table", () => {
  for (const name of namesOf('run')) {
    expect(page('fastcgi')).toMatch(new RegExp(`\\b${name}: `))
    expect(tableOf('fastcgi')).not.toHaveProperty(name)
  }
})

test('docs/node-fastcgi.md names the options of node-fastcgi, and those that it lacks', () => {
  const [, own = '', others = ''] =
    /\nThe options are those ([^]*?)\.\nIt does not have ([^]*?)\n\n/.exec(page('node-fastcgi')) ??
    []
  const skip = new Set(['FastCGIHandler', 'multiplex'])
  expect(
    quoted(own)
      .filter((name) => !skip.has(name))
      .toSorted(),
  ).toEqual(namesOf('node-fastcgi').toSorted())
  const missing = namesOf('scgi').filter((name) => !namesOf('node-fastcgi').includes(name))
  expect(quoted(others).toSorted()).toEqual(missing.toSorted())
})

test('docs/forms.md has the options, and the defaults of the limits', () => {
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

test('docs/testing.md names the options of TestApp', () => {
  // The path of a real script, and what only a client over a socket needs.
  type Left = 'documentRoot' | 'remotePort' | 'scriptFilename' | 'serverAddr' | 'serverProtocol'
  type Name = Exclude<keyof InProcessOptions | keyof TestSessionOptions, Left>
  const options: Record<Name, true> = {
    as: true,
    https: true,
    mount: true,
    origin: true,
    remoteAddr: true,
    serverName: true,
    serverPort: true,
    serverSoftware: true,
    validate: true,
    variables: true,
  }
  const row = /\| `new TestApp\(app, options\?\)` \|(.*)\|/.exec(page('testing'))?.[1] ?? ''
  expect(quoted(row).toSorted()).toEqual(Object.keys(options).toSorted())
})

test('docs/cgi-bin.md has the options of cgiBin, their flags and the defaults of the limits', () => {
  const words: Record<keyof typeof cgiBin.DEFAULTS, string> = {
    timeout: `${cgiBin.DEFAULTS.timeout / 1000} s`,
    maxTime: `${cgiBin.DEFAULTS.maxTime / 3_600_000} h`,
    maxOutput: bytes(cgiBin.DEFAULTS.maxOutput),
    maxStored: bytes(cgiBin.DEFAULTS.maxStored),
    maxScripts: count(cgiBin.DEFAULTS.maxScripts),
    maxWaiting: count(cgiBin.DEFAULTS.maxWaiting),
  }
  const table = tableOf('cgi-bin')
  expect(Object.keys(table).toSorted()).toEqual(cgiBin.OPTION_NAMES.toSorted())
  for (const [name, value] of Object.entries(words)) expect(table[name]![1]).toBe(value)
  const flags = Object.values(table).map(([flag = '']) => quoted(flag.replace('--', ''))[0])
  const keys = Object.keys(SETTINGS).filter((key) => /^cgi(?!Bin)/.test(key))
  expect(flags.filter(Boolean).length).toBe(keys.length)
  for (const key of keys) expect(page('cgi-bin')).toContain(`\`--${flagName(key)}\``)
})

describe('docs/middleware.md has a row for every option of', () => {
  const middleware = {
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
      secure: true,
    } satisfies Record<keyof SessionOptions, true>,
    staticFiles: {
      dotfiles: true,
      extensions: true,
      precompressed: true,
      maxAge: true,
      charset: true,
    } satisfies Record<keyof StaticFilesOptions, true>,
  }
  it.each(Object.entries(middleware))('%s', (name, options) => {
    const rows = page('middleware').matchAll(
      new RegExp(`^\\| \`${name}\` \\| \`(\\w+)\` \\|`, 'gm'),
    )
    const found = Array.from(rows, ([, option = '']) => option)
    expect(found.toSorted()).toEqual(Object.keys(options).toSorted())
  })

  it('sendfile', () => {
    const options: Record<keyof SendfileOptions, true> = { header: true, map: true, escape: true }
    const text = page('middleware').split('\n## Files\n')[1]
    for (const name of Object.keys(options)) expect(text).toContain(`${name}: `)
  })
})
