/** The code cache of cgi-bin/portico.cjs, and files made by `withCodeCache`. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { deflateRawSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { withCodeCache } from '../../src/bundle/code-cache.ts'
import { temporaryDirectory } from '../server/child.ts'

const directory = temporaryDirectory()
afterAll(directory.remove)
const CACHE = `portico-${process.version}-${process.platform}-${process.arch}.cache`
const cache = join(directory.path, CACHE)
const HELLO = 'Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nHello\n'

/** Writes to stderr whether V8 took the cache of each script that is compiled. */
const SPY = `const vm = require('node:vm')
const { Script } = vm
vm.Script = class extends Script {
  constructor(source, options) {
    super(source, options)
    process._rawDebug(options.cachedData ? 'rejected: ' + this.cachedDataRejected : 'no cache')
  }
}`

beforeAll(() => {
  copyFileSync('cgi-bin/portico.cjs', join(directory.path, 'portico.cjs'))
  writeFileSync(join(directory.path, 'spy.cjs'), SPY)
  writeFileSync(
    join(directory.path, 'hello.cgi'),
    `const { CGIHandler } = require('./portico.cjs')
     new CGIHandler().run((environ, startResponse) => {
       startResponse('200 OK', [['Content-Type', 'text/plain']])
       return ['Hello\\n']
     })`,
  )
})

/** Any user other than root. */
const ANOTHER_USER = 65_534

const env = { REQUEST_METHOD: 'GET', GATEWAY_INTERFACE: 'CGI/1.1' }

function hello() {
  const args = ['--require', join(directory.path, 'spy.cjs'), join(directory.path, 'hello.cgi')]
  const { stdout, stderr, status } = spawnSync(process.execPath, args, {
    env,
    encoding: 'latin1',
    timeout: 20_000,
  })
  expect([status, stdout]).toEqual([0, HELLO])
  return stderr
}

function makeCache(): void {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(directory.path, 'portico.cjs'), '--code-cache'],
    { env: {}, encoding: 'utf8' },
  )
  expect([status, stdout, stderr]).toEqual([0, '', `${cache}\n`])
}

describe('cgi-bin/portico.cjs', () => {
  test('works without a code cache, and `--code-cache` makes one that V8 takes', () => {
    expect(hello()).toBe('no cache\n')
    makeCache()
    expect(hello()).toBe('rejected: false\n')
    makeCache() // Again, over the first one.
    expect(hello()).toBe('rejected: false\n')
    expect(readdirSync(directory.path).filter((name) => name.endsWith('.part'))).toEqual([])
  })

  test.each<[string, () => void, string]>([
    ['of another program', () => edit((bytes) => bytes.fill('0', 0, 15)), 'no cache\n'],
    ['that is empty', () => truncateSync(cache, 0), 'no cache\n'],
    ['that is truncated', () => truncateSync(cache, 20_000), 'rejected: true\n'],
    [
      'of another version of V8',
      () => edit((bytes) => bytes.fill(0xff, 16, 32)),
      'rejected: true\n',
    ],
    ['of another Node', () => rmSync(cache), 'no cache\n'],
    [
      'that is a symbolic link',
      () => {
        renameSync(cache, `${cache}.moved`)
        symlinkSync(`${cache}.moved`, cache)
      },
      'no cache\n',
    ],
    [
      'that is a pipe',
      () => {
        rmSync(cache)
        execFileSync('mkfifo', [cache])
      },
      'no cache\n',
    ],
  ])('ignores a code cache %s', (_, damage, seen) => {
    makeCache()
    damage()
    expect(hello()).toBe(seen)
  })

  test('imports the bridge of a Fetch application, with a code cache and without', () => {
    mkdirSync(join(directory.path, 'node_modules'))
    symlinkSync(resolve('.'), join(directory.path, 'node_modules/portico'))
    const script = join(directory.path, 'fetch.cgi')
    writeFileSync(
      script,
      `const { CGIHandler } = require('./portico.cjs')
       new CGIHandler().run({ fetch: () => new Response('fetched') })`,
    )
    const body = () =>
      execFileSync(process.execPath, [script], { env, encoding: 'utf8', stdio: 'pipe' }).slice(-7)
    rmSync(cache, { force: true })
    expect(body()).toBe('fetched')
    makeCache()
    expect(body()).toBe('fetched')
  })

  test.skipIf(process.getuid?.() !== 0)('ignores a code cache of another user', () => {
    makeCache()
    chownSync(cache, ANOTHER_USER, ANOTHER_USER)
    expect(hello()).toBe('no cache\n')
    // A cache of the program's owner is used, although root runs the program.
    const program = join(directory.path, 'portico.cjs')
    chownSync(program, ANOTHER_USER, ANOTHER_USER)
    expect(hello()).toBe('rejected: false\n')
    chownSync(program, 0, 0)
  })

  test('a web server that passes the query as arguments makes no code cache', () => {
    rmSync(cache, { force: true })
    execFileSync(process.execPath, [join(directory.path, 'portico.cjs'), '--code-cache'], { env })
    expect(readdirSync(directory.path)).not.toContain(CACHE)
  })
})

