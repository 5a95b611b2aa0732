/**
 * The applications of cgi-bin/ and examples/, seen from the gateway's side.
 *
 * They run in this process, under a minimal gateway. Other tests run them over real gateways.
 * `portico` itself is replaced by a stand-in that records what it is asked to run.
 */
import { Buffer } from 'node:buffer'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import timers from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { assert, asyncProperty, string, uint8Array } from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { Headers } from '../../src/response/headers.ts'
import type {
  Application,
  ApplicationClass,
  Body,
  Environ,
  HeaderList,
  HeaderPairs,
  StartResponse,
} from '../../src/types.ts'

const CGI_BIN = fileURLToPath(new URL('../../cgi-bin', import.meta.url))
const EXAMPLES = fileURLToPath(new URL('../../examples', import.meta.url))
const SCRIPTS = ['base64.cgi', 'bigfile.cgi', 'environ.cgi', 'form.cgi', 'hello.cgi']

const require = createRequire(import.meta.url)
const base64: Application = require(join(CGI_BIN, 'base64.cgi'))
const environPage: Application = require(join(CGI_BIN, 'environ.cgi'))
const form: Application = require(join(CGI_BIN, 'form.cgi'))
const hello: Application = require(join(CGI_BIN, 'hello.cgi'))
const bigfile: (
  environ: Environ,
  startResponse: StartResponse,
) => Iterable<Buffer> & { close(): void } = require(join(CGI_BIN, 'bigfile.cgi'))

const HTML: HeaderList = [['Content-Type', 'text/html; charset=utf-8']]
const TEXT: HeaderList = [['Content-Type', 'text/plain; charset=utf-8']]

interface Result {
  status: string
  headers: HeaderList
  body: string
  errors: string
  /** How much of the request's body the application has read. */
  taken: number
}

/** A text as a web server passes it on: one character per byte of its UTF-8. */
const bytes = (text: string) => Buffer.from(text).toString('latin1')

const isClass = (app: Application | ApplicationClass): app is ApplicationClass =>
  Function.prototype.toString.call(app).startsWith('class')

/** Any value may stand for any key: some tests are about values that the types rule out. */
type Variables = Record<string, unknown>

const makeEnviron = (variables: Variables): Environ =>
  Object.assign(Object.create(null), {
    REQUEST_METHOD: 'GET',
    SCRIPT_NAME: '',
    PATH_INFO: '',
    QUERY_STRING: '',
    SERVER_NAME: 'localhost',
    SERVER_PORT: '80',
    SERVER_PROTOCOL: 'HTTP/1.1',
    'wsgi.version': [1, 0],
    'wsgi.url_scheme': 'http',
    'portico.gateway': 'cgi',
    ...variables,
  })

async function call(
  app: Application | ApplicationClass,
  variables: Variables = {},
  requestBody: Uint8Array | string = '',
): Promise<Result> {
  const input = Buffer.from(requestBody)
  const response: Result = { status: '', headers: [], body: '', errors: '', taken: 0 }
  const take = (size: number) => {
    const part = input.subarray(response.taken, response.taken + size)
    response.taken += part.length
    return part
  }
  const environ = makeEnviron({
    'wsgi.input': {
      read: async (size = input.length) => take(size),
      async *chunks() {
        for (let part = take(1000); part.length > 0; part = take(1000)) yield part
      },
    },
    'wsgi.errors': {
      write(text: string) {
        response.errors += text
      },
    },
    ...variables,
  })

  const sent: Buffer[] = []
  const startResponse = (status: string, headers: HeaderPairs) => {
    expect(response.status).toBe('')
    Object.assign(response, { status, headers: new Headers(headers).items() })
    return async (chunk: Uint8Array | string) => void sent.push(Buffer.from(chunk))
  }
  const body: Body = isClass(app)
    ? new app(environ, startResponse)
    : await app(environ, startResponse)
  for await (const chunk of body) {
    expect(response.status).not.toBe('')
    sent.push(Buffer.from(chunk))
  }
  body.close?.()
  response.body = Buffer.concat(sent).toString('latin1')
  return response
}

