/** Content-Length: `bodyLength`, `chunkLength`, and files sent by handlers. */
import { once } from 'node:events'
import {
  appendFileSync,
  closeSync,
  createReadStream,
  mkdtempSync,
  openSync,
  type ReadStream,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bodyLength, chunkLength } from '../../src/response/body.ts'
import { whenOpen } from '../../src/response/file-part.ts'
import { ApplicationError } from '../../src/errors.ts'
import type { Application, Chunk, HeaderList } from '../../src/types.ts'
import { FileWrapper, type FileWrapperOptions } from '../../src/wsgiref/util.ts'
import { GATEWAYS, through, valueOf } from '../middleware/gateways.ts'

type StreamOptions = { start?: number; end?: number }

let directory: string
let path: string
const content = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251))
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'portico-length-'))
  path = join(directory, 'file')
  writeFileSync(path, content)
})
afterAll(() => rmSync(directory, { recursive: true }))

describe('bodyLength()', () => {
  it.each<[what: string, body: unknown, length: number | undefined]>([
    ['a string by its UTF-8', 'é', 2],
    ['a Uint8Array', new Uint8Array(3), 3],
    ['an array by its chunks', ['é', new Uint8Array(3), ''], 5],
    ['an empty array', [], 0],
    ['a generator not at all', (function* () {})(), undefined],
    ['a file that is not a FileHandle not at all', new FileWrapper({ read: () => '' }), undefined],
    ['null not at all', null, undefined],
  ])('measures %s', (_, body, length) => {
    expect(bodyLength(body)).toBe(length)
  })

  it('refuses an array of values that are not chunks', () => {
    expect(() => bodyLength(['a', 1])).toThrow(ApplicationError)
  })

  it.each<[options: StreamOptions, more: FileWrapperOptions, length: number]>([
    [{}, {}, 200_000],
    [{ start: 10 }, {}, 199_990],
    [{ end: 9 }, {}, 10],
    [{ start: 10, end: 19 }, {}, 10],
    [{ start: 10, end: 300_000 }, {}, 199_990],
    [{ start: 300_000 }, {}, 0],
    [{ start: 10, end: 19 }, { start: 3 }, 7],
    [{ start: 10, end: 19 }, { start: 30 }, 0],
    [{ start: 10, end: 19 }, { length: 4 }, 4],
  ])(
    'measures an fs.ReadStream with %j in a wrapper with %j, once it is open',
    async (...given) => {
      const [options, more, length] = given
      const body = new FileWrapper(createReadStream(path, options), more)
      expect(bodyLength(body)).toBeUndefined()
      await whenOpen(body)
      expect(bodyLength(body)).toBe(length)
      let sent = 0
      for await (const chunk of body) sent += chunk.length
      expect(sent).toBe(length)
      body.close?.()
    },
  )

  it.each<[what: string, change: (stream: ReadStream) => unknown]>([
    ['has been read from', (stream) => once(stream, 'readable').then(() => stream.read(5))],
    ['makes text of its bytes', (stream) => stream.setEncoding('latin1')],
    ['is closed', (stream) => stream.destroy()],
  ])('does not measure a stream that %s', async (_what, change) => {
    const stream = createReadStream(path)
    const body = new FileWrapper(stream)
    await whenOpen(body)
    await change(stream)
    expect(bodyLength(body)).toBeUndefined()
    body.close?.()
  })

  it('measures a stream over a descriptor from its current position', async () => {
    const handle = await open(path)
    await handle.read(Buffer.alloc(10), 0, 10)
    const body = new FileWrapper(handle.createReadStream())
    expect(whenOpen(body)).toBeUndefined()
    expect(bodyLength(body)).toBe(process.platform === 'linux' ? 199_990 : undefined)
    expect(body.path).toBeUndefined()
    body.close?.()
  })

  it('does not measure a stream that cannot be opened', async () => {
    const body = new FileWrapper(createReadStream(join(directory, 'missing')))
    await whenOpen(body)
    expect(bodyLength(body)).toBeUndefined()
  })

  it('measures an empty file', async () => {
    writeFileSync(join(directory, 'empty'), '')
    const body = new FileWrapper(await open(join(directory, 'empty')), { start: 0 })
    expect(bodyLength(body)).toBe(0)
    await body.close?.()
  })

  it.each<[options: FileWrapperOptions, read: number, length: number | undefined]>([
    [{}, 0, 200_000],
    [{}, 10, process.platform === 'linux' ? 199_990 : undefined],
    [{ start: 10 }, 50, 199_990],
    [{ start: 10, length: 20 }, 0, 20],
    [{ start: 199_999, length: 20 }, 0, 1],
    [{ start: 200_001 }, 0, 0],
    [{ start: 0, length: 0 }, 0, 0],
  ])(
    'measures a FileHandle of 200,000 bytes with %j, %i of them read',
    async (options, read, length) => {
      const handle = await open(path)
      if (read > 0) await handle.read(Buffer.alloc(read), 0, read)
      const expected =
        process.platform === 'linux' || options.start !== undefined ? length : undefined
      expect(bodyLength(new FileWrapper(handle, options))).toBe(expected)
      await handle.close()
    },
  )

  it.each(['/dev/zero', '/proc/self/status'])(
    'does not trust the reported size of %s',
    async (name) => {
      const handle = await open(name).catch(() => null)
      if (handle === null) return
      expect(bodyLength(new FileWrapper(handle, { start: 0 }))).toBeUndefined()
      await handle.close()
    },
  )
})

