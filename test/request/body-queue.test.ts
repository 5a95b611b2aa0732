import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { PeerError } from '../../src/errors.ts'
import { Input } from '../../src/request/input.ts'
import { BodyQueue, queueFromStream } from '../../src/request/body-queue.ts'

const gone = () => new PeerError('PORTICO_DISCONNECTED', 'gone')

function source(announced?: number) {
  const read: number[] = []
  let pushed = 0
  const owner = {
    bodyTaken: () => read.push(pushed - queue.queued - read.reduce((sum, bytes) => sum + bytes, 0)),
  }
  const queue = new BodyQueue(owner, announced)
  const push = queue.push.bind(queue)
  queue.push = (chunk, borrowed) => {
    pushed += chunk.length
    push(chunk, borrowed)
  }
  return { read, source: queue }
}

/** A read that need not wait. */
function now(pushed: BodyQueue, size: number): string {
  const chunk = pushed.read(size)
  if (chunk === null || chunk instanceof Promise) throw new Error('there is nothing to read')
  return chunk.toString()
}

test('BodyQueue gives queued bytes without waiting, and reports how many were read', () => {
  const { source: pushed, read } = source()
  pushed.push(Buffer.from('abc'))
  pushed.push(Buffer.from('de'))
  expect(pushed.queued).toBe(5)
  expect(now(pushed, 2)).toBe('ab')
  expect(now(pushed, 100)).toBe('c')
  expect(now(pushed, 2)).toBe('de')
  expect([pushed.queued, read]).toEqual([0, [2, 1, 2]])
})

test('BodyQueue gives a waiting reader the next bytes, and no more than it asked for', async () => {
  const { source: pushed, read } = source()
  const first = pushed.read(2)
  expect(first).toBeInstanceOf(Promise)
  pushed.push(Buffer.from('abc'))
  expect(String(await first)).toBe('ab')
  expect([pushed.queued, read]).toEqual([1, [2]])
})

test('BodyQueue ends when all is read, and stays ended', async () => {
  const { source: pushed } = source()
  const waiting = pushed.read(9)
  pushed.end()
  expect(await waiting).toBeNull()
  const { source: filled } = source()
  filled.push(Buffer.from('a'))
  filled.end()
  expect(now(filled, 9)).toBe('a')
  expect([filled.read(9), filled.read(9)]).toEqual([null, null])
})

test('BodyQueue fails after the queued bytes, and stays failed', async () => {
  const { source: pushed } = source()
  pushed.push(Buffer.from('ab'))
  pushed.fail(gone())
  expect(now(pushed, 9)).toBe('ab')
  expect(() => pushed.read(9)).toThrow('gone')
  const { source: empty } = source()
  const waiting = empty.read(9)
  empty.fail(gone())
  await expect(waiting).rejects.toThrow(PeerError)
  expect(() => empty.read(9)).toThrow('gone')
})

test('BodyQueue ignores a failure after the end', () => {
  const { source: pushed } = source()
  pushed.push(Buffer.from('ab'))
  pushed.end()
  pushed.fail(gone())
  expect(now(pushed, 9)).toBe('ab')
  expect(pushed.read(9)).toBeNull()
})

test('Input rejects a body that ends with the connection', async () => {
  const { source: pushed } = source()
  const input = new Input(pushed, 5)
  const body = input.read()
  pushed.push(Buffer.from('ab'))
  pushed.fail(new PeerError('PORTICO_DISCONNECTED', 'The request was aborted'))
  await expect(body).rejects.toThrow('aborted')
})

test('BodyQueue frees chunks that have been read, even if it is never empty', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const { source: pushed } = source()
  let alive = 0
  const registry = new FinalizationRegistry(() => (alive -= 1))
  for (let i = 0; i < 200; i += 1) {
    const chunk = Buffer.alloc(16)
    alive += 1
    registry.register(chunk, null)
    pushed.push(chunk)
    if (i > 0) now(pushed, 16)
  }
  for (let i = 0; i < 10; i += 1) {
    collect()
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  expect(pushed.queued).toBe(16)
  expect(alive).toBeLessThan(20)
})

test('BodyQueue gives bytes in order and counts them, whenever they arrive', async () => {
  const steps = fc.array(fc.oneof(fc.record({ push: fc.nat(9) }), fc.record({ read: fc.nat(9) })))
  await fc.assert(
    fc.asyncProperty(steps, async (list) => {
      const { source: pushed, read } = source()
      let made = 0
      let got = ''
      let waiting: Promise<unknown> | null = null
      for (const step of list) {
        if ('push' in step) {
          const digits = Array.from({ length: step.push + 1 }, () => made++ % 10).join('')
          pushed.push(Buffer.from(digits))
          await waiting
          waiting = null
        } else if (waiting === null) {
          const chunk = pushed.read(step.read + 1)
          if (chunk instanceof Promise) waiting = chunk.then((late) => (got += String(late)))
          else got += chunk?.toString()
        }
      }
      expect('0123456789'.repeat(made / 10 + 1).startsWith(got)).toBe(true)
      expect(read.reduce((sum, count) => sum + count, 0)).toBe(got.length)
      expect(pushed.queued).toBe(made - got.length)
    }),
  )
})