/** The part of an HTML response that is its own: everything below the heading, as text. */
async function content(response: Promise<Result>) {
  const { status, headers, body } = await response
  const page = Buffer.from(body, 'latin1').toString()
  expect(headers[0]).toEqual(HTML[0])
  expect(page).toMatch(/^<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n/)
  return { status, headers, html: page.slice(page.indexOf('</h1>\n') + 6) }
}

/** The tags of a page: what no input may change. */
const tags = (html: string) => html.match(/<[^>]*>/g)

const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" }
const unescape = (html: string) => html.replace(/&([^;]*);/g, (_, name: string) => ENTITIES[name]!)

/** Texts in which something is easily lost or let through, and the same in HTML. */
const ODD_TEXTS: [text: string, inHtml: string][] = [
  ['Ada', 'Ada'],
  ['<script>alert(1)</script>', '&lt;script&gt;alert(1)&lt;/script&gt;'],
  [`"double" & 'single'`, '&quot;double&quot; &amp; &#39;single&#39;'],
  ['&lt;', '&amp;lt;'],
  ['Grüße, 世界', 'Grüße, 世界'],
  ['🦀', '🦀'],
  ['1 + 1 = 2', '1 + 1 = 2'],
  ['${x} `$&` $1', '${x} `$&amp;` $1'],
]

test('hello.cgi says hello in plain text', async () => {
  expect(await call(hello)).toMatchObject({
    status: '200 OK',
    headers: TEXT,
    body: 'Hello, world!\n',
  })
})

const row = (name: string, value: string) =>
  `<tr><th scope="row"><code>${name}</code></th><td>${value}</td></tr>\n`
const show = (variables: Variables) => content(call(environPage, variables))

describe('environ.cgi', () => {
  test('lists the variables of the web server and the keys of the gateway separately', async () => {
    class FileWrapper {
      #file = 1
      file = this.#file
    }
    const { status, html } = await show({
      HTTP_HOST: 'localhost',
      'wsgi.file_wrapper': FileWrapper,
      'wsgi.input': new FileWrapper(),
      'wsgi.errors': { secret: 1 },
      'portico.signal': new AbortController().signal,
    })
    expect(status).toBe('200 OK')
    expect(html).toBe(
      '<h2>From the web server</h2>\n<table>\n' +
        row('HTTP_HOST', 'localhost') +
        row('PATH_INFO', '') +
        row('QUERY_STRING', '') +
        row('REQUEST_METHOD', 'GET') +
        row('SCRIPT_NAME', '') +
        row('SERVER_NAME', 'localhost') +
        row('SERVER_PORT', '80') +
        row('SERVER_PROTOCOL', 'HTTP/1.1') +
        '</table>\n<h2>From the gateway</h2>\n<table>\n' +
        row('portico.gateway', '&#39;cgi&#39;') +
        row('portico.signal', '[AbortSignal]') +
        row('wsgi.errors', '[Object]') +
        row('wsgi.file_wrapper', '[class FileWrapper]') +
        row('wsgi.input', '[FileWrapper]') +
        row('wsgi.url_scheme', '&#39;http&#39;') +
        row('wsgi.version', '[ 1, 0 ]') +
        '</table>\n',
    )
  })

  test.each<[what: string, value: string, shown: string]>([
    ...ODD_TEXTS.map(
      ([text, inHtml]) =>
        [`UTF-8 as text: ${text}`, bytes(text), inHtml] as [string, string, string],
    ),
    // Raw bytes reach the environ as they are.
    ['bytes that are not UTF-8 spelled out', '/\x80caf\xe9', '/\\x80caf\\xe9'],
    ['truncated UTF-8 as bytes', '\xf0\x9f\xa6', '\\xf0\\x9f\\xa6'],
    ['control characters spelled out', 'a\nb\x00\x1b[31m', 'a\\u{a}b\\u{0}\\u{1b}[31m'],
    ['a change of direction spelled out', bytes('\u202Etxt.exe'), '\\u{202e}txt.exe'],
  ])('shows %s', async (_, value, shown) => {
    const { html } = await show({ HTTP_X_TEST: value })
    expect(html).toContain(row('HTTP_X_TEST', shown))
  })

  test('escapes a name as well as a value', async () => {
    const { html } = await show({ 'HTTP_<B>\xff': 'x' })
    expect(html).toContain(row('HTTP_&lt;B&gt;\\xff', 'x'))
  })

  test('has the same tags for any bytes', async () => {
    const expected = tags((await show({ HTTP_X_TEST: 'x' })).html)
    await assert(
      asyncProperty(uint8Array(), async (value) => {
        const HTTP_X_TEST = Buffer.from(value).toString('latin1')
        expect(tags((await show({ HTTP_X_TEST })).html)).toEqual(expected)
      }),
    )
  })
})

