/** package.json's exports, and what each of them contains. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import * as gateway from '../../src/exports/gateway.ts'
import * as portico from '../../src/exports/index.ts'
import * as wsgiref from '../../src/exports/wsgiref.ts'

const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as {
  exports: Record<string, unknown>
  scripts: Record<string, string>
  [key: string]: unknown
}

const names = readdirSync('src/exports').map((file) => file.replace(/\.ts$/, ''))

test('package.json exports each file of src/exports by its name, and nothing else', () => {
  const expected = names.map((name) => (name === 'index' ? '.' : `./${name}`))
  expect(Object.keys(manifest.exports)).toEqual([...expected.toSorted(), './package.json'])
})

test.each(names.filter((name) => name !== 'cgi'))(
  'package.json exports %s as an ES module with its types',
  (name) => {
    expect(manifest.exports[name === 'index' ? '.' : `./${name}`]).toEqual({
      types: `./dist/src/exports/${name}.d.ts`,
      default: `./dist/src/exports/${name}.js`,
    })
  },
)

test('package.json exports cgi as an ES module and as a CommonJS file, each with its types, and for Bun as one file', () => {
  const bun = './dist/cgi.bun.cjs'
  const [esm, commonjs] = ['./dist/src/exports/cgi', './dist/commonjs/src/exports/cgi']
  expect(manifest.exports['./cgi']).toEqual({
    import: { types: `${esm}.d.ts`, bun, default: `${esm}.js` },
    require: { types: `${commonjs}.d.ts`, bun, default: './dist/cgi.cjs' },
  })
})

test('The file for Bun is one that Bun runs as it is, which takes ASCII', () => {
  const text = readFileSync('dist/cgi.bun.cjs', 'latin1')
  expect(text).toMatch(/^\/\/ @bun @bun-cjs\n[\0-\x7f]+$/)
})

test('portico exports what applications and the programs that serve them need', () => {
  expect(Object.keys(portico).toSorted()).toEqual([
    'ApplicationError',
    'CGIHandler',
    'ConfigurationError',
    'FastCGIHandler',
    'FileWrapper',
    'GatewayServer',
    'HTTPHandler',
    'Headers',
    'IISCGIHandler',
    'PeerError',
    'PorticoError',
    'ResponseHeaders',
    'SCGIHandler',
    'applicationUri',
    'copyEnviron',
    'decodeText',
    'encodeText',
    'makeServer',
    'requestUri',
    'run',
    'shiftPathInfo',
    'validator',
  ])
  expect(portico.ResponseHeaders).toBe(portico.Headers)
})

test("portico/wsgiref exports the names of Python's wsgiref", () => {
  expect(Object.keys(wsgiref).toSorted()).toEqual([
    'BaseCGIHandler',
    'BaseHandler',
    'CGIHandler',
    'FileWrapper',
    'Headers',
    'IISCGIHandler',
    'ServerHandler',
    'SimpleHandler',
    'WSGIServer',
    'applicationUri',
    'demoApp',
    'guessScheme',
    'isHopByHop',
    'makeServer',
    'requestUri',
    'setupTestingDefaults',
    'shiftPathInfo',
    'validator',
  ])
})

test('portico/gateway exports what a gateway is built from', () => {
  expect(Object.keys(gateway)).toEqual(
    expect.arrayContaining([
      'BaseHandler',
      'BodyQueue',
      'ErrorLog',
      'GatewayServer',
      'Input',
      'SimpleHandler',
      'createEnviron',
      'toApplication',
      'setVariable',
    ]),
  )
})

/** Prints what loading every export path changes outside the package. */
const EFFECTS = `
const before = Object.getOwnPropertyDescriptors(globalThis)
const listeners = process.eventNames().length
for (const name of ${JSON.stringify(names)}) {
  await import(name === 'index' ? 'portico' : 'portico/' + name)
}
const after = Object.getOwnPropertyDescriptors(globalThis)
const changed = Object.keys(after).filter((name) => !Object.is(after[name].value, before[name]?.value))
console.log(JSON.stringify({ changed, listeners: process.eventNames().length - listeners }))
`

test('package.json says that modules have no side effects, and loading them has none', () => {
  expect(manifest['sideEffects']).toBe(false)
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', EFFECTS])
  expect(JSON.parse(output.toString())).toEqual({ changed: [], listeners: 0 })
})

describe('The tarball of npm pack', () => {
  const [{ files }] = JSON.parse(
    execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts']).toString(),
  ) as [{ files: { path: string }[] }]
  const paths = files.map(({ path }) => path)

  test('contains what users need, and nothing else', () => {
    const needed =
      /^(?:bin|dist|cgi-bin|docs|examples)\/|^(?:package\.json|nginx\.conf\.example|LICENSE|(?:README|SPEC|CHANGELOG|CONTRIBUTING|SECURITY)\.md)$/
    expect(paths.filter((path) => !needed.test(path))).toEqual([])
    expect(paths.filter((path) => /\.tsbuildinfo$|\.test\.|\/test\//.test(path))).toEqual([])
  })

  test('contains every file that package.json exports', () => {
    const targets = JSON.stringify(manifest.exports).match(/\.\/[^"]+\.(?:js|ts|json)\b/g) ?? []
    expect(targets.length).toBeGreaterThan(names.length)
    expect(targets.filter((target) => !paths.includes(target.slice(2)))).toEqual([])
  })

  test('has no script that npm would run, or warn about, during installation', () => {
    const scripts = ['preinstall', 'install', 'postinstall', 'prepare']
    expect(scripts.filter((name) => name in manifest.scripts)).toEqual([])
  })
})