const file = (options: FileWrapperOptions, headers: HeaderList = []): Application =>
  async function (_environ, startResponse) {
    startResponse('200 OK', headers)
    return new FileWrapper(await open(path), options)
  }

describe.each(GATEWAYS)('An fs.ReadStream sent over %s', (gateway) => {
  it.each<[method: string, options: StreamOptions, from: number, to: number]>([
    ['GET', {}, 0, 200_000],
    ['GET', { start: 100, end: 150_099 }, 100, 150_100],
    ['GET', { start: 200_000 }, 0, 0],
    ['HEAD', {}, 0, 200_000],
  ])('has its Content-Length in a response to %s with %j', async (method, options, from, to) => {
    const application: Application = (_environ, startResponse) => {
      startResponse('200 OK', [])
      return new FileWrapper(createReadStream(path, options))
    }
    const response = await through(gateway, application, (ask) => ask({ method, target: '/' }))
    expect(valueOf(response, 'Content-Length')).toBe(String(to - from))
    expect(response.broken).toBe(false)
    const sent = method === 'HEAD' ? Buffer.alloc(0) : content.subarray(from, to)
    expect(response.body.equals(sent)).toBe(true)
  })

  it('of an empty file has a Content-Length of 0', async () => {
    const empty = join(directory, `empty-${gateway}`)
    writeFileSync(empty, '')
    const application: Application = (_environ, startResponse) => {
      startResponse('200 OK', [])
      return new FileWrapper(createReadStream(empty))
    }
    const response = await through(gateway, application, (ask) => ask('/'))
    expect([response.status, valueOf(response, 'Content-Length')]).toEqual(['200 OK', '0'])
  })
})