describe('form.cgi', () => {
  const FORM = `<form method="post">
<label>Your name <input name="name" autofocus required></label>
<button>Greet</button>
</form>
`
  const TYPE = 'application/x-www-form-urlencoded'
  const post = (body: Uint8Array | string, CONTENT_TYPE = TYPE) =>
    call(form, { REQUEST_METHOD: 'POST', CONTENT_TYPE, CONTENT_LENGTH: String(body.length) }, body)

  test.each(['GET', 'HEAD'])('asks for a name (%s)', async (REQUEST_METHOD) => {
    const { status, headers, html } = await content(call(form, { REQUEST_METHOD }))
    expect({ status, headers, html }).toEqual({ status: '200 OK', headers: HTML, html: FORM })
  })

  test.each([
    ...ODD_TEXTS.map(([text, inHtml]) => [`name=${encodeURIComponent(text)}`, inHtml]),
    ['name=Ada+Lovelace', 'Ada Lovelace'],
    ['name=+Ada%20', 'Ada'],
    ['name=100%zz', '100%zz'],
    ['name=a%', 'a%'],
    ['name=a=b', 'a=b'],
    ['name=Grüße', 'Grüße'],
    ['x=1&name=Ada&name=Bob', 'Ada'],
    ['name=%ff', '\ufffd'],
  ])('greets the sender of %s', async (body, name) => {
    const { status, headers, html } = await content(post(Buffer.from(body)))
    expect({ status, headers, html }).toEqual({
      status: '200 OK',
      headers: HTML,
      html: `<p>Hello, ${name}!</p>\n`,
    })
  })

  test('greets any name unchanged', async () => {
    await assert(
      asyncProperty(string({ unit: 'binary', minLength: 1 }), async (text) => {
        const name = `(${text})`
        const { html } = await content(post(new URLSearchParams({ name }).toString()))
        expect(tags(html)).toEqual(['<p>', '</p>'])
        expect(unescape(html)).toBe(`<p>Hello, ${name}!</p>\n`)
      }),
    )
  })

  test.each(['', 'name', 'name=', 'name=+%20%09', 'nome=Ada', 'NAME=Ada', '&&='])(
    'asks again when the name is missing: %j',
    async (body) => {
      expect(await content(post(body))).toMatchObject({
        status: '400 Bad Request',
        html: `<p>The name is missing.</p>\n${FORM}`,
      })
    },
  )

  test('accepts a body of 8192 bytes', async () => {
    const name = 'x'.repeat(8192 - 'name='.length)
    expect((await content(post(`name=${name}`))).html).toBe(`<p>Hello, ${name}!</p>\n`)
  })

  test.each([8193, 1_000_000])('refuses a body of %i bytes without reading on', async (size) => {
    const response = await post('name='.padEnd(size, 'x'))
    expect(response.status).toBe('413 Content Too Large')
    expect(response.taken).toBe(8193)
  })

  test.each([TYPE.toUpperCase(), `${TYPE};charset=utf-8`, `${TYPE} ; charset=utf-8`])(
    'accepts a body of type %s',
    async (type) => {
      expect((await post('name=Ada', type)).status).toBe('200 OK')
    },
  )

  test.each(['', 'text/plain', `${TYPE}-x`, `x-${TYPE}`, 'multipart/form-data; boundary=x'])(
    'refuses a body of type %j unread',
    async (type) => {
      const response = await post('name=Ada', type)
      expect(response.status).toBe('415 Unsupported Media Type')
      expect(response.taken).toBe(0)
    },
  )

  test('refuses a body without a type', async () => {
    const response = await call(form, { REQUEST_METHOD: 'POST' }, 'name=Ada')
    expect(response.status).toBe('415 Unsupported Media Type')
  })

  test.each(['PUT', 'DELETE', 'OPTIONS', 'post'])(
    'refuses the method %s, and names the allowed ones',
    async (REQUEST_METHOD) => {
      const { status, headers } = await content(call(form, { REQUEST_METHOD, CONTENT_TYPE: TYPE }))
      expect(status).toBe('405 Method Not Allowed')
      expect(headers).toEqual([...HTML, ['Allow', 'GET, HEAD, POST']])
    },
  )
})

