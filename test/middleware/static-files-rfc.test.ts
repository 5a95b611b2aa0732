/** `staticFiles` by RFC 9110, with names of any bytes, and while others change the directory. */
import { execFileSync, spawn } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { mount, staticFiles } from '../../src/exports/middleware.ts'
import { acceptedCodings } from '../../src/middleware/content-coding.ts'
import { parseHttpDate } from '../../src/middleware/http-date.ts'
import type { Application, HeaderList } from '../../src/types.ts'
import { runCgi, valueOf } from './gateways.ts'

const TEXT = '0123456789'
let directory: string
let root: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'portico-rfc-'))
  root = join(directory, 'public')
  mkdirSync(join(root, 'sub'), { recursive: true })
  mkdirSync(join(root, '@scope'))
  for (const name of [
    'a.txt',
    'index.html',
    'sub/index.html',
    '@scope/index.html',
    'a.css',
    'a.js',
  ]) {
    writeFileSync(join(root, name), TEXT)
  }
  for (const name of [
    'a.md',
    'a.csv',
    'a.png',
    'a.json',
    'x.constructor',
    'q?#.txt',
    String.raw`b\c.txt`,
  ]) {
    writeFileSync(join(root, name), TEXT)
  }
  writeFileSync(
    Buffer.concat([Buffer.from(`${root}/`), Buffer.from('caf\xe9.txt', 'latin1')]),
    TEXT,
  )
  for (const coding of ['gz', 'br']) writeFileSync(join(root, `a.js.${coding}`), coding)
  symlinkSync(join(root, 'sub'), join(root, 'link'))
  writeFileSync(join(root, 'sub/b.js'), TEXT)
  writeFileSync(join(root, 'sub/b.js.gz'), 'gz')
  utimesSync(join(root, 'a.txt'), 784_111_777, 784_111_777) // Sun, 06 Nov 1994 08:49:37 GMT
})
afterAll(() => rmSync(directory, { recursive: true }))

const ask = (app: Application, path: string, headers: HeaderList = [], method = 'GET') =>
  runCgi(app, { method, target: '/', headers }, { PATH_INFO: path, REQUEST_URI: undefined })
const code = async (headers: HeaderList, path = '/a.txt') =>
  (await ask(staticFiles(root), path, headers)).status.slice(0, 3)

const DATE = 'Sun, 06 Nov 1994 08:49:37 GMT'
const EARLIER = 'Sun, 06 Nov 1994 08:49:36 GMT'

describe('A request to staticFiles', () => {
  it.each<[headers: HeaderList, status: string]>([
    [[['If-Match', '"other"']], '412'],
    [[['If-Match', '*']], '200'],
    [[['If-Match', 'ETAG']], '200'],
    [[['If-Match', 'W/ETAG']], '412'],
    [[['If-Match', '"x", ETAG']], '200'],
    [[['If-Unmodified-Since', EARLIER]], '412'],
    [[['If-Unmodified-Since', DATE]], '200'],
    [[['If-Unmodified-Since', 'nonsense']], '200'],
    // If-Match counts, and If-Unmodified-Since is ignored (section 13.2.2).
    [
      [
        ['If-Match', 'ETAG'],
        ['If-Unmodified-Since', EARLIER],
      ],
      '200',
    ],
    [
      [
        ['If-Match', '"other"'],
        ['If-None-Match', 'ETAG'],
      ],
      '412',
    ],
    [
      [
        ['If-Match', 'ETAG'],
        ['If-None-Match', 'W/ETAG'],
      ],
      '304',
    ],
    [
      [
        ['Range', 'bytes=4-'],
        ['If-Match', '"other"'],
      ],
      '412',
    ],
    [
      [
        ['Range', 'bytes=4-'],
        ['If-Unmodified-Since', EARLIER],
      ],
      '412',
    ],
    [
      [
        ['Range', 'bytes=4-'],
        ['If-Match', 'ETAG'],
      ],
      '206',
    ],
    [
      [
        ['Range', 'bytes=4-'],
        ['If-Range', 'ETAG'],
      ],
      '206',
    ],
    [
      [
        ['Range', 'bytes=4-'],
        ['If-Range', 'W/ETAG'],
      ],
      '200',
    ],
    [
      [
        ['Range', 'bytes=4-'],
        ['If-Range', DATE],
      ],
      '206',
    ],
    // An empty field asks for nothing, and the next one counts.
    [[['If-Match', '']], '200'],
    [
      [
        ['If-Match', ''],
        ['If-Unmodified-Since', EARLIER],
      ],
      '412',
    ],
    [
      [
        ['If-None-Match', ''],
        ['If-Modified-Since', DATE],
      ],
      '304',
    ],
    [[['If-Modified-Since', DATE]], '304'],
    [[['If-Modified-Since', 'Sunday, 06-Nov-94 08:49:37 GMT']], '304'],
    [[['If-Modified-Since', 'Sun Nov  6 08:49:37 1994']], '304'],
    [[['If-Modified-Since', 'Sun Nov  6 08:49:36 1994']], '200'],
  ])('with the preconditions %j gets a %s', async (headers, status) => {
    const etag = valueOf(await ask(staticFiles(root), '/a.txt'), 'ETag') ?? ''
    const filled = headers.map(([name, value]): [string, string] => [
      name,
      value.replace('ETAG', etag),
    ])
    expect(await code(filled)).toBe(status)
  })
})

