/** What a peer can make grow: each case with its figures, measured from outside. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import { ask, counts, endOf, fastcgi, http, params, Peer, scgi } from './peer.ts'
import { startTarget, type Protocol, type Target } from './server.ts'

const MiB = 1024 * 1024

/** What may come and go with any work: garbage that is not collected yet, in kilobytes. */
const SLACK = 48 * 1024

/** The same where all of 128 MiB is read: V8 lets 64 MiB of buffers come together before it looks. */
const GARBAGE = 80 * 1024

let target: Target
beforeAll(async () => {
  target = await startTarget({ highWaterMark: 256 * 1024 })
  // Code and heap grow at the first requests of all.
  for (const protocol of ['fastcgi', 'scgi', 'http'] as const) {
    await Promise.all(Array.from({ length: 200 }, () => ask(target, protocol)))
  }
})
afterAll(() => target.stop())

/** Writes `piece` until `total` bytes are written or the peer takes no more for a while. */
async function pour(peer: Peer, piece: Buffer, total: number): Promise<number> {
  let written = 0
  while (written < total && !peer.socket.destroyed) {
    written += piece.length
    if (peer.socket.write(piece)) continue
    const drained = await Promise.race([
      once(peer.socket, 'drain').then(() => true),
      peer.closed.then(() => false),
      sleep(700, false),
    ]).catch(() => false)
    if (!drained) return written - peer.socket.writableLength
  }
  return written
}

/** The beginning of an upload, and its pieces. */
const uploads: Readonly<Record<Protocol, { head: Buffer; piece: Buffer }>> = {
  fastcgi: {
    head: Buffer.concat([begin(1), params(1, '/wait', [['CONTENT_LENGTH', `${256 * MiB}`]])]),
    piece: record(5, 1, Buffer.alloc(65_528)),
  },
  scgi: { head: scgi('/wait', 256 * MiB), piece: Buffer.alloc(65_536) },
  http: {
    head: Buffer.from(
      `POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: ${256 * MiB}\r\n\r\n`,
      'latin1',
    ),
    piece: Buffer.alloc(65_536),
  },
}

describe.each(Object.keys(uploads) as Protocol[])('%s', (protocol) => {
  it('holds no upload of 256 MiB for an application that waits', async () => {
    const { head, piece } = uploads[protocol]
    const before = target.rss()
    const peer = new Peer(target.path(protocol)).send(head)
    const taken = await pour(peer, piece, 256 * MiB)
    expect(taken).toBeLessThan(8 * MiB)
    expect(target.rss() - before).toBeLessThan(SLACK)
    peer.destroy()
  }, 20_000)

  it('makes no answer of 128 MiB for a peer that reads nothing', async () => {
    const before = target.rss()
    const peer = new Peer(target.path(protocol))
    peer.send({ fastcgi: fastcgi(1, '/big'), scgi: scgi('/big'), http: http('/big') }[protocol])
    await once(peer.socket, 'readable')
    peer.socket.pause()
    await sleep(1000)
    expect(target.rss() - before).toBeLessThan(SLACK)
    const others = await Promise.all([ask(target, protocol), ask(target, protocol)])
    for (const answer of others) expect(answer).toContain('Hello')
    peer.destroy()
  }, 20_000)

  it('keeps nothing of 1,000 connections that break off inside a request', async () => {
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
      // Behind them all in the queue of those to be accepted, which is short.
      await ask(target, protocol)
      for (const peer of peers) peer.destroy()
    }
    await expect.poll(() => target.descriptors()).toBeLessThanOrEqual(descriptors)
    expect(target.rss() - before).toBeLessThan(SLACK)
    expect(await ask(target, protocol)).toContain('Hello')
  }, 20_000)
})

describe('A head of 128 MiB', () => {
  it('is refused by FastCGI with OVERLOADED, and its connection goes on', async () => {
    const before = target.rss()
    const peer = new Peer(target.path('fastcgi')).send(begin(1))
    const value = Buffer.alloc(65_000, 'v')
    await pour(peer, record(4, 1, value), 128 * MiB)
    const end = await peer.until(endOf(1))
    expect(end).toMatchObject({ protocolStatus: 2 })
    expect(target.rss() - before).toBeLessThan(GARBAGE)
    peer.send(fastcgi(2, '/'))
    expect(await peer.until(endOf(2))).toMatchObject({ protocolStatus: 0 })
    peer.destroy()
  }, 20_000)

  it('is refused by SCGI with a 431, and the rest of it is thrown away', async () => {
    const before = target.rss()
    const peer = new Peer(target.path('scgi')).send(`${128 * MiB}:`)
    await pour(peer, Buffer.alloc(65_536, 'v'), 128 * MiB)
    await peer.closed
    expect(target.rss() - before).toBeLessThan(GARBAGE)
    expect(peer.text).toMatch(/^Status: 431 /)
  })

  it('is refused by HTTP, which closes', async () => {
    const before = target.rss()
    const peer = new Peer(target.path('http')).send('GET / HTTP/1.1\r\nX-A: ')
    const taken = await pour(peer, Buffer.alloc(65_536, 'v'), 128 * MiB)
    await peer.closed
    expect(taken).toBeLessThan(8 * MiB)
    expect(target.rss() - before).toBeLessThan(SLACK)
    // What is written behind the refusal may fail before that is read; and a piece of nothing but
    // letters may as well be one of a request line.
    expect(peer.text).toMatch(/^(?:$|HTTP\/1\.1 4(?:14|31) )/)
  })
})

describe('A web server that goes away while the application does not read', () => {
  // Of its own: what earlier tests have left is noticed late.
  let fresh: Target
  beforeAll(async () => {
    fresh = await startTarget()
  })
  afterAll(() => fresh.stop())

  it.each(['fastcgi', 'scgi', 'http'] as const)(
    'is noticed by %s though the socket is paused',
    async (protocol) => {
      const { head, piece } = uploads[protocol]
      const { aborted } = await counts(fresh)
      const peer = new Peer(fresh.path(protocol)).send(head)
      await pour(peer, piece, 256 * MiB)
      peer.destroy()
      await expect
        .poll(async () => (await counts(fresh)).aborted, { timeout: 15_000, interval: 200 })
        .toBe(aborted + 1)
    },
    30_000,
  )

  it('is told to all requests on the connection', async () => {
    const { aborted } = await counts(fresh)
    const peer = new Peer(fresh.path('fastcgi'))
    peer.send(begin(1), params(1, '/wait'), begin(2), params(2, '/wait'))
    // Behind its answer both of them run: what is aborted before it runs is never run.
    peer.send(fastcgi(3, '/'))
    await peer.until(endOf(3))
    peer.send(record(2, 1))
    await peer.until(endOf(1))
    peer.destroy()
    await expect.poll(async () => (await counts(fresh)).aborted).toBe(aborted + 2)
  })
})