const MOUNT_POINTS: [mount: string, url: string][] = [
  ['', ''],
  ['/cgi-bin/base64.cgi', '/cgi-bin/base64.cgi'],
  [bytes('/~ä b/"><b>.cgi'), '/~%C3%A4%20b/%22%3E%3Cb%3E.cgi'],
  ['/100%25?#\x0a', '/100%2525%3F%23%0A'],
  ['//example.org/x.cgi', '/.//example.org/x.cgi'],
]

describe.each(MOUNT_POINTS)('base64.cgi at %j', (SCRIPT_NAME, url) => {
  const FORM = `<form action="${url}/encode">
<label>Text <input name="mystring" autofocus></label>
<button>Encode</button>
</form>
`
  const HOME = `<p><a href="${url}/">Start again</a></p>\n`
  const get = (PATH_INFO: string, QUERY_STRING = '', REQUEST_METHOD = 'GET') =>
    content(call(base64, { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO, QUERY_STRING }))

  test.each(['', '/'])('shows the form at %j', async (path) => {
    const { status, headers, html } = await get(path)
    expect({ status, headers, html }).toEqual({
      status: '200 OK',
      headers: HTML,
      html: FORM + HOME,
    })
  })

  test.each([
    ...ODD_TEXTS.map(([text]) => [encodeURIComponent(text), text]),
    ['', ''],
    ['a+b', 'a b'],
    ['a%2Bb', 'a+b'],
    ['%zz', '%zz'],
    ['%', '%'],
    [bytes('🦀'), '🦀'],
    ['a&mystring=b', 'a'],
    ['a&b=c', 'a'],
    ['a=b;c', 'a=b;c'],
    ['%00', '\0'],
  ])('encodes mystring=%s', async (query, text) => {
    const { status, headers, html } = await get('/encode', `mystring=${query}`)
    expect({ status, headers }).toEqual({ status: '200 OK', headers: HTML })
    expect(tags(html)).toEqual(
      tags(`<p><code></code></p><p><code></code></p><p><a href="${url}/"></a></p>`),
    )
    expect(unescape(html)).toBe(
      `<p>The text <code>${text}</code> in base64 is</p>\n` +
        `<p><code>${Buffer.from(text).toString('base64')}</code></p>\n${HOME}`,
    )
  })

  test.each([
    ['400 Bad Request', '/encode', '', 'GET', 'The parameter mystring is missing.'],
    ['400 Bad Request', '/encode', 'mystrings=a', 'GET', 'The parameter mystring is missing.'],
    ['400 Bad Request', '/', '', 'POST', 'This page accepts only GET and HEAD.'],
    ['400 Bad Request', '/encode', 'mystring=a', 'DELETE', 'This page accepts only GET and HEAD.'],
    ['404 Not Found', '/encode/', 'mystring=a', 'GET', 'There is no such page.'],
    ['404 Not Found', '//', '', 'GET', 'There is no such page.'],
    ['404 Not Found', '//encode', 'mystring=a', 'GET', 'There is no such page.'],
    ['404 Not Found', '/<script>', '', 'GET', 'There is no such page.'],
    ['404 Not Found', '/constructor', '', 'POST', 'There is no such page.'],
  ])('responds %s to %j with the query %j (%s)', async (status, path, query, method, text) => {
    const response = await get(path, query, method)
    expect(response).toEqual({ status, headers: HTML, html: `<p>${text}</p>\n${HOME}` })
  })

  test('responds to HEAD with the head of GET', async () => {
    expect(await get('/', '', 'HEAD')).toEqual(await get('/'))
    expect(await get('/encode', 'mystring=a', 'HEAD')).toEqual(await get('/encode', 'mystring=a'))
  })
})

