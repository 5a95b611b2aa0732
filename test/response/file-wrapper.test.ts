/** FileWrapper: blocks, ranges, closing, and what it accepts. */
import { createReadStream } from 'node:fs'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ApplicationError } from '../../src/errors.ts'
import { DEFAULT_BLOCK_SIZE, FileWrapper, isFileWrapper } from '../../src/response/file-wrapper.ts'
import type { FileLike } from '../../src/types.ts'

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}

async function bytes(body: FileWrapper): Promise<Buffer> {
  return Buffer.concat((await collect(body)).map((chunk) => Buffer.from(chunk)))
}

const broken = (source: unknown) => source as FileLike

describe('FileWrapper:', () => {
  const content = Buffer.from(Array.from({ length: 1000 }, (_, i) => i % 256))
  let directory: string
  let path: string

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'portico-util-'))
    path = join(directory, 'file')
    await writeFile(path, content)
  })
  afterAll(() => rm(directory, { recursive: true }))

  /** A file as in Python, with a record of its reads. */
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

  test('FileWrapper reads 150 characters in blocks of 120 and 30, and does not close the file', async () => {
    const file = new PythonFile('x'.repeat(150))
    const blocks = await collect(new FileWrapper(file, { blockSize: 120 }))
    expect(blocks).toEqual(['x'.repeat(120), 'x'.repeat(30)])
    expect(file.sizes).toEqual([120, 120, 120])
    expect(file.closed).toBe(0)
  })

  test('close() of a FileWrapper closes the file', () => {
    const file = new PythonFile('')
    new FileWrapper(file).close?.()
    expect(file.closed).toBe(1)
  })

  test('a FileWrapper has close() only if the file has', () => {
    const closeless = new FileWrapper({ read: () => '' })
    expect('close' in closeless).toBe(false)
    expect('close' in new FileWrapper(new PythonFile(''))).toBe(true)
  })

  test('FileWrapper reads blocks of 64 KiB by default', async () => {
    const file = new PythonFile('')
    await collect(new FileWrapper(file))
    expect(file.sizes).toEqual([DEFAULT_BLOCK_SIZE])
    expect(DEFAULT_BLOCK_SIZE).toBe(65536)
  })

  test('FileWrapper reads no byte after the range', async () => {
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
      'a file whose read() is asynchronous and returns less than requested',
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
    test.each(ranges)(
      'FileWrapper sends exactly the bytes of start %j, length %j',
      async (start, length) => {
        const body = new FileWrapper(await source(), {
          blockSize: 100,
          ...(start !== undefined && { start }),
          ...(length !== undefined && { length }),
        })
        const from = start ?? 0
        expect(await bytes(body)).toEqual(content.subarray(from, from + (length ?? Infinity)))
      },
    )
  })

  describe('over a FileHandle,', () => {
    test.each(ranges)(
      'FileWrapper sends exactly the bytes of start %j, length %j',
      async (start, length) => {
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
      },
    )

    test('FileWrapper without start reads a FileHandle from its current position', async () => {
      const handle = await open(path)
      await handle.read(Buffer.alloc(10), 0, 10)
      expect(await bytes(new FileWrapper(handle, { length: 20 }))).toEqual(content.subarray(10, 30))
      await handle.close()
    })

    test('FileWrapper over a FileHandle has the path that was given, or none', async () => {
      const handle = await open(path)
      expect(new FileWrapper(handle).path).toBeUndefined()
      expect(new FileWrapper(handle, { path }).path).toBe(path)
      await handle.close()
    })
  })

  test('a Readable that is left early stays open until close() destroys it', async () => {
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

  test('FileWrapper has the path of an fs.ReadStream that reads the whole file, and never its descriptor', async () => {
    const whole = new FileWrapper(createReadStream(path))
    const part = new FileWrapper(createReadStream(path, { start: 1 }))
    const head = new FileWrapper(createReadStream(path, { end: 1 }))
    expect([whole.path, part.path, head.path]).toEqual([path, undefined, undefined])
    expect(whole.fd).toBeUndefined()
    for (const body of [whole, part, head]) body.close?.()
  })

  test('a stream that fails before it is iterated fails the body, not the process', async () => {
    const stream = createReadStream(join(directory, 'missing'))
    const body = new FileWrapper(stream)
    await new Promise<void>((resolve) => stream.once('close', () => resolve()))
    await expect(bytes(body)).rejects.toThrow('ENOENT')
  })

  test('FileWrapper counts strings of a Readable in bytes of UTF-8', async () => {
    const body = new FileWrapper(Readable.from(['\u0436\u0436', '\u0436']), { start: 1, length: 4 })
    expect(await bytes(body)).toEqual(Buffer.from('\u0436\u0436\u0436').subarray(1, 5))
  })

  test.each<[string, FileLike, object, string]>([
    [
      'nothing to read',
      broken({}),
      {},
      'the source must have a read(size) method, as a FileHandle or a Readable has',
    ],
    [
      'null',
      broken(null),
      {},
      'the source must have a read(size) method, as a FileHandle or a Readable has',
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
  ])('FileWrapper refuses %s and explains why', (_name, source, options, message) => {
    expect(() => new FileWrapper(source, options)).toThrow(
      new ApplicationError(`FileWrapper: ${message}`, 'PORTICO_INVALID_ARGUMENT'),
    )
  })

  test('isFileWrapper recognises a FileWrapper of another build, and nothing else', () => {
    const other = { [Symbol.for('portico.FileWrapper')]: true }
    expect(isFileWrapper(new FileWrapper(new PythonFile('')))).toBe(true)
    expect(isFileWrapper(other)).toBe(true)
    for (const value of [null, undefined, 'file', {}, new PythonFile('')]) {
      expect(isFileWrapper(value)).toBe(false)
    }
  })
})
