/**
 * Sends 20,000 mutated requests, from a fixed seed, to live servers. None may crash a server, hang,
 * or leak, and after each batch a correct request must succeed.
 */
import { Buffer } from 'node:buffer'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import { ask, fastcgi, http, params, Peer, scgi } from './peer.ts'
import { startTarget, type Protocol, type Target } from './server.ts'

const SEED = 20_260_101
const BATCH = 100
/** For each server; 20,000 in total. */
const MUTATIONS: Readonly<Record<Protocol, number>> = { fastcgi: 10_000, scgi: 5_000, http: 5_000 }

/** Random numbers from 0 to below 1 (Mulberry32), the same in each run. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

const POST = 'POST /echo HTTP/1.1\r\nHost: a\r\n'

const good: Readonly<Record<Protocol, readonly Buffer[]>> = {
  fastcgi: [
    fastcgi(1, '/', '', false),
    fastcgi(1, '/echo', 'a body', true),
    Buffer.concat([fastcgi(1, '/throw'), fastcgi(2, '/echo', 'b'.repeat(300), false)]),
    Buffer.concat([
      record(9, 0, '\x0e\0FCGI_MAX_CONNS\x09\0__proto__'),
      begin(3),
      begin(4),
      params(4, '/echo', [['CONTENT_LENGTH', '6']]),
      params(3, '/wait'),
      record(5, 4, 'abc', 5),
      record(2, 3),
      record(5, 4, 'def', 255),
      record(5, 4),
      record(77, 0),
    ]),
  ],
  scgi: [
    scgi('/'),
    Buffer.concat([scgi('/echo', 6), Buffer.from('a body')]),
    scgi('/throw'),
    Buffer.concat([scgi('/echo', 300), Buffer.alloc(300, 'b')]),
  ],
  http: [
    http('/'),
    http('/a%20b?c=d', '') + http('/', 'X-A: 1\r\nCookie: a=b\r\n'),
    `${POST}Content-Length: 6\r\n\r\na body`,
    `${POST}Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n3\r\ndef\r\n0\r\nX-T: 1\r\n\r\n`,
    `${POST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab`,
    http('/throw'),
  ].map((text) => Buffer.from(text, 'latin1')),
}

/** Bytes at which arithmetic on lengths tends to fail. */
const EDGES = [0, 1, 7, 8, 0x2d, 0x2b, 0x30, 0x39, 0x3a, 0x7f, 0x80, 0xfe, 0xff]

/** Applies one to four random mutations. */
function mutate(bytes: Buffer, random: () => number): Buffer {
  let result = Buffer.from(bytes)
  const upTo = (n: number) => Math.floor(random() * n)
  for (let times = 1 + upTo(4); times > 0 && result.length > 0; times -= 1) {
    const at = upTo(result.length)
    const to = Math.min(result.length, at + 1 + upTo(32))
    switch (upTo(6)) {
      case 0:
        result[at] = result[at]! ^ (1 << upTo(8))
        break
      case 1:
        result = result.subarray(0, at)
        break
      case 2: {
        const noise = Buffer.from(Array.from({ length: 1 + upTo(16) }, () => upTo(256)))
        result = Buffer.concat([result.subarray(0, at), noise, result.subarray(at)])
        break
      }
      case 3:
        result = Buffer.concat([result.subarray(0, to), result.subarray(at)])
        break
      case 4:
        result = Buffer.concat([result.subarray(0, at), result.subarray(to)])
        break
      default:
        result[at] = EDGES[upTo(EDGES.length)]!
    }
  }
  return result
}

/** Sends bytes in one or two writes, closes its half, and waits until the server has closed. */
async function attempt(path: string, bytes: Buffer, random: () => number): Promise<void> {
  const peer = new Peer(path)
  const half = random() < 0.3 ? Math.floor(bytes.length * random()) : 0
  peer.send(bytes.subarray(0, half))
  if (half > 0) await new Promise(setImmediate)
  peer.socket.end(bytes.subarray(half))
  await peer.closed
}

const withoutDate = (text: string) => text.replace(/Date: .*\r\n/, '')

describe('20,000 mutated requests', () => {
  let target: Target

  beforeAll(async () => {
    target = await startTarget({ responseTimeout: 3000 })
  })
  afterAll(() => target.stop())

  it.each(Object.keys(MUTATIONS) as Protocol[])(
    'leave a %s server running, without leaks',
    async (protocol) => {
      const random = randomFrom(SEED)
      const streams = good[protocol]
      const path = target.path(protocol)
      const hello = await ask(target, protocol)
      expect(hello).toContain('Hello\n')
      const descriptors = target.descriptors()
      for (let done = 0; done < MUTATIONS[protocol]; done += BATCH) {
        const batch = Array.from({ length: BATCH }, (_, i) =>
          attempt(path, mutate(streams[(done + i) % streams.length]!, random), random),
        )
        await Promise.all(batch)
        const response = await ask(target, protocol)
        expect(withoutDate(response), `after ${done + BATCH}`).toBe(withoutDate(hello))
      }
      await expect.poll(() => target.descriptors()).toBeLessThanOrEqual(descriptors)
    },
    60_000,
  )

  it('include requests that are still valid', () => {
    const random = randomFrom(SEED)
    const same = Array.from({ length: 1000 }, () => mutate(good.scgi[0]!, random)).filter((bytes) =>
      bytes.subarray(0, 20).equals(good.scgi[0]!.subarray(0, 20)),
    )
    expect(same.length).toBeGreaterThan(50)
    expect(same.length).toBeLessThan(950)
  })
})