/** Watches which files are opened and closed from now on, by descriptor. */
function watchFiles() {
  const open = vi.spyOn(fs, 'openSync')
  const close = vi.spyOn(fs, 'closeSync')
  return () => ({
    opened: open.mock.results.map((result): number => result.value),
    closed: close.mock.calls.map(([fd]) => fd),
  })
}

const discard: StartResponse = () => async () => {}

describe('bigfile.cgi', () => {
  let directory: string
  let file: string
  // Binary, and not a whole number of blocks.
  const data = Buffer.alloc(
    3 * 65536 + 1234,
    Uint8Array.from({ length: 251 }, (_, i) => 255 - i),
  )

  beforeAll(() => {
    directory = fs.mkdtempSync(join(tmpdir(), 'portico-bigfile-'))
    file = join(directory, 'data')
    fs.writeFileSync(file, data)
  })
  afterAll(() => fs.rmSync(directory, { recursive: true }))
  afterEach(() => {
    vi.unstubAllEnvs()
    vi.restoreAllMocks()
  })

  interface FileLike {
    read(size: number): Buffer
    close(): void
  }

  /** What PEP 3333 asks of wsgi.file_wrapper, and what wsgiref tests of it. */
  class FileWrapper {
    #file: FileLike
    #size: number
    constructor(fileLike: FileLike, size: number) {
      this.#file = fileLike
      this.#size = size
    }
    *[Symbol.iterator]() {
      for (;;) {
        const block = this.#file.read(this.#size)
        if (block.length === 0) return
        yield block
      }
    }
    close() {
      this.#file.close()
    }
  }

  test.each([
    ['with wsgi.file_wrapper', { 'wsgi.file_wrapper': FileWrapper }],
    ['without it', {}],
  ])('sends the file of PORTICO_BIGFILE and closes it, %s', async (_, variables) => {
    vi.stubEnv('PORTICO_BIGFILE', file)
    const files = watchFiles()
    const response = await call(bigfile, variables)
    expect(response.status).toBe('200 OK')
    expect(response.headers).toEqual([
      ['Content-Type', 'application/octet-stream'],
      ['Content-Length', String(data.length)],
    ])
    expect(Buffer.from(response.body, 'latin1').equals(data)).toBe(true)
    expect(files().opened).toHaveLength(1)
    expect(files().closed).toEqual(files().opened)
  })

  test.each([
    ['with wsgi.file_wrapper', { 'wsgi.file_wrapper': FileWrapper }],
    ['without it', {}],
  ])('closes a file that is not read, %s', async (_, variables) => {
    vi.stubEnv('PORTICO_BIGFILE', file)
    const files = watchFiles()
    bigfile(makeEnviron(variables), discard).close()
    expect(files().opened).toHaveLength(1)
    expect(files().closed).toEqual(files().opened)
  })

  test('reads block by block, each only when it is requested', async () => {
    vi.stubEnv('PORTICO_BIGFILE', file)
    const read = vi.spyOn(fs, 'readSync')
    const body = bigfile(makeEnviron({}), discard)
    const blocks = body[Symbol.iterator]()
    expect(read).toHaveBeenCalledTimes(0)
    expect(blocks.next().value).toHaveLength(65536)
    expect(read).toHaveBeenCalledTimes(1)
    body.close()
  })

  test('sends the executable of Node if no file is given', async () => {
    vi.stubEnv('PORTICO_BIGFILE', '')
    let headers: HeaderList = []
    const body = bigfile(makeEnviron({}), (_, list) => {
      headers = new Headers(list).items()
      return async () => {}
    })
    const [first] = body
    body.close()
    expect(headers[1]).toEqual(['Content-Length', String(fs.statSync(process.execPath).size)])
    const fd = fs.openSync(process.execPath, 'r')
    const expected = Buffer.alloc(65536)
    fs.readSync(fd, expected)
    fs.closeSync(fd)
    expect(first?.equals(expected)).toBe(true)
  })

  test('sends no head if the file cannot be opened', async () => {
    vi.stubEnv('PORTICO_BIGFILE', join(directory, 'absent'))
    const startResponse = vi.fn<StartResponse>()
    expect(() => bigfile(makeEnviron({}), startResponse)).toThrow('ENOENT')
    expect(startResponse).not.toHaveBeenCalled()
  })
})

