/** Measures the memory and descriptors that a hostile peer can make a server use. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import { ask, counts, endOf, fastcgi, http, params, Peer, scgi } from './peer.ts'
import { startTarget, type Protocol, type Target } from './server.ts'

const MiB = 1024 * 1024

/** Kilobytes of garbage that V8 may not have collected yet. */
const SLACK = 48 * 1024

/** The same after reading 128 MiB: V8 lets 64 MiB of buffers accumulate before it collects. */
const GARBAGE = 80 * 1024

let target: Target
beforeAll(async () => {
  target = await startTarget({ highWaterMark: 256 * 1024 })
  // The first requests load code and grow the heap.
  for (const protocol of ['fastcgi', 'scgi', 'http'] as const) {
    await Promise.all(Array.from({ length: 200 }, () => ask(target, protocol)))
  }
})
afterAll(() => target.stop())

/** Writes `block` until `total` bytes are written or the server reads nothing for 700 ms. */
async function pour(peer: Peer, block: Buffer, total: number): Promise<number> {
  let written = 0
  while (written < total && !peer.socket.destroyed) {
    written += block.length
    if (peer.socket.write(block)) continue
    const drained = await Promise.race([
      once(peer.socket, 'drain').then(() => true),
      peer.closed.then(() => false),
      sleep(700, false),
    ]).catch(() => false)
    if (!drained) return written - peer.socket.writableLength
  }
  return written
}

/** The head of an upload, and a block of its body. */
const uploads: Readonly<Record<Protocol, { head: Buffer; block: Buffer }>> = {
  fastcgi: {
    head: Buffer.concat([begin(1), params(1, '/wait', [['CONTENT_LENGTH', `${256 * MiB}`]])]),
    block: record(5, 1, Buffer.alloc(65_528)),
  },
  scgi: { head: scgi('/wait', 256 * MiB), block: Buffer.alloc(65_536) },
  http: {
    head: Buffer.from(
      `POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: ${256 * MiB}\r\n\r\n`,
      'latin1',
    ),
    block: Buffer.alloc(65_536),
  },
}

describe.each(Object.keys(uploads) as Protocol[])('%s', (protocol) => {
  it('an upload of 256 MiB that the application does not read waits in the peer', async () => {
    const { head, block } = uploads[protocol]
    const before = target.rss()
    const peer = new Peer(target.path(protocol)).send(head)
    const taken = await pour(peer, block, 256 * MiB)
    expect(taken).toBeLessThan(8 * MiB)
    expect(target.rss() - before).toBeLessThan(SLACK)
    peer.destroy()
  }, 20_000)

  it('a response of 128 MiB that the peer does not read is not produced in advance', async () => {
    const before = target.rss()
    const peer = new Peer(target.path(protocol))
    peer.send({ fastcgi: fastcgi(1, '/big'), scgi: scgi('/big'), http: http('/big') }[protocol])
    await once(peer.socket, 'readable')
    peer.socket.pause()
    await sleep(1000)
    expect(target.rss() - before).toBeLessThan(SLACK)
    const others = await Promise.all([ask(target, protocol), ask(target, protocol)])
    for (const response of others) expect(response).toContain('Hello')
    peer.destroy()
  }, 20_000)

  it('1,000 connections that close inside a request leave nothing in memory', async () => {
    const heads: Readonly<Record<Protocol, Buffer>> = {
      fastcgi: fastcgi(1, '/echo', 'a body that is cut'),
      scgi: Buffer.concat([scgi('/echo', 10), Buffer.from('cut')]),
      http: Buffer.from('POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\ncut'),
    }
    const whole = heads[protocol]
    const before = target.rss()
    const descriptors = target.descriptors()
    for (let done = 0; done < 1000; done += 100) {
      const peers = Array.from({ length: 100 }, (_, i) => {
        const at = 1 + ((done + i) % (whole.length - 1))
        return new Peer(target.path(protocol)).send(whole.subarray(0, at))
      })
      await Promise.all(peers.map((peer) => once(peer.socket, 'connect')))
      // The server accepts this one last, so that the short backlog is empty.
      await ask(target, protocol)
      for (const peer of peers) peer.destroy()
    }
    await expect.poll(() => target.descriptors()).toBeLessThanOrEqual(descriptors)
    expect(target.rss() - before).toBeLessThan(SLACK)
    expect(await ask(target, protocol)).toContain('Hello')
  }, 20_000)
})

describe('A request head of 128 MiB', () => {
  it('gets a 431 from FastCGI, and the connection stays usable', async () => {
    const before = target.rss()
    const peer = new Peer(target.path('fastcgi')).send(begin(1))
    const value = Buffer.alloc(65_000, 'v')
    await pour(peer, record(4, 1, value), 128 * MiB)
    const end = await peer.until(endOf(1))
    expect(end).toMatchObject({ protocolStatus: 0 })
    expect(peer.text).toContain('Status: 431 ')
    expect(target.rss() - before).toBeLessThan(GARBAGE)
    peer.send(fastcgi(2, '/'))
    expect(await peer.until(endOf(2))).toMatchObject({ protocolStatus: 0 })
    peer.destroy()
  }, 20_000)

  it('gets a 431 from SCGI, which discards the rest', async () => {
    const before = target.rss()
    const peer = new Peer(target.path('scgi')).send(`${128 * MiB}:`)
    await pour(peer, Buffer.alloc(65_536, 'v'), 128 * MiB)
    await peer.closed
    expect(target.rss() - before).toBeLessThan(GARBAGE)
    expect(peer.text).toMatch(/^Status: 431 /)
  })

  it('gets a 431 or 414 from HTTP, which closes the connection', async () => {
    const before = target.rss()
    const peer = new Peer(target.path('http')).send('GET / HTTP/1.1\r\nX-A: ')
    const taken = await pour(peer, Buffer.alloc(65_536, 'v'), 128 * MiB)
    await peer.closed
    expect(taken).toBeLessThan(8 * MiB)
    expect(target.rss() - before).toBeLessThan(SLACK)
    // The write after the refusal may fail before the peer reads the refusal. Node may take a block
    // of letters for a part of the request line.
    expect(peer.text).toMatch(/^(?:$|HTTP\/1\.1 4(?:14|31) )/)
  })
})

describe('A web server that disconnects while the application does not read', () => {
  // A new process: it notices the connections of earlier tests late.
  let fresh: Target
  beforeAll(async () => {
    fresh = await startTarget()
  })
  afterAll(() => fresh.stop())

  it.each(['fastcgi', 'scgi', 'http'] as const)(
    'aborts the request over %s although the socket is paused',
    async (protocol) => {
      const { head, block } = uploads[protocol]
      const { aborted } = await counts(fresh)
      const peer = new Peer(fresh.path(protocol)).send(head)
      await pour(peer, block, 256 * MiB)
      peer.destroy()
      await expect
        .poll(async () => (await counts(fresh)).aborted, { timeout: 15_000, interval: 200 })
        .toBe(aborted + 1)
    },
    30_000,
  )

  it('aborts all requests on the connection', async () => {
    const { aborted } = await counts(fresh)
    const peer = new Peer(fresh.path('fastcgi'))
    peer.send(begin(1), params(1, '/wait'), begin(2), params(2, '/wait'))
    // After this response both of them run; a request that is aborted earlier never runs.
    peer.send(fastcgi(3, '/'))
    await peer.until(endOf(3))
    peer.send(record(2, 1))
    await peer.until(endOf(1))
    peer.destroy()
    await expect.poll(async () => (await counts(fresh)).aborted).toBe(aborted + 2)
  })
})