it.each([
  [DATE, 784_111_777_000],
  ['Sunday, 06-Nov-94 08:49:37 GMT', 784_111_777_000],
  ['Sun Nov  6 08:49:37 1994', 784_111_777_000],
  ['Sun, 31 Feb 1994 08:49:37 GMT', undefined],
  ['Sun, 06 Nov 1994 24:49:37 GMT', undefined],
  ['Sun, 06 Nov 1994 08:49:37 +0100', undefined],
  ['1994-11-06', undefined],
  ['', undefined],
  [null, undefined],
])('parseHttpDate() reads %j', (text, milliseconds) => {
  expect(parseHttpDate(text)).toBe(milliseconds)
})

it.each([
  ['gzip', 'gzip'],
  ['x-gzip', 'gzip'],
  ['gzip, br', 'br gzip'],
  ['br;q=0.5, gzip', 'gzip br'],
  ['gzip;q=0', ''],
  ['br;q=0, gzip', 'gzip'],
  ['br;q=0, gzip;q=0', ''],
  ['deflate, vibrant', ''],
  ['*', 'br gzip'],
  ['*;q=0.1, br;q=0', 'gzip'],
  ['identity, gzip;q=0.5', ''],
  ['identity;q=0.2, gzip;q=0.5', 'gzip'],
  ['GZIP;Q=1.0', 'gzip'],
  ['gzip;q=nonsense', ''],
  ['', ''],
])('acceptedCodings(%j) is %j', (header, codings) => {
  expect(acceptedCodings(header, ['br', 'gzip']).join(' ')).toBe(codings)
})

it.each([
  ['gzip;q=0', undefined, TEXT],
  ['br;q=0, gzip', 'gzip', 'gz'],
  ['br', 'br', 'br'],
  ['deflate, vibrant', undefined, TEXT],
])(
  'staticFiles responds to Accept-Encoding: %s with the coding %s',
  async (accept, coding, body) => {
    const app = staticFiles(root, { precompressed: true })
    const response = await ask(app, '/a.js', [['Accept-Encoding', accept]])
    expect([valueOf(response, 'Content-Encoding'), String(response.body)]).toEqual([coding, body])
    expect(valueOf(response, 'Vary')).toBe('Accept-Encoding')
  },
)

it('staticFiles gives each coding its own ETag, and finds variants below a link', async () => {
  const app = staticFiles(root, { precompressed: true })
  const tags = await Promise.all(
    ['', 'gzip', 'br'].map(async (coding) =>
      valueOf(await ask(app, '/a.js', [['Accept-Encoding', coding]]), 'ETag'),
    ),
  )
  expect(new Set(tags).size).toBe(3)
  const linked = await ask(app, '/link/b.js', [['Accept-Encoding', 'gzip']])
  expect(String(linked.body)).toBe('gz')
})

it.each([
  ['/a.txt', 'text/plain; charset=utf-8'],
  ['/a.css', 'text/css; charset=utf-8'],
  ['/a.js', 'text/javascript; charset=utf-8'],
  ['/a.csv', 'text/csv; charset=utf-8'],
  ['/a.md', 'text/markdown; charset=utf-8'],
  ['/a.json', 'application/json'],
  ['/a.png', 'image/png'],
  ['/x.constructor', 'application/octet-stream'],
])('staticFiles sends %s as %s', async (path, type) => {
  expect(valueOf(await ask(staticFiles(root), path), 'Content-Type')).toBe(type)
})

async function typeWith(charset: string): Promise<string | undefined> {
  return valueOf(await ask(staticFiles(root, { charset }), '/a.txt'), 'Content-Type')
}

it('staticFiles sends the charset of its option, or none', async () => {
  expect([await typeWith('iso-8859-1'), await typeWith('')]).toEqual([
    'text/plain; charset=iso-8859-1',
    'text/plain',
  ])
})

it.each(['/q?#.txt', String.raw`/b\c.txt`, '/caf\xe9.txt'])(
  'staticFiles finds %j, whatever the bytes of its name',
  async (path) => {
    const response = await ask(staticFiles(root), path)
    expect([response.status, String(response.body)]).toEqual(['200 OK', TEXT])
  },
)

