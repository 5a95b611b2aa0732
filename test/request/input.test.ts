import { Buffer } from 'node:buffer'
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import * as fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { fdSource } from '../../src/request/fd-io.ts'
import { ApplicationError, PeerError } from '../../src/errors.ts'
import { bytesSource, emptySource, Input, streamSource } from '../../src/request/input.ts'
import type { ByteSource } from '../../src/request/input.ts'
import { temporaryDirectory } from '../server/child.ts'

const directory = temporaryDirectory()
const opened: number[] = []
afterAll(() => {
  for (const fd of opened) closeSync(fd)
  directory.remove()
})

/** Gives `chunks` one by one, each in another turn if `late`. */
function chunkSource(chunks: readonly Uint8Array[], late = false): ByteSource {
  const left = chunks.filter((chunk) => chunk.length > 0).map((chunk) => Buffer.from(chunk))
  function next(size: number): Buffer | null {
    const chunk = left.shift()
    if (chunk === undefined) return null
    if (chunk.length > size) left.unshift(chunk.subarray(size))
    return chunk.subarray(0, size)
  }
  return {
    read: (size) =>
      late ? new Promise((resolve) => setImmediate(resolve, next(size))) : next(size),
  }
}

const single = (content: string) =>
  [...Buffer.from(content, 'latin1')].map((byte) => Buffer.from([byte]))

function makePipe(): string {
  const path = join(directory.path, `pipe-${(pipes += 1)}`)
  execFileSync('mkfifo', [path])
  return path
}

let pipes = 0

/** A real pipe: the reading end of what another process writes. */
function pipeSource(content: string): ByteSource {
  const path = makePipe()
  writeFileSync(`${path}.txt`, content, 'latin1')
  spawn('sh', ['-c', 'exec cat "$1.txt" > "$1"', 'sh', path], { stdio: 'ignore' })
  const fd = openSync(path, 'r')
  opened.push(fd)
  return fdSource(fd)
}

const sources: [string, (content: string) => ByteSource][] = [
  ['bytes', (content) => bytesSource(Buffer.from(content, 'latin1'))],
  ['a byte at a time', (content) => chunkSource(single(content))],
  ['a byte in each turn', (content) => chunkSource(single(content), true)],
  ['a stream', (content) => streamSource(Readable.from([Buffer.from(content, 'latin1')]))],
  ['a stream of single bytes', (content) => streamSource(Readable.from(single(content)))],
  [
    'a stream that ends late',
    (content) => {
      const stream = new PassThrough()
      setImmediate(() => stream.write(Buffer.from(content.slice(0, 2), 'latin1')))
      setTimeout(() => stream.end(Buffer.from(content.slice(2), 'latin1')), 5)
      return streamSource(stream)
    },
  ],
  ['a pipe', pipeSource],
]

async function text(bytes: Promise<Buffer>): Promise<string> {
  return (await bytes).toString('latin1')
}

async function gathered<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}

const asText = (list: Buffer[]) => list.map((item) => item.toString('latin1'))

const joined = (list: unknown[]) => Buffer.concat(list as Buffer[]).toString('latin1')