function edit(change: (bytes: Buffer) => void, path = cache): void {
  const bytes = readFileSync(path)
  change(bytes)
  writeFileSync(path, bytes)
}

test('npm run build makes a code cache for the Node that builds', () => {
  expect(readdirSync('cgi-bin')).toContain(CACHE)
})

test.each([
  ['the end of a comment', "module.exports = '*/' + /[*/]/.source + `*/`", '*/[*/]*/'],
  ['characters beyond ASCII', "module.exports = 'ä€😀'", 'ä€😀'],
  ['the text of a replacement pattern', "module.exports = '$& $1 LINE'", '$& $1 LINE'],
])('withCodeCache keeps a program with %s', (_, source, value) => {
  const file = join(directory.path, 'program.cjs')
  writeFileSync(file, withCodeCache({ source, madeBy: 'first-run' }))
  const print = 'process.stdout.write(require(process.argv[1]))'
  expect(execFileSync(process.execPath, ['-e', print, file], { encoding: 'utf8' })).toBe(value)
})

test('the data of a program is parsed when the program asks for it', () => {
  const data = ['[1,"*/"]', '{"ä":"€"}'].map((json) => deflateRawSync(json).toString('base64'))
  const source = 'module.exports = JSON.stringify([__portico_data(1), __portico_data(0)])'
  const file = join(directory.path, 'data.cjs')
  writeFileSync(file, withCodeCache({ source, data, madeBy: 'first-run' }))
  const print = 'process.stdout.write(require(process.argv[1]))'
  expect(execFileSync(process.execPath, ['-e', print, file], { encoding: 'utf8' })).toBe(
    '[{"ä":"€"},[1,"*/"]]',
  )
})

test('a later request adds what it has compiled to the code cache, and the cache is not made at each request', () => {
  const file = join(directory.path, 'grows.cjs')
  const functions = Array.from({ length: 200 }, (_, i) => `'use ${i}'; return [${i}, '${i}'.at(0)]`)
  const source = `const all = [${functions.map((body) => `() => { ${body} }`).join(',')}]
    if (process.env.PATH_INFO === '/all') for (const each of all) each()`
  writeFileSync(file, withCodeCache({ source, madeBy: 'first-run' }))
  const path = join(
    directory.path,
    `.ht-grows.cjs-${process.version}-${process.platform}-${process.arch}.cache`,
  )
  const request = (PATH_INFO: string) => {
    execFileSync(process.execPath, [file], { env: { ...env, PATH_INFO } })
    const bytes = readFileSync(path)
    return { count: Number(bytes.toString('latin1', 15, 16)), size: bytes.length }
  }
  const first = request('/')
  const second = request('/all')
  const third = request('/')
  expect([first.count, second.count]).toEqual([0, 1])
  expect(second.size).toBeGreaterThan(first.size * 2)
  // It has all functions, although this request called none, if the cache was made at all.
  expect(third.size).toBeGreaterThan(first.size * 2)
  edit((bytes) => bytes.fill('8', 15, 16), path)
  const { mtimeMs } = statSync(path)
  expect(request('/').count).toBe(8)
  expect(statSync(path).mtimeMs).toBe(mtimeMs)
})

test('an error in a program names its line of the file', () => {
  const file = join(directory.path, 'fails.cjs')
  const head = '#!/usr/bin/env node\n// A comment.\n'
  const text = withCodeCache({ source: "\n\nthrow new Error('here')", head, madeBy: 'first-run' })
  writeFileSync(file, text)
  const { stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8' })
  const line = text.split('\n').findIndex((each) => each.startsWith('throw')) + 1
  expect(stderr).toContain(`at Object.<anonymous> (${file}:${line}:`)
})

test('a stack trace from portico/cgi leads to the lines of src/ with --enable-source-maps', () => {
  const script = `const { CGIHandler } = require(process.argv[1])
    new CGIHandler().run((environ, startResponse) => startResponse('oops', []))`
  const args = ['--enable-source-maps', '-e', script, `${process.cwd()}/dist/cgi.cjs`]
  const { stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8' })
  expect(stderr).toMatch(/at checkStatus \(.*src\/response\/headers\.ts:\d+:\d+\)/)
})