it.each([
  ['/files', '', '/files/'],
  ['/files/sub', '', '/files/sub/'],
  ['/files/@scope', 'a=b', '/files/@scope/?a=b'],
])('staticFiles at a mount point redirects %s to the slash', async (target, query, location) => {
  const app = mount({ '/files': staticFiles(root) })
  const variables = { PATH_INFO: target, QUERY_STRING: query, REQUEST_URI: undefined }
  const response = await runCgi(app, '/', variables)
  expect([response.status, valueOf(response, 'Location')]).toEqual([
    '301 Moved Permanently',
    location,
  ])
})

it('staticFiles follows the symbolic link of its directory to another release', async () => {
  for (const release of ['1', '2']) {
    mkdirSync(join(directory, release))
    writeFileSync(join(directory, release, 'v.txt'), release)
  }
  const current = join(directory, 'current')
  symlinkSync(join(directory, '1'), current)
  const app = staticFiles(current)
  expect(String((await ask(app, '/v.txt')).body)).toBe('1')
  symlinkSync(join(directory, '2'), `${current}.new`)
  renameSync(`${current}.new`, current)
  rmSync(join(directory, '1'), { recursive: true })
  expect(String((await ask(app, '/v.txt')).body)).toBe('2')
})

it("staticFiles('/') finds files", async () => {
  const response = await ask(staticFiles('/'), `${root}/a.txt`)
  expect(String(response.body)).toBe(TEXT)
})

it('staticFiles sends no Last-Modified in the future', async () => {
  const file = join(root, 'future.txt')
  writeFileSync(file, TEXT)
  utimesSync(file, Date.now() / 1000 + 1e6, Date.now() / 1000 + 1e6)
  const date = Date.parse(
    valueOf(await ask(staticFiles(root), '/future.txt'), 'Last-Modified') ?? '',
  )
  expect(date).toBeLessThanOrEqual(Date.now())
})

/** What is swapped, and where it leads in turn: inside, outside. */
it.each([
  ['a link', 'swapped.txt', 'a.txt', 'secret.txt', '/swapped.txt'],
  ['a directory on the way', 'swapped', '.', 'outside', '/swapped/a.txt'],
  ['a precompressed variant', 'packed.txt.gz', 'a.txt', 'secret.txt', '/packed.txt'],
])(
  'staticFiles stays inside while %s is swapped for one that leads outside',
  async (_, name, inside, outside, path) => {
    writeFileSync(join(directory, 'secret.txt'), 'secret')
    mkdirSync(join(directory, 'outside'), { recursive: true })
    writeFileSync(join(directory, 'outside', 'a.txt'), 'secret')
    writeFileSync(join(root, 'packed.txt'), TEXT)
    const swapped = join(root, name)
    const link = (target: string) => `ln -sfn ${target} ${swapped}.n; mv -T ${swapped}.n ${swapped}`
    // Another process swaps as fast as it can.
    const turns = [link(join(directory, outside)), link(join(root, inside))].join('; ')
    const swapping = spawn('sh', ['-c', `while :; do ${turns}; done`])
    try {
      await vi.waitFor(() => statSync(swapped), { timeout: 20_000 })
      const app = staticFiles(root, { precompressed: true })
      const statuses = new Set<string>()
      const until = Date.now() + 800
      while (Date.now() < until || !statuses.has('200 OK')) {
        const headers: HeaderList = [['Accept-Encoding', 'gzip']]
        const response = await ask(app, path, headers)
        statuses.add(response.status)
        expect(String(response.body)).not.toContain('secret')
      }
    } finally {
      swapping.kill('SIGKILL')
    }
  },
)

it('staticFiles responds to a FIFO, a socket and a device with a 404', async () => {
  execFileSync('mkfifo', [join(root, 'pipe.txt')])
  symlinkSync('/dev/null', join(root, 'null.txt'))
  const { createServer } = await import('node:net')
  const server = createServer().listen(join(root, 'sock.txt'))
  await new Promise((resolve) => server.once('listening', resolve))
  const responses = await Promise.all(
    ['/pipe.txt', '/pipe.txt', '/pipe.txt', '/pipe.txt', '/pipe.txt', '/sock.txt', '/null.txt'].map(
      (path) => ask(staticFiles(root), path),
    ),
  )
  server.close()
  expect(responses.map(({ status }) => status.slice(0, 3))).toEqual([
    ...Array.from({ length: 6 }, () => '404'),
    '403',
  ])
  expect(String((await ask(staticFiles(root), '/a.txt')).body)).toBe(TEXT)
})