const node = (...args: string[]) => execFileSync(process.execPath, args, { encoding: 'utf8' })

/** The one application that an example asks Portico, or its stand-in, to run. */
async function runExample(file: string): Promise<Application | ApplicationClass> {
  const ran: (Application | ApplicationClass)[] = []
  vi.stubGlobal('ran', ran)
  await import(pathToFileURL(file).href)
  const [application] = ran
  if (!application) throw new Error(`${file} ran nothing`)
  return application
}

/** A copy of both directories, next to stand-ins for the built package. */
describe('In another directory', () => {
  let directory: string

  beforeAll(() => {
    directory = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), 'portico-applications-')))
    const copy = (from: string) =>
      fs.cpSync(from, join(directory, from === CGI_BIN ? 'cgi-bin' : 'examples'), {
        recursive: true,
        filter: (source) => !source.endsWith('portico.cjs'),
      })
    copy(CGI_BIN)
    copy(EXAMPLES)
    const portico = join(directory, 'node_modules', 'portico')
    fs.mkdirSync(portico, { recursive: true })
    fs.writeFileSync(
      join(portico, 'package.json'),
      '{"name":"portico","type":"module","exports":"./index.js"}',
    )
    fs.writeFileSync(
      join(portico, 'index.js'),
      `export function run(application) {
        if (globalThis.ran) globalThis.ran.push(application)
        else console.log('ran ' + application.name)
      }`,
    )
  })
  afterAll(() => fs.rmSync(directory, { recursive: true }))

  test.each(SCRIPTS)('%s can be loaded without portico.cjs', (name) => {
    expect(typeof createRequire(import.meta.url)(join(directory, 'cgi-bin', name))).toBe('function')
  })

  test.each(SCRIPTS)('%s, run as a program, passes its application to CGIHandler', (name) => {
    const standIn = join(directory, 'cgi-bin', 'portico.cjs')
    fs.writeFileSync(
      standIn,
      `exports.CGIHandler = class {
        run(application) {
          console.log(application === require.main.exports && application.name)
        }
      }`,
    )
    try {
      expect(node(join(directory, 'cgi-bin', name))).toBe('application\n')
    } finally {
      fs.rmSync(standIn)
    }
  })

  test('demo.mjs, run as a program, runs its application; imported, it does not', () => {
    const demo = join(directory, 'examples', 'demo.mjs')
    expect(node(demo)).toBe('ran application\n')
    const link = join(directory, 'link.mjs')
    fs.symlinkSync(demo, link)
    expect(node(link)).toBe('ran application\n')
    const source = `const { application } = await import(${JSON.stringify(pathToFileURL(demo).href)})
      console.log(typeof application)`
    expect(node('--input-type=module', '-e', source)).toBe('function\n')
  })

  describe('The example', () => {
    afterEach(() => {
      vi.unstubAllGlobals()
      vi.restoreAllMocks()
      syncBuiltinESMExports()
    })

    test.each([
      ['hello.mjs', 'Hello, world!\n', ''],
      ['generator.mjs', '10\n9\n8\n7\n6\n5\n4\n3\n2\n1\nLift-off!\n', ''],
      ['class.mjs', 'p\no\nr\nt\ni\nc\no\n', 'All letters are delivered.\n'],
    ])('%s responds as described', async (name, body, errors) => {
      const response = await call(await runExample(join(directory, 'examples', name)))
      expect(response).toMatchObject({ status: '200 OK', headers: TEXT, body, errors })
    })

    test('write.mjs sends through write()', async () => {
      const response = await call(await runExample(join(directory, 'examples', 'write.mjs')))
      const lines = Array.from({ length: 10 }, (_, i) => `${i + 1} × ${i + 1} = ${(i + 1) ** 2}\n`)
      expect(response).toMatchObject({
        status: '200 OK',
        headers: TEXT,
        body: bytes(lines.join('')),
      })
    })

    test('async-generator.mjs ticks ten times, a tenth of a second apart', async () => {
      const wait = vi.spyOn(timers, 'setTimeout').mockResolvedValue(undefined)
      syncBuiltinESMExports()
      const response = await call(
        await runExample(join(directory, 'examples', 'async-generator.mjs')),
      )
      expect(response.status).toBe('200 OK')
      expect(response.headers).toEqual([...TEXT, ['X-Accel-Buffering', 'no']])
      expect(response.body).toMatch(/^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\n){10}$/)
      expect(wait.mock.calls).toEqual(Array.from({ length: 9 }, () => [100]))
    })

    test('upload.mjs counts and hashes the upload', async () => {
      const upload = await runExample(join(directory, 'examples', 'upload.mjs'))
      for (const data of [Buffer.alloc(0), Buffer.alloc(12_345, 'ÿ\0')]) {
        const hash = createHash('sha256').update(data).digest('hex')
        const response = await call(upload, { REQUEST_METHOD: 'PUT' }, data)
        expect(response).toMatchObject({
          status: '200 OK',
          headers: TEXT,
          body: `${data.length} bytes\nsha256 ${hash}\n`,
        })
      }
    })
  })
})

