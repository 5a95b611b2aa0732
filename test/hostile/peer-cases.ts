/** Peers that use every freedom of a protocol, or violate it, against live servers. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { encodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import { ask, counts, endOf, events, fastcgi, http, params, Peer, scgi } from './peer.ts'
import { startTarget, type Protocol, type Target } from './server.ts'

/** A request in each protocol that waits until /release. */
const waiting: Readonly<Record<Protocol, Buffer>> = {
  fastcgi: fastcgi(1, '/wait'),
  scgi: scgi('/wait'),
  http: Buffer.from(http('/wait', '')),
}

/** The end of STDOUT and END_REQUEST. */
const END_OF_1 = Buffer.from(`01060001000000000103000100080000${'00'.repeat(8)}`, 'hex')

/** The STDOUT of a request. */
function stdout(peer: Peer, id: number): string {
  return events(peer.received)
    .filter((event) => event.type === 'stdout' && event.id === id)
    .map((event) => ('data' in event ? event.data.toString('latin1') : ''))
    .join('')
}

/** Where the servers run. */
interface Tested {
  readonly protocols: readonly Protocol[]
  /** The runtime. */
  readonly command: readonly string[]
  /**
   * What a server without a free descriptor does with further connections. Deno (2.9) panics, or never
   * accepts again.
   */
  readonly withoutDescriptors: 'closes' | 'waits' | 'fails'
}