test('A body in chunks of one byte takes about its size in memory, and is read in few chunks', () => {
  const { source: pushed } = source()
  const size = 1024 * 1024
  const before = process.memoryUsage()
  const chunk = Buffer.alloc(65_536, 'x')
  for (let i = 0; i < size; i += 1) pushed.push(chunk.subarray(i & 0xffff, (i & 0xffff) + 1), true)
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  // With a Buffer for each byte it is 100 to 200 MiB.
  expect(heapUsed + arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(40 * size)
  let chunks = 0
  for (let left = size; left > 0; chunks += 1) left -= now(pushed, left).length
  expect(chunks).toBeLessThan(100)
})

test('Chunks of any size keep their order and bytes, though some share memory', () => {
  const sizes = fc.array(fc.constantFrom(1, 2, 100, 4_095, 4_096, 5_000, 16_384), { maxLength: 30 })
  const announcements = fc.constantFrom(NaN, 0, 1, 5_000, 65_536, 65_537)
  const readSizes = fc.array(fc.nat(6_000), { maxLength: 30 })
  fc.assert(
    fc.property(sizes, readSizes, announcements, (pushes, reads, announced) => {
      const { source: pushed } = source(announced)
      let sent = ''
      let got = ''
      for (const [i, size] of pushes.entries()) {
        const text = String.fromCharCode(97 + (i % 26)).repeat(size)
        const memory = Buffer.from(text)
        pushed.push(memory, true)
        memory.fill(0)
        sent += text
        const read = reads[i]
        if (read !== undefined && pushed.queued > 0) got += now(pushed, read + 1)
      }
      while (pushed.queued > 0) got += now(pushed, 100_000)
      // More than was announced is dropped.
      expect(got).toBe(announced >= 0 ? sent.slice(0, announced) : sent)
      expect(pushed.ended).toBe(sent.length >= announced)
    }),
  )
})

test('A body of up to 64 KiB is copied once: read() returns the memory that it was gathered in', async () => {
  const chunks = [20_000, 1, 45_535].map((size, i) => Buffer.alloc(size, i))
  const { source: pushed } = source(65_536)
  pushed.push(chunks[0]!, true)
  const whole = new Input(pushed, 65_536).read()
  for (const chunk of chunks.slice(1)) pushed.push(chunk, true)
  pushed.end()
  const body = await whole
  expect(body).toEqual(Buffer.concat(chunks))
  expect(body.buffer.byteLength).toBe(65_536)
})

test.each([
  ['a body of 64 KiB', 65_536, true],
  ['a longer body', 65_537, false],
  ['a body of unknown length', NaN, false],
  ['no body', 0, false],
])('Whether the queue copies what arrives of %s (%s bytes): %s', (_, length, gathers) => {
  expect(source(length).source.gathers).toBe(gathers)
})

test.each([
  ['that announces nothing and sends nothing', NaN, [], false],
  ['that announces nothing, before its end', NaN, ['a'], true],
  ['that announces no byte', 0, [], false],
  ['that has sent a part of what it announced', 2, ['a'], true],
  ['that has sent what it announced', 2, ['a', 'b'], false],
  ['that has sent more', 2, ['abc', 'd'], false],
  ['that announces -1, as Caddy does, and sends nothing', -1, [], false],
])(
  'Whether more is expected from a sender %s (%s bytes, %j): %s',
  (_, announced, sent, expected) => {
    const { source: pushed } = source(announced)
    for (const chunk of sent) pushed.push(Buffer.from(chunk))
    expect([pushed.expected, pushed.sealed]).toEqual([expected, false])
    pushed.end()
    expect([pushed.expected, pushed.sealed, pushed.ended]).toEqual([false, true, true])
  },
)

test('More is expected of a body of unknown length while the application waits for it', () => {
  const { source: pushed } = source(NaN)
  void pushed.read(1)
  expect(pushed.expected).toBe(true)
})

test.each(['before', 'after'])(
  'A read of a stream that is destroyed %s the first read rejects',
  async (when) => {
    const stream = new Readable({ read() {} })
    const queue = queueFromStream(stream, 1024)
    const early = when === 'after' ? queue.read(1) : null
    stream.destroy()
    await once(stream, 'close')
    await expect((async () => early ?? queue.read(1))()).rejects.toMatchObject({
      code: 'PORTICO_DISCONNECTED',
    })
  },
)

test('A discarded body still gives what has arrived, and rejects a read beyond that', () => {
  const { source: pushed } = source(5)
  pushed.push(Buffer.from('abc'))
  pushed.discard()
  expect([pushed.truncated, now(pushed, 9)]).toEqual([true, 'abc'])
  expect(() => pushed.read(1)).toThrow(
    'The request body was not read before the end of the response, and discarded',
  )
})

test('A waiting read rejects when the body is discarded', async () => {
  const { source: pushed } = source(5)
  const read = pushed.read(1)
  pushed.discard()
  await expect(read).rejects.toMatchObject({ code: 'PORTICO_DISCONNECTED' })
})

test('A body that has failed keeps its error when the rest is discarded', () => {
  const { source: pushed } = source(5)
  pushed.fail(gone())
  pushed.discard()
  expect(() => pushed.read(1)).toThrow('gone')
})