describe.each(['', '/cgi-bin/demo.mjs'])('demo.mjs at %j', (SCRIPT_NAME) => {
  let demo: Application
  beforeAll(async () => {
    const path = '../../examples/demo.mjs'
    const exported: { application: Application } = await import(path)
    demo = exported.application
  })
  const get = (PATH_INFO: string, QUERY_STRING = '') =>
    call(demo, { SCRIPT_NAME, PATH_INFO, QUERY_STRING })

  test.each(['/nowhere', '//environ', '/environs', '/__proto__', '/encode'])(
    'responds to %j with 404 and links to the tools',
    async (path) => {
      const response = await get(path)
      expect(response.status).toBe('404 Not Found')
      for (const name of ['base64', 'environ', 'form', 'hello']) {
        expect(response.body).toContain(`<a href="${SCRIPT_NAME}/${name}">${name}</a>`)
      }
    },
  )

  test.each([
    ['/environ', environPage, '/environ', ''],
    ['/environ/', environPage, '/environ', '/'],
    ['/environ/environ//x', environPage, '/environ', '/environ//x'],
    ['/form', form, '/form', ''],
    ['/hello', hello, '/hello', ''],
    ['/base64', base64, '/base64', ''],
    ['/base64/encode', base64, '/base64', '/encode'],
  ])('mounts at %s the application that it links to', async (path, app, mount, rest) => {
    const variables = { SCRIPT_NAME: SCRIPT_NAME + mount, PATH_INFO: rest, QUERY_STRING: 'q=1' }
    expect(await get(path, 'q=1')).toEqual(await call(app, variables))
  })
})

test.each([
  ...SCRIPTS.map((name) => join(CGI_BIN, name)),
  // Not account.mjs, which the frameworks' examples share.
  ...fs
    .readdirSync(EXAMPLES)
    .filter((name) => name.endsWith('.mjs') && name !== 'account.mjs')
    .map((name) => join(EXAMPLES, name)),
])('%s can be executed', (path) => {
  expect(fs.readFileSync(path, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/)
  expect(() => fs.accessSync(path, fs.constants.X_OK)).not.toThrow()
})
