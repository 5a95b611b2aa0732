/** `staticFiles`: which files are found, which parts of them are sent, and what is never sent. */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { assert, asyncProperty, integer } from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ConfigurationError } from '../../src/errors.ts'
import { mount, staticFiles } from '../../src/exports/middleware.ts'
import type { Application, HeaderList } from '../../src/types.ts'
import { isFileWrapper } from '../../src/wsgiref/util.ts'
import { validator } from '../../src/validate/validator.ts'
import { makeEnviron, OK } from '../validate/harness.ts'
import { brief, GATEWAYS, runCgi, through, valueOf } from './gateways.ts'

let directory: string
let root: string
let files: Application
const text = '0123456789'
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'portico-static-'))
  root = join(directory, 'public')
  for (const name of ['', 'dir', 'dir/deep', '.git', '.well-known', '100%', 'publicity']) {
    mkdirSync(join(root, name))
  }
  for (const name of [
    'text.txt',
    'unknown',
    'page.html',
    'dir/index.html',
    'grün.txt',
    'a b.txt',
    'a%2Fb.txt',
    '100%/x.txt',
    '.env',
    '.git/config',
    '.well-known/x.txt',
    'script.js',
    'archive.tar.gz',
    'font.br',
  ]) {
    writeFileSync(join(root, name), text)
  }
  writeFileSync(join(root, 'script.js.gz'), 'gzipped')
  writeFileSync(join(root, 'empty.txt'), '')
  writeFileSync(join(root, 'large.bin'), Buffer.alloc(300_000, 'portico'))
  writeFileSync(join(directory, 'secret.txt'), 'secret')
  mkdirSync(join(directory, 'public-not'))
  writeFileSync(join(directory, 'public-not', 'x.txt'), 'secret')
  symlinkSync(join(directory, 'secret.txt'), join(root, 'link.txt'))
  symlinkSync(join(directory, 'public-not'), join(root, 'link'))
  symlinkSync(join(root, 'text.txt'), join(root, 'inside.txt'))
  symlinkSync(join(root, 'nowhere'), join(root, 'dangling.txt'))
  files = staticFiles(root)
})
afterAll(() => rmSync(directory, { recursive: true }))

/** Asks for a path as the server has decoded it. */
const get = (PATH_INFO: string, headers: HeaderList = [], method = 'GET') =>
  runCgi(files, { method, target: '/', headers }, { PATH_INFO, REQUEST_URI: undefined })
const bytes = (path: string) => Buffer.from(path).toString('latin1')

it.each<[path: string, status: string, type?: string]>([
  ['/text.txt', OK, 'text/plain; charset=utf-8'],
  ['/page.html', OK, 'text/html; charset=utf-8'],
  ['/page', OK, 'text/html; charset=utf-8'],
  ['/unknown', OK, 'application/octet-stream'],
  ['/dir/', OK, 'text/html; charset=utf-8'],
  ['/dir/index.html', OK, 'text/html; charset=utf-8'],
  ['/dir/index', OK, 'text/html; charset=utf-8'],
  ['/script.js', OK, 'text/javascript; charset=utf-8'],
  [bytes('/grün.txt'), OK, 'text/plain; charset=utf-8'],
  ['/a b.txt', OK, 'text/plain; charset=utf-8'],
  ['/a%2Fb.txt', OK, 'text/plain; charset=utf-8'],
  ['/100%/x.txt', OK, 'text/plain; charset=utf-8'],
  ['//text.txt', OK, 'text/plain; charset=utf-8'],
  ['/inside.txt', OK, 'text/plain; charset=utf-8'],
  ['/.well-known/x.txt', OK, 'text/plain; charset=utf-8'],
  ['', '404 Not Found'],
  ['/', '404 Not Found'],
  ['/nowhere.txt', '404 Not Found'],
  ['/TEXT.TXT', '404 Not Found'],
  ['/dir/deep/', '404 Not Found'],
  ['/dir/deep', '404 Not Found'],
  ['/dangling.txt', '404 Not Found'],
  ['/.env', '404 Not Found'],
  ['/.git/config', '404 Not Found'],
  ['/./text.txt', '404 Not Found'],
  ['/text.txt?x', '404 Not Found'],
  ['/text.txt#x', '404 Not Found'],
  ['/gr\xfcn.txt', '404 Not Found'],
  ['/../secret.txt', '403 Forbidden'],
  ['/dir/../text.txt', '403 Forbidden'],
  ['/..', '403 Forbidden'],
  ['/..\\secret.txt', '403 Forbidden'],
  ['/../public-not/x.txt', '403 Forbidden'],
  ['/../../../../etc/passwd', '403 Forbidden'],
  ['/%2e%2e/secret.txt', '404 Not Found'],
  ['/link.txt', '403 Forbidden'],
  ['/link/x.txt', '403 Forbidden'],
  ['/link.txt/', '404 Not Found'],
])('staticFiles responds to %s with %s', async (path, status, type) => {
  const response = await get(path)
  expect(brief(response)).toEqual([status, status === OK ? text : `${status.slice(4)}\n`])
  expect(response.errors).toBe('')
  if (status === OK) expect(valueOf(response, 'Content-Type')).toBe(type)
})