/** Defines the tests for one runtime. */
export function testPeers({ protocols, command, withoutDescriptors }: Tested): void {
  const targets: Target[] = []
  async function target(options: Record<string, unknown> = {}, shell = ''): Promise<Target> {
    const started = await startTarget(options, shell, command)
    targets.push(started)
    return started
  }
  afterAll(() => Promise.all(targets.map((each) => each.stop())))

  let common: Target
  beforeAll(async () => {
    common = await target()
  })

  function open(where: Target = common, protocol: Protocol = 'fastcgi'): Peer {
    return new Peer(where.path(protocol))
  }

  describe('FastCGI', () => {
    it('accepts the same id again right after its request, a hundred times', async () => {
      const peer = open()
      for (let i = 0; i < 100; i += 1) {
        const end = Buffer.concat([Buffer.from(`body ${i}`), END_OF_1])
        peer.send(fastcgi(1, '/echo', `body ${i}`))
        await peer.until((bytes) => bytes.includes(end) || undefined)
      }
      peer.destroy()
    })

    it('handles other requests while one waits, and that one when it is released', async () => {
      const peer = open().send(fastcgi(1, '/wait'))
      for (let id = 2; id < 9; id += 1) {
        peer.send(fastcgi(id, '/'))
        await peer.until(endOf(id))
      }
      expect(endOf(1)(peer.received)).toBeUndefined()
      await ask(common, 'scgi', '/release')
      expect(await peer.until(endOf(1))).toMatchObject({ appStatus: 0, protocolStatus: 0 })
      peer.destroy()
    })

    it('does not let an unread upload delay another request on its connection', async () => {
      const peer = open().send(begin(1), params(1, '/wait', [['CONTENT_LENGTH', '999999999']]))
      // Above the high-water mark for one request, below that for several.
      peer.send(begin(2), params(2, '/echo'))
      const block = record(5, 1, Buffer.alloc(65_528))
      for (let i = 0; i < 32; i += 1) peer.send(block)
      peer.send(record(5, 2, 'still here'), record(5, 2))
      await peer.until(endOf(2))
      expect(stdout(peer, 2)).toContain('still here')
      peer.destroy()
    })

    it('with multiplex: false refuses a second request at the same time, and accepts one after the other', async () => {
      const single = await target({ multiplex: false })
      const peer = open(single).send(
        fastcgi(1, '/wait'),
        fastcgi(2, '/'),
        record(9, 0, '\x0f\0FCGI_MPXS_CONNS'),
      )
      expect(await peer.until(endOf(2))).toMatchObject({ protocolStatus: 1 })
      const result = await peer.until((bytes) =>
        events(bytes).find(({ type }) => type === 'values'),
      )
      expect(result).toMatchObject({ values: ['FCGI_MPXS_CONNS', '0'] })
      await ask(single, 'scgi', '/release')
      await peer.until(endOf(1))
      peer.send(fastcgi(3, '/'))
      expect(await peer.until(endOf(3))).toMatchObject({ protocolStatus: 0 })
      peer.destroy()
    })

    it.each([
      { role: 2, protocolStatus: 0 },
      { role: 3, protocolStatus: 3 },
      { role: 0, protocolStatus: 3 },
      { role: 65_535, protocolStatus: 3 },
    ])(
      'ends a request of the role $role with protocolStatus $protocolStatus',
      async ({ role, protocolStatus }) => {
        const peer = open().send(fastcgi(1, '/', '', true, role))
        expect(await peer.until(endOf(1))).toMatchObject({ protocolStatus })
        peer.send(fastcgi(1, '/'))
        await peer.until((bytes) => bytes.includes('Hello') || undefined)
        peer.destroy()
      },
    )

    it('refuses the 65th active request on a connection with OVERLOADED', async () => {
      const peer = open()
      for (let id = 10; id < 74; id += 1) peer.send(begin(id), params(id, '/wait'))
      peer.send(fastcgi(1, '/'))
      expect(await peer.until(endOf(1))).toMatchObject({ protocolStatus: 2 })
      await ask(common, 'scgi', '/release')
      peer.destroy()
    })

    it.each([
      ['the default', {}, '4096', '262144'],
      ['maxConnections', { maxConnections: 50 }, '50', '3200'],
      ['maxConnections without multiplexing', { maxConnections: 50, multiplex: false }, '50', '50'],
    ])('responds to GET_VALUES with its limits: %s', async (_, options, connections, requests) => {
      const peer = open(await target(options))
      const names = ['FCGI_MAX_CONNS', '__proto__', 'toString', 'FCGI_MAX_REQS', 'fcgi_max_reqs']
      peer.send(record(9, 0, encodePairs(names.map((name) => [name, '']))))
      const result = await peer.until((bytes) => events(bytes)[0])
      expect(result).toEqual({
        type: 'values',
        values: ['FCGI_MAX_CONNS', connections, 'FCGI_MAX_REQS', requests],
      })
      peer.destroy()
    })

    it.each([12, 77, 255])(
      'responds with UNKNOWN_TYPE to a management record of type %i, and continues',
      async (type) => {
        const peer = open().send(record(type, 0, 'whatever', 3), fastcgi(1, '/'))
        await peer.until(endOf(1))
        expect(events(peer.received)[0]).toEqual({ type: 'unknown-type', recordType: type })
        peer.destroy()
      },
    )

    const request = Buffer.concat([
      begin(1),
      params(1, '/wait', [['CONTENT_LENGTH', '10']]),
      record(5, 1, '0123'),
      record(5, 1, '456789'),
      record(5, 1),
    ])

    it('ends a request that is aborted after any of its records, and handles the next', async () => {
      const offsets: number[] = []
      for (let at = 0; at < request.length; at += 8 + request.readUInt16BE(at + 4)) offsets.push(at)
      for (const at of [...offsets.slice(1), request.length]) {
        const peer = open().send(request.subarray(0, at), record(2, 1))
        expect(await peer.until(endOf(1))).toMatchObject({ protocolStatus: 0 })
        // Later records for the id are ignored.
        peer.send(request.subarray(at), fastcgi(1, '/'))
        await peer.until((bytes) => bytes.includes('Hello') || undefined)
        peer.destroy()
      }
    })

    it('closes after the response without KEEP_CONN, and not with it', async () => {
      const closing = open().send(fastcgi(1, '/', '', false))
      await closing.closed
      expect(endOf(1)(closing.received)).toMatchObject({ appStatus: 0 })
      const kept = open().send(fastcgi(1, '/'))
      await kept.until(endOf(1))
      kept.send(fastcgi(2, '/', '', false))
      await kept.closed
      expect(endOf(2)(kept.received)).toBeDefined()
    })

    it.each([
      ['ann', '200 OK'],
      ['eve', '403 Forbidden'],
    ])('runs as an Authorizer: %s gets %s and Variable- headers', async (user, status) => {
      const peer = open()
      peer.send(begin(1, 2), params(1, '/authorize', [['REMOTE_USER', user]]), record(5, 1))
      await peer.until(endOf(1))
      expect(stdout(peer, 1)).toContain(`Status: ${status}\r\n`)
      expect(stdout(peer, 1)).toContain('Variable-Group: staff\r\n')
      peer.destroy()
    })

    it('sets FCGI_ROLE for an Authorizer, as libfcgi does', async () => {
      const peer = open().send(fastcgi(1, '/environ'), fastcgi(2, '/environ', '', true, 2))
      await peer.until(endOf(2))
      expect(stdout(peer, 2)).toContain('"FCGI_ROLE":"AUTHORIZER"')
      expect(stdout(peer, 1)).not.toContain('FCGI_ROLE')
      peer.destroy()
    })

    it('sends STDERR only right before another record: HAProxy 2.6.12 crashes otherwise', async () => {
      const peer = open().send(fastcgi(1, '/log'))
      await peer.until((bytes) => bytes.includes('one ') || undefined)
      await sleep(50)
      expect(peer.text).not.toContain('logged')
      await ask(common, 'scgi', '/release')
      await peer.closed
      const streams = events(peer.received).map(({ type }) => type)
      const runs = streams.filter((type, i) => type !== streams[i - 1])
      expect(runs).toEqual(['stdout', 'stderr', 'stdout', 'stderr', 'stderr-end'])
      expect(stdout(peer, 1)).toMatch(/one two$/)
    })

    it.each([
      ['a second BEGIN_REQUEST for an active id', [fastcgi(1, '/wait'), begin(1)]],
      ['STDIN inside PARAMS', [begin(1), record(5, 1, 'a')]],
      ['PARAMS after their end', [begin(1), params(1, '/wait'), record(4, 1, '')]],
      ['a record that only an application sends', [fastcgi(1, '/wait'), record(6, 1, 'a')]],
      ['a length in PARAMS beyond their end', [begin(1), record(4, 1, '\x05\x50AB'), record(4, 1)]],
      ['another version', [Buffer.from([2, 1, 0, 1, 0, 8, 0, 0])]],
      ['HTTP', ['GET / HTTP/1.1\r\nHost: a\r\n\r\n']],
    ])('closes on %s, and runs none of it', async (_, parts) => {
      const before = await counts(common)
      const peer = open().send(...parts)
      await peer.closed
      expect(stdout(peer, 1)).not.toContain('Hello')
      const after = await counts(common)
      expect(after.begun - before.begun).toBeLessThanOrEqual(2)
      expect(await ask(common, 'fastcgi')).toContain('Hello')
    })

    it('reads a record of 65,535 bytes and 255 of padding as one record, even if it contains a request', async () => {
      const smuggled = Buffer.alloc(65_535, fastcgi(7, '/'))
      const peer = open()
      peer.send(begin(1), params(1, '/echo'), record(5, 1, smuggled, 255), record(5, 1))
      await peer.until(endOf(1))
      expect(stdout(peer, 1)).toContain(smuggled.toString('latin1'))
      expect(endOf(7)(peer.received)).toBeUndefined()
      peer.destroy()
    })
  })

  describe.each([...protocols])('%s', (protocol) => {
    it('a peer that has closed its half gets a response', async () => {
      const peer = open(common, protocol)
      const whole = { fastcgi: fastcgi(1, '/', '', false), scgi: scgi('/'), http: http('/') }
      peer.socket.end(whole[protocol])
      await peer.closed
      expect(peer.text).toContain('Hello')
    })

    it('portico.signal aborts when the peer disconnects', async () => {
      const own = await target()
      const peer = open(own, protocol).send(waiting[protocol])
      // This request, and those that ask for the counts.
      let asked = 0
      const begun = async () => (await counts(own)).begun - (asked += 1)
      await expect.poll(begun).toBe(1)
      peer.destroy()
      await expect.poll(async () => (await counts(own)).aborted).toBe(1)
    })

    it('an error in the application is not shown to the client, and the server continues', async () => {
      const peer = open(common, protocol)
      const whole = {
        fastcgi: fastcgi(1, '/throw', '', false),
        scgi: scgi('/throw'),
        http: http('/throw'),
      }
      await peer.send(whole[protocol]).closed
      // FastCGI has a separate stream for the log.
      const response = protocol === 'fastcgi' ? stdout(peer, 1) : peer.text
      expect(response).toMatch(/500 Internal Server Error/)
      expect(response).not.toMatch(/fails|at .*\.mjs/)
      expect(await ask(common, protocol)).toContain('Hello')
    })

    it('a request gets a 504 when the application takes longer than responseTimeout', async () => {
      const hasty = await target({ responseTimeout: 200 })
      expect(await ask(hasty, protocol, '/wait')).toMatch(/504 Gateway Timeout/)
      expect(await ask(hasty, protocol)).toContain('Hello')
    })

    it('headersTimeout closes a connection that sends a byte at a time, and a silent one', async () => {
      const hasty = await target({ headersTimeout: 300, idleTimeout: 300 })
      const slow = open(hasty, protocol)
      const silent = open(hasty, protocol)
      const head = { fastcgi: fastcgi(1, '/'), scgi: scgi('/'), http: Buffer.from(http('/')) }
      let at = 0
      const drip = setInterval(() => {
        slow.socket.write(head[protocol].subarray(at, (at += 1)))
      }, 100)
      try {
        await slow.closed
        expect(at).toBeLessThan(head[protocol].length)
        await silent.closed
      } finally {
        clearInterval(drip)
        silent.destroy()
      }
      expect(await ask(hasty, protocol)).toContain('Hello')
    }, 45_000)

    it('connections above maxConnections are closed, and new ones accepted after one has ended', async () => {
      const small = await target({ maxConnections: 2 })
      const two = [open(small, protocol), open(small, protocol)]
      for (const peer of two) await once(peer.send(waiting[protocol]).socket, 'connect')
      await sleep(50)
      const third = open(small, protocol)
      await third.closed
      expect(third.text).toBe('')
      two[0]!.destroy()
      await two[0]!.closed
      await expect.poll(() => ask(small, protocol)).toContain('Hello')
      two[1]!.destroy()
    })

    it.each(withoutDescriptors === 'fails' ? [] : [withoutDescriptors])(
      'the server survives running out of descriptors: it %s',
      async () => {
        const poor = await target({}, 'ulimit -n 48;')
        const many = Array.from({ length: 60 }, () => open(poor, protocol).send(waiting[protocol]))
        if (withoutDescriptors === 'closes') await Promise.race(many.map(({ closed }) => closed))
        else await Promise.all(many.map(({ socket }) => once(socket, 'connect')))
        for (const peer of many) peer.destroy()
        await expect.poll(() => ask(poor, protocol).catch(() => '')).toContain('Hello')
      },
    )

    it('SIGTERM under load loses no accepted request', async () => {
      const busy = await target()
      const { child } = busy
      let succeeded = 0
      let lost = 0
      let refused = 0
      let stopped = false
      const whole = { fastcgi: fastcgi(1, '/echo', 'x', false), scgi: scgi('/'), http: http('/') }
      const client = async () => {
        while (!stopped) {
          const peer = new Peer(busy.path(protocol))
          const error = await Promise.race([
            once(peer.socket, 'connect').then(() => null),
            once(peer.socket, 'error'),
          ]).catch((reason: unknown) => reason)
          if (error !== null) {
            refused += 1
            stopped = true
            break
          }
          peer.send(whole[protocol])
          await peer.closed
          if (peer.text.includes('200 OK')) succeeded += 1
          else lost += 1
        }
      }
      const clients = Array.from({ length: 16 }, client)
      await expect.poll(() => succeeded).toBeGreaterThan(200)
      child.process.kill('SIGTERM')
      await Promise.all(clients)
      expect({ lost, stopped }).toEqual({ lost: 0, stopped: true })
      expect(refused).toBeGreaterThan(0)
      expect(await child.ended).toMatchObject({ code: 0 })
    })
  })

  describe('maxRequestsPerConnection', () => {
    let few: Target
    beforeAll(async () => {
      few = await target({ maxRequestsPerConnection: 3 })
    })

    it('closes a FastCGI connection after the last response', async () => {
      const peer = open(few)
      for (let id = 1; id < 4; id += 1) {
        peer.send(fastcgi(id, '/'))
        await peer.until(endOf(id))
      }
      await peer.closed
    })

    it.each(protocols.filter((protocol) => protocol === 'http'))(
      'closes an %s connection after the last response',
      async () => {
        const client = open(few, 'http').send(...Array.from({ length: 4 }, () => http('/', '')))
        await client.closed
        expect(client.text.match(/HTTP\/1.1 200 OK/g)).toHaveLength(3)
        expect(client.text.match(/Connection: close/g)).toHaveLength(1)
      },
    )
  })
}