describe.each(sources)('wsgi.input over %s', (_, make) => {
  const input = (content: string, length?: number) => new Input(make(content), length)

  test('gives the body up to CONTENT_LENGTH', async () => {
    const stream = input('123456', 3)
    expect(await text(stream.read())).toBe('123')
    expect(await text(stream.read())).toBe('')
  })

  test('can be read byte by byte', async () => {
    const stream = input('123456', 3)
    const read = async () => text(stream.read(1))
    expect([await read(), await read(), await read(), await read()]).toEqual(['1', '2', '3', ''])
  })

  test('gives lines up to CONTENT_LENGTH', async () => {
    const stream = input('123456\nabcdefg', 9)
    expect(await text(stream.readline())).toBe('123456\n')
    expect(await text(stream.readline())).toBe('ab')
    expect(await text(stream.readline())).toBe('')
  })

  test('readlines() gives all lines, or stops after its hint', async () => {
    expect(asText(await input('123456\nabcdefg', 9).readlines())).toEqual(['123456\n', 'ab'])
    const stream = input('123456\nabcdefg', 9)
    expect(asText(await stream.readlines(2))).toEqual(['123456\n'])
    expect(asText(await stream.readlines(0))).toEqual(['ab'])
    expect(asText(await stream.readlines(100))).toEqual([])
  })

  test('readline() gives a line that is shorter than the size', async () => {
    expect(await text(input('123456\nabcdefg', 9).readline(100))).toBe('123456\n')
  })

  test('gives nothing if CONTENT_LENGTH is 0', async () => {
    expect(await text(input('x', 0).read(-1))).toBe('')
    expect(await text(input('x', 0).readline())).toBe('')
  })

  test('gives lines when iterated, even after a read', async () => {
    const stream = input('123456\n\nabc\ndefg', 15)
    expect(await text(stream.read(2))).toBe('12')
    expect(asText(await gathered(stream))).toEqual(['3456\n', '\n', 'abc\n', 'def'])
  })

  test('rejects every read of an incomplete body, and never reads short', async () => {
    const ways: ((stream: Input) => Promise<unknown>)[] = [
      (stream) => stream.read(),
      (stream) => stream.read(10),
      (stream) => stream.readline(),
      (stream) => stream.readlines(),
      (stream) => gathered(stream),
      (stream) => gathered(stream.chunks()),
      (stream) => gathered(stream.stream()),
    ]
    for (const way of ways) {
      const stream = input('12345', 6)
      await expect(way(stream)).rejects.toMatchObject({
        name: 'PeerError',
        code: 'PORTICO_BODY_CUT_SHORT',
      })
      await expect(stream.read()).rejects.toThrow('ended 1 bytes before its CONTENT_LENGTH')
      await expect(stream.readline()).rejects.toThrow(PeerError)
    }
  })

  test('gives the received part of an incomplete body to reads that ask for less', async () => {
    const stream = input('12\n45', 6)
    expect(await text(stream.readline())).toBe('12\n')
    expect(await text(stream.read(2))).toBe('45')
    await expect(stream.read(1)).rejects.toThrow(PeerError)
  })

  test('ends with its source if there is no CONTENT_LENGTH', async () => {
    const stream = input('123456')
    expect(await text(stream.read(4))).toBe('1234')
    expect(await text(stream.read())).toBe('56')
    expect(await text(stream.read())).toBe('')
  })

  test('read() gives the full size, however the bytes arrive', async () => {
    const stream = input('abcdefghijklm', 12)
    expect(await text(stream.read(5))).toBe('abcde')
    expect(await text(stream.readline(2))).toBe('fg')
    expect(await text(stream.read(3))).toBe('hij')
    expect(await text(stream.read(9))).toBe('kl')
  })

  test('readline() stops at its size', async () => {
    const stream = input('abc\nd\n')
    const got: string[] = []
    for (const size of [0, 2, 2, 2, -1]) got.push(await text(stream.readline(size)))
    expect(got).toEqual(['', 'ab', 'c\n', 'd\n', ''])
  })

  test('chunks() and stream() give every byte once', async () => {
    expect(joined(await gathered(input('12\n\xff\x0056', 5).chunks()))).toBe('12\n\xff\0')
    expect(joined(await gathered(input('12\n\xff\x0056', 5).stream()))).toBe('12\n\xff\0')
    expect(await gathered(input('', 0).stream())).toEqual([])
  })
})

const shortBody = () => new Input(bytesSource(Buffer.from('abc\n')))

describe('The size argument of read() and readline()', () => {
  test.each([undefined, null, -1, -5, Infinity])('%s reads to the end', async (size) => {
    expect(await text(shortBody().read(size as number))).toBe('abc\n')
    expect(await text(shortBody().readline(size as number))).toBe('abc\n')
  })

  test.each([1.5, NaN, '2', {}, 2n])('%s is an ApplicationError', async (size) => {
    for (const method of ['read', 'readline'] as const) {
      const stream = shortBody()
      await expect(stream[method](size as number)).rejects.toThrow(ApplicationError)
      expect(await text(stream.read())).toBe('abc\n')
    }
  })
})

