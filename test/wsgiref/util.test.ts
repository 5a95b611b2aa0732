/** `src/wsgiref/util.ts` as applications and handlers see it; numbers are those of the acceptance facts. */
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { createReadStream } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ApplicationError } from '../../src/errors.ts'
import type { Environ } from '../../src/types.ts'
import {
  applicationUri,
  DEFAULT_BLOCK_SIZE,
  FileWrapper,
  type FileLike,
  guessScheme,
  isFileWrapper,
  isHopByHop,
  requestUri,
  setupTestingDefaults,
  shiftPathInfo,
} from '../../src/wsgiref/util.ts'

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}

async function bytes(body: FileWrapper): Promise<Buffer> {
  return Buffer.concat((await collect(body)).map((chunk) => Buffer.from(chunk)))
}

const broken = (source: unknown) => source as FileLike

describe('shiftPathInfo', () => {
  test.each([
    [14, '', '/', '', '/', ''],
    [15, '', '/x', 'x', '/x', ''],
    [16, '/', '', null, '/', ''],
    [17, '/a', '/x/y', 'x', '/a/x', '/y'],
    [18, '/a', '/x/', 'x', '/a/x', '/'],
    [19, '/a/b', '/../y', '..', '/a', '/y'],
    [20, '', '/../y', '..', '', '/y'],
    [21, '/a/b', '//y', 'y', '/a/b/y', ''],
    [22, '/a/b', '//y/', 'y', '/a/b/y', '/'],
    [23, '/a/b', '/./y', 'y', '/a/b/y', ''],
    [24, '/a/b', '/./y/', 'y', '/a/b/y', '/'],
    [25, '/a/b', '///./..//y/.//', '..', '/a', '/y/'],
    [26, '/a/b', '///', '', '/a/b/', ''],
    [27, '/a/b', '/.//', '', '/a/b/', ''],
    [28, '/a/b', '/x//', 'x', '/a/b/x', '/'],
    [29, '/a/b', '/.', null, '/a/b', ''],
  ])('fact %i: %j and %j give %j, %j, %j', (_fact, script, path, segment, newScript, newPath) => {
    const environ = { SCRIPT_NAME: script, PATH_INFO: path }
    expect(shiftPathInfo(environ)).toBe(segment)
    expect(environ).toEqual({ SCRIPT_NAME: newScript, PATH_INFO: newPath })
  })

  test('an environ without either key has no segment and is left alone', () => {
    const environ = {}
    expect(shiftPathInfo(environ)).toBeNull()
    expect(environ).toEqual({})
  })

  test('a PATH_INFO without its first slash is read as if it had one', () => {
    const environ: Partial<Environ> = { PATH_INFO: 'x/y' }
    expect(shiftPathInfo(environ)).toBe('x')
    expect(environ).toEqual({ SCRIPT_NAME: '/x', PATH_INFO: '/y' })
  })

  test('whatever the path, shifting ends, and leaves paths that are empty or begin with a slash', () => {
    const path = fc
      .array(fc.constantFrom('', '.', '..', 'a', 'b c'))
      .map((parts) => parts.map((part) => `/${part}`).join(''))
    fc.assert(
      fc.property(path, path, (script, info) => {
        const environ = { SCRIPT_NAME: script, PATH_INFO: info }
        for (let left = info.length; environ.PATH_INFO; left--) {
          expect(left).toBeGreaterThan(0)
          shiftPathInfo(environ)
          expect(environ.PATH_INFO).toMatch(/^(?:\/|$)/)
          expect(environ.SCRIPT_NAME).toMatch(/^(?:\/(?!\/)|$)/)
        }
      }),
    )
  })
})