it('staticFiles finds no file for a name followed by up to 100 slashes', async () => {
  for (let count = 1; count <= 100; count += 1) {
    expect((await get(`/text.txt${'/'.repeat(count)}`)).status).toBe('404 Not Found')
  }
})

it.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])(
  'staticFiles responds to %s with a 405',
  async (method) => {
    const response = await get('/text.txt', [], method)
    expect([response.status, valueOf(response, 'Allow')]).toEqual([
      '405 Method Not Allowed',
      'GET, HEAD',
    ])
  },
)

describe.each(GATEWAYS)('over %s', (gateway) => {
  it('staticFiles sends a file with its headers', async () => {
    await through(gateway, files, async (ask) => {
      const response = await ask('/text.txt')
      expect(brief(response)).toEqual([OK, text])
      const { mtime } = statSync(join(root, 'text.txt'))
      expect(valueOf(response, 'Content-Length')).toBe('10')
      expect(valueOf(response, 'Last-Modified')).toBe(mtime.toUTCString())
      expect(valueOf(response, 'ETag')).toMatch(/^"a-[\da-f]+"$/)
      expect(valueOf(response, 'Accept-Ranges')).toBe('bytes')
      expect(valueOf(response, 'Cache-Control')).toBe('no-cache')
      const again = await ask({
        target: '/text.txt',
        headers: [['If-None-Match', valueOf(response, 'ETag') ?? '']],
      })
      expect([again.status, again.body.length]).toEqual(['304 Not Modified', 0])
      expect(valueOf(again, 'Content-Type')).toBeUndefined()
      const head = await ask({ method: 'HEAD', target: '/text.txt' })
      expect([head.status, head.body.length, valueOf(head, 'Content-Length')]).toEqual([
        OK,
        0,
        '10',
      ])
    })
  })

  it('staticFiles sends a large file whole, and a part of it', async () => {
    const large = Buffer.alloc(300_000, 'portico')
    await through(gateway, files, async (ask) => {
      expect((await ask('/large.bin')).body.equals(large)).toBe(true)
      const headers: HeaderList = [['Range', 'bytes=70000-270000']]
      const part = await ask({ target: '/large.bin', headers })
      expect(part.status).toBe('206 Partial Content')
      expect(part.body.equals(large.subarray(70_000, 270_001))).toBe(true)
    })
  })

  it('staticFiles redirects to the slash at the end of a directory', async () => {
    await through(gateway, mount({ '/at': files }), async (ask) => {
      const response = await ask('/at/dir?x=1')
      expect([response.status, valueOf(response, 'Location')]).toEqual([
        '301 Moved Permanently',
        '/at/dir/?x=1',
      ])
    })
  })
})