describe('Overlapping reads', () => {
  const ways: [string, (stream: Input) => Promise<unknown>][] = [
    ['read', (stream) => stream.read(1)],
    ['readline', (stream) => stream.readline()],
    ['readlines', (stream) => stream.readlines()],
    ['an iteration', (stream) => gathered(stream)],
    ['chunks', (stream) => gathered(stream.chunks())],
    ['stream', (stream) => gathered(stream.stream())],
  ]

  test.each(ways)(
    'are refused: %s while another read waits, which then completes',
    async (_, way) => {
      const stream = new Input(chunkSource(single('abc'), true))
      const first = stream.read()
      const error: unknown = await way(stream).catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(ApplicationError)
      expect(String(error)).toContain('wsgi.input is already being read')
      expect(await text(first)).toBe('abc')
      expect(await text(stream.read())).toBe('')
    },
  )

  test('do not include a read after a failed one', async () => {
    let attempts = 0
    const stream = new Input({
      read() {
        attempts += 1
        if (attempts === 1) throw new PeerError('PORTICO_DISCONNECTED', 'gone')
        return attempts === 2 ? Buffer.from('late') : null
      },
    })
    await expect(stream.read()).rejects.toThrow('gone')
    expect(await text(stream.read())).toBe('late')
  })

  test('do not include a read of the rest after an iteration that was left early', async () => {
    const stream = new Input(bytesSource(Buffer.from('a\nb\nc')))
    for await (const line of stream) {
      expect(line.toString()).toBe('a\n')
      break
    }
    for await (const chunk of stream.chunks()) {
      expect(chunk.toString()).toBe('b\nc')
      break
    }
    expect(await text(stream.read())).toBe('')
  })
})

describe('Input, which reads its source in blocks,', () => {
  const large = Buffer.alloc(200_001, 'abcdefghi\n')

  test('keeps the order in reads larger than a block and lines across blocks', async () => {
    const stream = new Input(bytesSource(large), 200_000)
    const parts = [
      await stream.read(65_537),
      await stream.readline(),
      await stream.read(65_535),
      ...(await stream.readlines()),
    ]
    expect(Buffer.concat(parts).equals(large.subarray(0, 200_000))).toBe(true)
  })

  test('joins a long line that arrives in single bytes only once', async () => {
    const long = Buffer.alloc(300_000, 'x')
    const stream = new Input({ read: () => Buffer.from('x') }, long.length)
    expect((await stream.readline()).equals(long)).toBe(true)
  })

  test('never asks for more than the rest of CONTENT_LENGTH', async () => {
    const asked: number[] = []
    const source: ByteSource = {
      read(size) {
        asked.push(size)
        return Buffer.alloc(Math.min(size, 60_000))
      },
    }
    await new Input(source, 100_000).readline()
    expect(asked).toEqual([65_536, 40_000])
  })

  test('reuses its block for a pipe that delivers single bytes', async () => {
    const fd = openSync(makePipe(), 'r+')
    opened.push(fd)
    const source = fdSource(fd)
    const blocks = new Set<ArrayBufferLike>()
    let content = ''
    for (let i = 0; i < 1000; i += 1) {
      writeSync(fd, String(i % 10))
      const chunk = await source.read(65_536)
      content += chunk?.toString()
      if (chunk !== null) blocks.add(chunk.buffer)
    }
    expect(content).toBe('0123456789'.repeat(100))
    expect(blocks.size).toBe(1)
  })
})

describe('A Node stream as a source', () => {
  test('is an error if it is destroyed before its end, with CONTENT_LENGTH and without', async () => {
    for (const length of [10, undefined]) {
      for (const reason of [new Error('reset'), undefined]) {
        const stream = new PassThrough()
        const input = new Input(streamSource(stream), length)
        stream.write('ab')
        expect(await text(input.read(2))).toBe('ab')
        const rest = input.read()
        stream.destroy(reason)
        await expect(rest).rejects.toThrow(PeerError)
        await expect(input.read()).rejects.toMatchObject({ code: 'PORTICO_DISCONNECTED' })
      }
    }
  })

  test('is an error if it was destroyed before the first read', async () => {
    const stream = new PassThrough()
    const input = new Input(streamSource(stream))
    stream.destroy(new Error('reset'))
    await new Promise((resolve) => stream.once('close', resolve))
    await expect(input.read()).rejects.toThrow('reset')
  })

  test('of strings gives their bytes', async () => {
    expect(await text(new Input(streamSource(Readable.from(['h\xe9', 'llo']))).read())).toBe(
      'h\xc3\xa9llo',
    )
    const decoding = new PassThrough()
    decoding.setEncoding('latin1')
    decoding.end(Buffer.from('\xe9', 'latin1'))
    expect(await text(new Input(streamSource(decoding)).read())).toBe('\xe9')
  })

  test('is read no faster than the application asks', async () => {
    let made = 0
    const stream = new Readable({
      highWaterMark: 1000,
      read() {
        made += 1000
        this.push(Buffer.alloc(1000))
      },
    })
    await new Input(streamSource(stream)).read(10)
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(made).toBeLessThan(5000)
    stream.destroy()
  })
})