describe.each(GATEWAYS)('A FileHandle sent over %s', (gateway) => {
  it.each<[method: string, options: FileWrapperOptions, from: number, to: number]>([
    ['GET', { start: 0 }, 0, 200_000],
    ['GET', { start: 100, length: 150_000 }, 100, 150_100],
    ['HEAD', { start: 0 }, 0, 200_000],
  ])('has its Content-Length in a response to %s with %j', async (method, options, from, to) => {
    const response = await through(gateway, file(options), (ask) => ask({ method, target: '/' }))
    expect(valueOf(response, 'Content-Length')).toBe(String(to - from))
    expect(response.broken).toBe(false)
    const sent = method === 'HEAD' ? Buffer.alloc(0) : content.subarray(from, to)
    expect(response.body.equals(sent)).toBe(true)
  })

  it('is read in blocks of 64 KiB', async () => {
    const sizes: number[] = []
    const application: Application = async (_environ, startResponse) => {
      startResponse('200 OK', [])
      const handle = await open(path)
      const read = handle.read.bind(handle)
      handle.read = (async (...args: unknown[]) => {
        const result = await Reflect.apply(read, handle, args)
        sizes.push(result.bytesRead)
        return result
      }) as typeof handle.read
      return new FileWrapper(handle, { start: 0 })
    }
    await through(gateway, application, (ask) => ask('/'))
    expect(sizes.slice(0, 4)).toEqual([65_536, 65_536, 65_536, 3_392])
  })

  it('keeps the Content-Length that the application gives', async () => {
    const response = await through(
      gateway,
      file({ start: 0, length: 5 }, [['Content-Length', '5']]),
      (ask) => ask('/'),
    )
    expect(valueOf(response, 'Content-Length')).toBe('5')
    expect(response.body).toHaveLength(5)
  })

  it('that grows is sent up to its Content-Length', async () => {
    const growing = join(directory, `growing-${gateway}`)
    writeFileSync(growing, Buffer.alloc(100_000))
    const application: Application = async (_environ, startResponse) => {
      startResponse('200 OK', [])
      const body = new FileWrapper(await open(growing), { start: 0 })
      const iterate = body[Symbol.asyncIterator].bind(body)
      return Object.assign(body, {
        async *[Symbol.asyncIterator]() {
          for await (const chunk of iterate()) {
            const fd = openSync(growing, 'a')
            appendFileSync(fd, Buffer.alloc(100))
            closeSync(fd)
            yield chunk
          }
        },
      })
    }
    const response = await through(gateway, application, (ask) => ask('/'))
    expect(valueOf(response, 'Content-Length')).toBe('100000')
    expect([response.body.length, response.broken]).toEqual([100_000, false])
  })
})

describe('chunkLength()', () => {
  const LENGTHS = [0, 1, 511, 512, 513, 65_534, 65_535, 65_536, 65_537, 131_071, 131_072, 200_000]
  const CHARACTERS = ['a', 'é', '€', '😀', '\ud83d', '\ude00']

  it.each(CHARACTERS)('returns the UTF-8 length of any number of %j', (character) => {
    for (const length of LENGTHS) {
      const text = character.repeat(length)
      for (const all of [text, `x${text}`, `${text}x`]) {
        expect(chunkLength(all), `${length}`).toBe(Buffer.byteLength(all))
      }
    }
  })

  it('returns the UTF-8 length of any text', () => {
    const unit = fc.nat(0xffff).map((code) => String.fromCharCode(code))
    const sample = fc.string({ unit, minLength: 400, maxLength: 700 })
    fc.assert(
      fc.property(sample, fc.nat(300), fc.nat(3), (text, times, rest) => {
        const long = text.repeat(times) + text.slice(rest)
        expect(chunkLength(long)).toBe(Buffer.byteLength(long))
      }),
    )
  })
})

describe.each(GATEWAYS)('A %s gateway', (gateway) => {
  const text = ['a', 'é', '€😀', '\ud83d'].map((part) => part.repeat(70_000))
  const bytes = Buffer.from(text.join(''))
  const bodies: Record<string, Chunk[]> = {
    'long texts': text,
    'texts and bytes': [...text, bytes, 'x', bytes.subarray(0, 100), ...text, ''],
    'many short texts': Array.from({ length: 3000 }, (_, i) => `${i} é`.repeat(i % 150)),
    'one text of ASCII': ['ASCII '.repeat(500_000)],
  }

  it.each(Object.keys(bodies))('sends %s byte for byte', async (name) => {
    const body = bodies[name]!
    for (const result of [body, new Set(body)]) {
      await through(
        gateway,
        (_, startResponse) => {
          startResponse('200 OK', [['X-Byte', 'caf\xe9']])
          return result
        },
        async (ask) => {
          const response = await ask('/')
          const expected = Buffer.concat([...result].map((chunk) => Buffer.from(chunk)))
          expect(response.body.equals(expected)).toBe(true)
          expect(valueOf(response, 'X-Byte')).toBe('caf\xe9')
        },
      )
    }
  })
})