it.each([
  ['q=%20x', '/dir/?q=%20x'],
  ['q=\xc3\xa9', '/dir/?q=%C3%A9'],
  ['q=\x01#', '/dir/?q=%01%23'],
])('staticFiles redirects with the query %j to %s', async (QUERY_STRING, location) => {
  const variables = { PATH_INFO: '/dir', QUERY_STRING, REQUEST_URI: undefined }
  expect(valueOf(await runCgi(files, '/', variables), 'Location')).toBe(location)
})

/** What staticFiles responds to `paths`, to a user who may search `private` but not list it. */
const UNLISTED = `
const { staticFiles } = await import(process.argv[1])
const app = staticFiles(process.argv[2])
process.setgid(65534)
process.setuid(65534)
for (const PATH_INFO of ['/private', '/private/', '/empty', '/hidden', '/page']) {
  const environ = { REQUEST_METHOD: 'GET', SCRIPT_NAME: '', PATH_INFO, QUERY_STRING: '' }
  await app(environ, (status) => console.log(PATH_INFO, status))
}`

it.runIf(process.getuid?.() === 0)(
  'staticFiles redirects to a directory that can be searched but not listed',
  () => {
    const shared = mkdtempSync(join(tmpdir(), 'portico-unlisted-'))
    try {
      chmodSync(shared, 0o755)
      for (const name of ['private', 'empty']) mkdirSync(join(shared, name), { mode: 0o711 })
      writeFileSync(join(shared, 'private/index.html'), text)
      for (const name of ['hidden', 'page'])
        writeFileSync(join(shared, name), text, { mode: 0o600 })
      writeFileSync(join(shared, 'page.html'), text)
      const module = new URL('../../dist/src/exports/middleware.js', import.meta.url).href
      const args = ['--input-type=module', '-e', UNLISTED, module, shared]
      expect(execFileSync(process.execPath, args, { encoding: 'utf8' }).split('\n')).toEqual([
        '/private 301 Moved Permanently',
        '/private/ 200 OK',
        '/empty 403 Forbidden',
        '/hidden 403 Forbidden',
        '/page 200 OK',
        '',
      ])
    } finally {
      rmSync(shared, { recursive: true })
    }
  },
)

it('staticFiles redirects to no other host', async () => {
  expect(valueOf(await get('//dir'), 'Location')).toBe('/dir/')
})

/** The status for a range of the file, with further headers. */
async function codeOf(...headers: HeaderList): Promise<string> {
  return (await get('/text.txt', [['Range', 'bytes=1-2'], ...headers])).status.slice(0, 3)
}