describe('setupTestingDefaults', () => {
  test('fact 30: an empty environ gets the CGI variables of a GET of /', () => {
    const environ = setupTestingDefaults({})
    const variables = Object.entries(environ).filter(([key]) => !key.includes('.'))
    expect(Object.fromEntries(variables)).toEqual({
      SERVER_NAME: '127.0.0.1',
      SERVER_PORT: '80',
      SERVER_PROTOCOL: 'HTTP/1.0',
      HTTP_HOST: '127.0.0.1',
      REQUEST_METHOD: 'GET',
      SCRIPT_NAME: '',
      PATH_INFO: '/',
      QUERY_STRING: '',
    })
  })

  test('fact 31: and the keys of PEP 3333 with streams that work', async () => {
    const environ = setupTestingDefaults({})
    expect(environ).toMatchObject({
      'wsgi.version': [1, 0],
      'wsgi.run_once': false,
      'wsgi.multithread': false,
      'wsgi.multiprocess': false,
      'wsgi.url_scheme': 'http',
    })
    const input = environ['wsgi.input']
    expect(await input.read()).toEqual(Buffer.alloc(0))
    expect(await input.readline()).toEqual(Buffer.alloc(0))
    expect(await input.readlines()).toEqual([])
    for (const pieces of [input, input.chunks(), input.stream()]) {
      expect(await collect<unknown>(pieces)).toEqual([])
    }
    const errors = environ['wsgi.errors']
    errors.write('one\n')
    errors.writelines(['two\n', 'three\n'])
    errors.flush()
    // oxlint-disable-next-line typescript/no-base-to-string -- the one made for tests has its own
    expect(String(errors)).toBe('one\ntwo\nthree\n')
  })

  test.each<[number, Partial<Environ>, Partial<Environ>]>([
    [32, { SERVER_NAME: 'foo.bar' }, { HTTP_HOST: 'foo.bar' }],
    [33, { HTTPS: 'on' }, { 'wsgi.url_scheme': 'https' }],
    [33, { HTTPS: '1' }, { 'wsgi.url_scheme': 'https' }],
    [33, { HTTPS: 'yes' }, { 'wsgi.url_scheme': 'https' }],
    [34, { HTTPS: 'foo' }, { 'wsgi.url_scheme': 'http' }],
    [35, { HTTPS: 'foo' }, { SERVER_PORT: '80' }],
    [36, { HTTPS: 'on' }, { SERVER_PORT: '443' }],
  ])('fact %i: %j gives %j', (_fact, given, expected) => {
    expect(setupTestingDefaults({ ...given })).toMatchObject(expected)
  })

  test('what is there stays, and the same object comes back', () => {
    const given = { REQUEST_METHOD: 'PUT', SCRIPT_NAME: '/app', 'wsgi.run_once': true }
    const environ = setupTestingDefaults(given)
    expect(environ).toBe(given)
    expect(environ).toMatchObject({
      REQUEST_METHOD: 'PUT',
      SCRIPT_NAME: '/app',
      PATH_INFO: '',
      'wsgi.run_once': true,
    })
  })
})

test.each<[number, Partial<Environ>, string]>([
  [37, {}, 'http'],
  [38, { HTTPS: 'foo' }, 'http'],
  [38, { HTTPS: 'off' }, 'http'],
  [39, { HTTPS: 'on' }, 'https'],
  [39, { HTTPS: 'yes' }, 'https'],
  [39, { HTTPS: '1' }, 'https'],
  [39, { HTTPS: 'ON' }, 'https'],
  [39, { HTTPS: 'Yes' }, 'https'],
])('guessScheme, fact %i: %j is %s', (_fact, environ, scheme) => {
  expect(guessScheme(environ)).toBe(scheme)
})

test.each<[number, Partial<Environ>, string]>([
  [40, {}, 'http://127.0.0.1/'],
  [41, { SCRIPT_NAME: '/spam' }, 'http://127.0.0.1/spam'],
  [42, { SCRIPT_NAME: '/sp\u00e4m' }, 'http://127.0.0.1/sp%E4m'],
  [
    43,
    { HTTP_HOST: 'spam.example.com:2071', SERVER_PORT: '2071' },
    'http://spam.example.com:2071/',
  ],
  [44, { SERVER_NAME: 'spam.example.com' }, 'http://spam.example.com/'],
  [45, { HTTP_HOST: 'spam.example.com', SERVER_NAME: 'x.com' }, 'http://spam.example.com/'],
  [46, { HTTPS: 'on' }, 'https://127.0.0.1/'],
  [47, { SERVER_PORT: '8000', HTTP_HOST: undefined }, 'http://127.0.0.1:8000/'],
])('applicationUri, fact %i: %j is %s', (_fact, environ, uri) => {
  expect(applicationUri(setupTestingDefaults({ ...environ }))).toBe(uri)
})