test('A descriptor that cannot be read is a logged error, not a disconnected client', async () => {
  const directoryFd = openSync('/', 'r')
  const closed = openSync('/dev/null', 'r')
  closeSync(closed)
  try {
    for (const [fd, code] of [
      [closed, 'EBADF'],
      [directoryFd, 'EISDIR'],
    ] as const) {
      const error = await new Input(fdSource(fd), 1).read().catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(Error)
      expect(error).not.toBeInstanceOf(PeerError)
      expect(String(error)).toContain(`from file descriptor ${fd}: ${code}`)
    }
  } finally {
    closeSync(directoryFd)
  }
})

test('An empty source ends at once', async () => {
  expect(await text(new Input(emptySource).read())).toBe('')
})

test('Lines are the same wherever the bytes are split', async () => {
  const contents = fc.array(fc.constantFrom('a', 'bc', '\n', '\n\n', '\r\n'), { maxLength: 30 })
  const property = fc.asyncProperty(
    contents.map((parts) => Buffer.from(parts.join(''))),
    fc.array(fc.nat({ max: 8 }), { minLength: 1, maxLength: 10 }),
    fc.boolean(),
    fc.array(fc.tuple(fc.constantFrom('read', 'readline'), fc.nat({ max: 5 }))),
    async (bytes, cuts, late, reads) => {
      const chunks: Buffer[] = []
      for (let at = 0, i = 0; at < bytes.length; i += 1) {
        const size = Math.max(1, cuts[i % cuts.length]!)
        chunks.push(bytes.subarray(at, at + size))
        at += size
      }
      const whole = new Input(bytesSource(bytes), bytes.length)
      const divided = new Input(chunkSource(chunks, late), bytes.length)
      for (const [method, size] of reads) {
        expect(await text(divided[method as 'read'](size))).toBe(
          await text(whole[method as 'read'](size)),
        )
      }
      expect(asText(await divided.readlines())).toEqual(asText(await whole.readlines()))
    },
  )
  await fc.assert(property, { numRuns: 200 })
})

describe('A client that disconnects', () => {
  test.each([
    ['pipe()', (stream: Readable) => void stream.pipe(new PassThrough())],
    ["on('data')", (stream: Readable) => void stream.on('data', () => {})],
    ['resume()', (stream: Readable) => void stream.resume()],
  ])('does not end the process of an application that reads stream() by %s', async (_, read) => {
    const uncaught: unknown[] = []
    const listener = (error: unknown) => uncaught.push(error)
    process.on('uncaughtException', listener)
    try {
      const stream = new Input(bytesSource(Buffer.from('abc')), 100).stream()
      read(stream)
      await new Promise((resolve) => stream.on('close', resolve))
      expect(stream.errored).toMatchObject({ code: 'PORTICO_BODY_CUT_SHORT' })
      for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
      expect(uncaught).toEqual([])
    } finally {
      process.off('uncaughtException', listener)
    }
  })

  test('makes stream() reject in a for await loop', async () => {
    const stream = new Input(bytesSource(Buffer.from('abc')), 100).stream()
    const read = async () => {
      for await (const chunk of stream) void chunk
    }
    await expect(read()).rejects.toMatchObject({ code: 'PORTICO_BODY_CUT_SHORT' })
  })

  test.each<[string, (input: Input) => Promise<unknown>]>([
    ['read()', (input) => input.read()],
    ['readline()', (input) => input.readline()],
    ['readlines()', (input) => input.readlines()],
    ['the first line', (input) => input[Symbol.asyncIterator]().next()],
    [
      'the second chunk',
      (input) => {
        const chunks = input.chunks()
        void chunks.next()
        return chunks.next()
      },
    ],
  ])('does not end the process before %s is awaited, and rejects it then', async (_, begin) => {
    const unhandled: unknown[] = []
    const listener = (error: unknown) => unhandled.push(error)
    process.on('unhandledRejection', listener)
    try {
      const promise = begin(new Input(bytesSource(Buffer.from('abc')), 10))
      for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
      expect(unhandled).toEqual([])
      await expect(promise).rejects.toMatchObject({ code: 'PORTICO_BODY_CUT_SHORT' })
    } finally {
      process.off('unhandledRejection', listener)
    }
  })
})