describe('Range requests to staticFiles', () => {
  it.each<[range: string, status: number, body: string, contentRange?: string]>([
    ['bytes=0-0', 206, '0', 'bytes 0-0/10'],
    ['bytes=2-4', 206, '234', 'bytes 2-4/10'],
    ['Bytes=2-4', 206, '234', 'bytes 2-4/10'],
    ['bytes=5-', 206, '56789', 'bytes 5-9/10'],
    ['bytes=-3', 206, '789', 'bytes 7-9/10'],
    ['bytes=-30', 206, text, 'bytes 0-9/10'],
    ['bytes=8-100', 206, '89', 'bytes 8-9/10'],
    ['bytes=0-999999999999999', 206, text, 'bytes 0-9/10'],
    ['bytes=10-', 416, 'Range Not Satisfiable\n', 'bytes */10'],
    ['bytes=10-12', 416, 'Range Not Satisfiable\n', 'bytes */10'],
    ['bytes=-0', 416, 'Range Not Satisfiable\n', 'bytes */10'],
    [`bytes=${'9'.repeat(16)}-`, 416, 'Range Not Satisfiable\n', 'bytes */10'],
    ['bytes=5-2', 200, text],
    ['bytes=-', 200, text],
    ['bytes=a-b', 200, text],
    ['bytes=0-1,3-4', 200, text],
    ['lines=0-1', 200, text],
    ['bytes=+1-2', 200, text],
  ])('%s', async (range, status, body, contentRange) => {
    const response = await get('/text.txt', [['Range', range]])
    expect([Number(response.status.slice(0, 3)), String(response.body)]).toEqual([status, body])
    expect(valueOf(response, 'Content-Range')).toBe(contentRange)
    expect(valueOf(response, 'Content-Length')).toBe(String(body.length))
  })

  it.each([
    ['bytes=0-', '416 Range Not Satisfiable'],
    ['bytes=-0', '416 Range Not Satisfiable'],
    ['bytes=-5', OK],
  ])('%s of an empty file gets a %s', async (range, status) => {
    expect((await get('/empty.txt', [['Range', range]])).status).toBe(status)
  })

  it('give the same bytes as slice()', async () => {
    const inFile = integer({ min: 0, max: 9 })
    await assert(
      asyncProperty(inFile, integer({ min: 0, max: 20 }), async (start, more) => {
        const response = await get('/text.txt', [['Range', `bytes=${start}-${start + more}`]])
        expect(String(response.body)).toBe(text.slice(start, start + more + 1))
      }),
      { numRuns: 30 },
    )
  })

  it('give the whole file if If-Range is that of another version', async () => {
    const date = statSync(join(root, 'text.txt')).mtime.toUTCString()
    expect(await codeOf(['If-Range', date])).toBe('206')
    expect(await codeOf(['If-Range', 'Sun, 06 Nov 1994 08:49:37 GMT'])).toBe('200')
    expect(await codeOf(['If-Range', 'W/"10-1"'])).toBe('200')
    expect(await codeOf(['If-None-Match', '*'])).toBe('304')
  })

  it('give the whole length for HEAD', async () => {
    const response = await get('/text.txt', [['Range', 'bytes=1-2']], 'HEAD')
    expect([response.status, valueOf(response, 'Content-Length')]).toEqual([OK, '10'])
  })
})

it('staticFiles serves dotfiles only with the option, and even then nothing outside', async () => {
  const app = staticFiles(root, { dotfiles: true })
  const ask = (PATH_INFO: string) => runCgi(app, '/', { PATH_INFO, REQUEST_URI: undefined })
  expect(brief(await ask('/.env'))).toEqual([OK, text])
  expect((await ask('/../secret.txt')).status).toBe('403 Forbidden')
})

it('staticFiles sends a precompressed file to clients that accept it', async () => {
  const app = staticFiles(root, { precompressed: true })
  const gzip = await runCgi(app, { target: '/script.js', headers: [['Accept-Encoding', 'gzip']] })
  expect(brief(gzip)).toEqual([OK, 'gzipped'])
  expect(['Content-Encoding', 'Content-Type', 'Vary'].map((name) => valueOf(gzip, name))).toEqual([
    'gzip',
    'text/javascript; charset=utf-8',
    'Accept-Encoding',
  ])
  const plain = await runCgi(app, '/script.js')
  expect(brief(plain)).toEqual([OK, text])
  expect([valueOf(plain, 'Content-Encoding'), valueOf(plain, 'Vary')]).toEqual([
    undefined,
    'Accept-Encoding',
  ])
})

it('staticFiles responds to a FIFO with a 404, and keeps serving', async () => {
  execFileSync('mkfifo', [join(root, 'fifo')])
  const requests = [1, 2, 3, 4, 5].map(() => get('/fifo'))
  for (const response of await Promise.all(requests)) expect(response.status).toBe('404 Not Found')
  expect(brief(await get('/text.txt'))).toEqual([OK, text])
})