test.each<[number, Partial<Environ>, string]>([
  [48, { SCRIPT_NAME: '/spammity', PATH_INFO: '/spam' }, 'http://127.0.0.1/spammity/spam'],
  [49, { PATH_INFO: '/sp\u00e4m' }, 'http://127.0.0.1/sp%E4m'],
  [50, { PATH_INFO: '/spam;ham' }, 'http://127.0.0.1/spam;ham'],
  [51, { PATH_INFO: '/spam;cookie=1234,5678' }, 'http://127.0.0.1/spam;cookie=1234,5678'],
  [52, { PATH_INFO: '/spam', QUERY_STRING: 'say=ni' }, 'http://127.0.0.1/spam?say=ni'],
  [53, { PATH_INFO: '/spam', QUERY_STRING: 's%E4y=ni' }, 'http://127.0.0.1/spam?s%E4y=ni'],
])('requestUri, fact %i: %j is %s', (_fact, environ, uri) => {
  expect(requestUri(setupTestingDefaults({ ...environ }))).toBe(uri)
})

describe('requestUri', () => {
  test('fact 54: leaves out the query when told so', () => {
    const environ = setupTestingDefaults({ PATH_INFO: '/spam', QUERY_STRING: 'say=ni' })
    expect(requestUri(environ, false)).toBe('http://127.0.0.1/spam')
  })

  test.each<[string, Partial<Environ>, string]>([
    ['needs no key at all', {}, 'http://localhost'],
    [
      'encodes what a path cannot hold',
      { PATH_INFO: '/a b%?#\n' },
      'http://localhost/a%20b%25%3F%23%0A',
    ],
    ['keeps repeated slashes', { PATH_INFO: '//a//' }, 'http://localhost//a//'],
    ['puts an IPv6 SERVER_NAME into brackets', { SERVER_NAME: '::1' }, 'http://[::1]'],
    ['keeps brackets', { SERVER_NAME: '[::1]', SERVER_PORT: '81' }, 'http://[::1]:81'],
    ['keeps an IPv6 host', { HTTP_HOST: '[::1]:81' }, 'http://[::1]:81'],
    ['passes over a host with a path', { HTTP_HOST: 'evil/x', SERVER_NAME: 'a' }, 'http://a'],
    ['passes over a host with a user', { HTTP_HOST: 'u@evil', SERVER_NAME: 'a' }, 'http://a'],
    ['leaves out 443 for https', { HTTPS: 'on', SERVER_PORT: '443' }, 'https://localhost'],
    ['names 80 for https', { HTTPS: 'on', SERVER_PORT: '80' }, 'https://localhost:80'],
  ])('%s', (_name, environ, uri) => {
    // The base URI of an application at the root ends in a slash, which PATH_INFO brings along.
    const path = environ.PATH_INFO ?? '/'
    expect(requestUri({ ...environ, PATH_INFO: path })).toBe(uri + (environ.PATH_INFO ? '' : '/'))
  })

  test('a path that is text and no bytes is an error that names the variable', () => {
    expect(() => requestUri({ PATH_INFO: '/\u0416' })).toThrow(
      new ApplicationError('PATH_INFO must hold bytes, not "\u0416"', 'PORTICO_INVALID_ARGUMENT'),
    )
  })
})

test.each([
  'Connection',
  'Keep-Alive',
  'Proxy-Authenticate',
  'Proxy-Authorization',
  'TE',
  'Trailers',
  'Transfer-Encoding',
  'Upgrade',
])('isHopByHop, fact 59: %s is one in any case', (name) => {
  for (const form of [name, name.toLowerCase(), name.toUpperCase()]) {
    expect(isHopByHop(form)).toBe(true)
  }
})