it.each([
  ['/script.js.gz', 'application/gzip', 'gzipped'],
  ['/archive.tar.gz', 'application/gzip', text],
  ['/font.br', 'application/octet-stream', text],
])(
  'staticFiles sends %s without Content-Encoding if it is requested by that name',
  async (path, type, body) => {
    for (const precompressed of [false, true]) {
      const app = staticFiles(root, { precompressed })
      const headers: HeaderList = [['Accept-Encoding', 'gzip, br']]
      const response = await runCgi(app, { target: path, headers })
      expect(brief(response)).toEqual([OK, body])
      expect(['Content-Encoding', 'Content-Type'].map((name) => valueOf(response, name))).toEqual([
        undefined,
        type,
      ])
    }
  },
)

it('staticFiles sends maxAge, and tries the given extensions', async () => {
  const app = staticFiles(root, { maxAge: 60, extensions: ['txt'] })
  const response = await runCgi(app, '/text')
  expect([response.status, valueOf(response, 'Cache-Control')]).toEqual([OK, 'public, max-age=60'])
})

it.each<[path: string, method: string, headers: HeaderList]>([
  ['/text.txt', 'GET', []],
  ['/text.txt', 'HEAD', []],
  ['/text.txt', 'GET', [['If-None-Match', '*']]],
  ['/text.txt', 'GET', [['Range', 'bytes=1-2']]],
  ['/text.txt', 'GET', [['Range', 'bytes=10-']]],
  ['/unknown', 'GET', []],
  ['/nowhere', 'GET', []],
  ['/dir', 'GET', []],
  ['/text.txt', 'POST', []],
])('staticFiles keeps the contract: %s %s %j', async (target, method, headers) => {
  const doubts: string[] = []
  const app = validator(files, { warn: (doubt) => void doubts.push(doubt) })
  const response = await runCgi(app, { method, target, headers })
  expect([response.status.startsWith('5'), response.errors, doubts]).toEqual([false, '', []])
})

it('staticFiles sends a file completely if it is removed meanwhile', async () => {
  const faults: unknown[] = []
  const onFault = (error: unknown) => void faults.push(error)
  process.on('uncaughtException', onFault)
  for (const headers of [[], [['If-None-Match', '*']], [['Range', 'bytes=1-2']]] as HeaderList[]) {
    writeFileSync(join(root, 'brief.txt'), text)
    const environ = makeEnviron({ PATH_INFO: '/brief.txt' })
    for (const [name, value] of headers) {
      const variable = `HTTP_${name.toUpperCase().replaceAll('-', '_')}` as Uppercase<string>
      environ[variable] = value
    }
    const body = await files(environ, () => async () => {})
    rmSync(join(root, 'brief.txt'))
    await new Promise((resolve) => setTimeout(resolve, 20))
    await body.close?.()
  }
  process.off('uncaughtException', onFault)
  expect(faults).toEqual([])
})

it('staticFiles returns a FileWrapper with a path, and closes the file', async () => {
  const body = await files(makeEnviron({ PATH_INFO: '/text.txt' }), () => async () => {})
  if (!isFileWrapper(body)) throw new Error('not a FileWrapper')
  expect(body.path).toBe(join(root, 'text.txt'))
  const { source } = body
  await body.close?.()
  expect('destroyed' in source && source.destroyed).toBe(true)
})

it.each(['nowhere', 'text.txt'])('staticFiles refuses the root %s', (name) => {
  expect(() => staticFiles(join(root, name))).toThrow(ConfigurationError)
})

it.each(['/nowhere', '/dir', '/../x', '/text.txt'])(
  'staticFiles has no body for HEAD of %s, as the validator demands',
  async (path) => {
    const headers: HeaderList = [['If-Match', '"another"']]
    const { errors } = await runCgi(validator(staticFiles(root)), {
      method: 'HEAD',
      target: path,
      headers,
    })
    expect(errors).toBe('')
  },
)