test.each([
  'Accept',
  'Cache-Control',
  'Date',
  'Pragma',
  'Trailer',
  'Via',
  'Warning',
  '',
  'Content-Type',
  // As long as a hop-by-hop name, and 32 longer than one.
  'Set-Cookie',
  'X-A-Header-Of-Thirty-Four-Letters1',
])('isHopByHop, fact 60: %j is none in any case', (name) => {
  for (const form of [name, name.toLowerCase(), name.toUpperCase()]) {
    expect(isHopByHop(form)).toBe(false)
  }
})

describe('FileWrapper', () => {
  const content = Buffer.from(Array.from({ length: 1000 }, (_, i) => i % 256))
  let folder: string
  let path: string

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'portico-util-'))
    path = join(folder, 'file')
    await writeFile(path, content)
  })
  afterAll(() => rm(folder, { recursive: true }))

  /** A file as Python has them, with a protocol of what was asked of it. */
  class PythonFile implements FileLike {
    readonly sizes: number[] = []
    closed = 0
    #text: string

    constructor(text: string) {
      this.#text = text
    }

    read(size: number): string {
      this.sizes.push(size)
      const block = this.#text.slice(0, size)
      this.#text = this.#text.slice(size)
      return block
    }

    close(): void {
      this.closed++
    }
  }

  test('facts 55 and 56: 150 characters come in blocks of 120 and 30, and the file stays open', async () => {
    const file = new PythonFile('x'.repeat(150))
    const blocks = await collect(new FileWrapper(file, { blockSize: 120 }))
    expect(blocks).toEqual(['x'.repeat(120), 'x'.repeat(30)])
    expect(file.sizes).toEqual([120, 120, 120])
    expect(file.closed).toBe(0)
  })

  test('fact 57: close() closes the file', () => {
    const file = new PythonFile('')
    new FileWrapper(file).close?.()
    expect(file.closed).toBe(1)
  })

  test('fact 58: there is a close() only if the file has one', () => {
    const closeless = new FileWrapper({ read: () => '' })
    expect('close' in closeless).toBe(false)
    expect('close' in new FileWrapper(new PythonFile(''))).toBe(true)
  })

  test('a block has 64 KiB if nothing else is said', async () => {
    const file = new PythonFile('')
    await collect(new FileWrapper(file))
    expect(file.sizes).toEqual([DEFAULT_BLOCK_SIZE])
    expect(DEFAULT_BLOCK_SIZE).toBe(65536)
  })

  test('a range of a file with read() asks for no byte behind it', async () => {
    const file = new PythonFile('0123456789')
    expect(String(await bytes(new FileWrapper(file, { start: 2, length: 3 })))).toBe('234')
    expect(file.read(100)).toBe('56789')
  })

  const ranges: [number | undefined, number | undefined][] = [
    [undefined, undefined],
    [0, 0],
    [0, 1],
    [5, 500],
    [999, 1],
    [990, 100],
    [1000, 1],
    [2000, undefined],
    [7, undefined],
    [undefined, 993],
  ]
  const sources: [string, () => FileLike | Readable | Promise<FileLike | Readable>][] = [
    ['an fs.ReadStream', () => createReadStream(path, { highWaterMark: 64 })],
    ['a Readable of bytes', () => Readable.from([content.subarray(0, 9), content.subarray(9)])],
    [
      'a file whose read() is asynchronous and gives less than asked for',
      () => {
        let at = 0
        return {
          read: async (size: number) => {
            const from = at
            at += Math.min(size, 11)
            return content.subarray(from, at)
          },
        }
      },
    ],
  ]

  describe.each(sources)('%s', (_name, source) => {
    test.each(ranges)('gives exactly the bytes of start %j, length %j', async (start, length) => {
      const body = new FileWrapper(await source(), {
        blockSize: 100,
        ...(start !== undefined && { start }),
        ...(length !== undefined && { length }),
      })
      const from = start ?? 0
      expect(await bytes(body)).toEqual(content.subarray(from, from + (length ?? Infinity)))
    })
  })

  describe('a FileHandle', () => {
    test.each(ranges)('gives exactly the bytes of start %j, length %j', async (start, length) => {
      const handle = await open(path)
      const body = new FileWrapper(handle, {
        blockSize: 100,
        ...(start !== undefined && { start }),
        ...(length !== undefined && { length }),
      })
      const from = start ?? 0
      expect(await bytes(body)).toEqual(content.subarray(from, from + (length ?? Infinity)))
      expect(body.fd).toBe(handle.fd)
      expect(handle.fd).toBeGreaterThan(-1)
      await body.close?.()
      expect(handle.fd).toBe(-1)
    })

    test('without start is read on from where it stands', async () => {
      const handle = await open(path)
      await handle.read(Buffer.alloc(10), 0, 10)
      expect(await bytes(new FileWrapper(handle, { length: 20 }))).toEqual(content.subarray(10, 30))
      await handle.close()
    })

    test('tells a path only when it was given one', async () => {
      const handle = await open(path)
      expect(new FileWrapper(handle).path).toBeUndefined()
      expect(new FileWrapper(handle, { path }).path).toBe(path)
      await handle.close()
    })
  })

  test('a Readable left early stays open until close(), which destroys it', async () => {
    const stream = createReadStream(path, { highWaterMark: 10 })
    const body = new FileWrapper(stream)
    for await (const chunk of body) {
      expect(chunk.length).toBe(10)
      break
    }
    expect(stream.destroyed).toBe(false)
    body.close?.()
    expect(stream.destroyed).toBe(true)
  })

  test('an fs.ReadStream tells its path if it reads the whole file, and never its descriptor', async () => {
    const whole = new FileWrapper(createReadStream(path))
    const part = new FileWrapper(createReadStream(path, { start: 1 }))
    const head = new FileWrapper(createReadStream(path, { end: 1 }))
    expect([whole.path, part.path, head.path]).toEqual([path, undefined, undefined])
    expect(whole.fd).toBeUndefined()
    for (const body of [whole, part, head]) body.close?.()
  })

  test('a stream that fails before it is iterated does not end the process, it fails the body', async () => {
    const stream = createReadStream(join(folder, 'missing'))
    const body = new FileWrapper(stream)
    await new Promise<void>((resolve) => stream.once('close', () => resolve()))
    await expect(bytes(body)).rejects.toThrow('ENOENT')
  })

  test('strings of a Readable count as the bytes of their UTF-8', async () => {
    const body = new FileWrapper(Readable.from(['\u0436\u0436', '\u0436']), { start: 1, length: 4 })
    expect(await bytes(body)).toEqual(Buffer.from('\u0436\u0436\u0436').subarray(1, 5))
  })

  test.each<[string, FileLike, object, string]>([
    [
      'nothing to read',
      broken({}),
      {},
      'the source must have a read(size) method: a FileHandle, a Readable or the like',
    ],
    [
      'null',
      broken(null),
      {},
      'the source must have a read(size) method: a FileHandle, a Readable or the like',
    ],
    [
      'no block',
      new PythonFile(''),
      { blockSize: 0 },
      'blockSize must be a whole number from 1, not 0',
    ],
    [
      'a negative start',
      new PythonFile(''),
      { start: -1 },
      'start must be a whole number from 0, not -1',
    ],
    [
      'half a length',
      new PythonFile(''),
      { length: 0.5 },
      'length must be a whole number from 0, not 0.5',
    ],
  ])('%s is refused with a message that says why', (_name, source, options, message) => {
    expect(() => new FileWrapper(source, options)).toThrow(
      new ApplicationError(`FileWrapper: ${message}`, 'PORTICO_INVALID_ARGUMENT'),
    )
  })

  test('a FileWrapper of another build is recognised, other things are not', () => {
    const other = { [Symbol.for('portico.FileWrapper')]: true }
    expect(isFileWrapper(new FileWrapper(new PythonFile('')))).toBe(true)
    expect(isFileWrapper(other)).toBe(true)
    for (const value of [null, undefined, 'file', {}, new PythonFile('')]) {
      expect(isFileWrapper(value)).toBe(false)
    }
  })
})
