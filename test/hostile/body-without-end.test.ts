/**
 * A FastCGI body is complete when CONTENT_LENGTH bytes have arrived, with or without the empty STDIN
 * record. php-fpm and libfcgi's programs read as many bytes, too, and then never look for the record.
 */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application } from '../../src/types.ts'
import { begin, cut, record } from '../protocol/fastcgi-helpers.ts'
import { temporaryDirectory } from '../server/child.ts'
import { endOf, events, fastcgi, params, Peer } from './peer.ts'

const LENGTH = 5

let unread = 0
let released = () => {}

const application: Application = async (environ, startResponse) => {
  if (environ.PATH_INFO === '/unread') {
    unread += 1
    await new Promise<void>((resolve) => (released = resolve))
  }
  const body = environ.PATH_INFO === '/echo' ? await environ['wsgi.input'].read() : ''
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [`<${String(body)}>`]
}

const directory = temporaryDirectory()
const path = `${directory.path}/s`
let server: GatewayServer
beforeAll(async () => {
  server = await new FastCGIHandler({ listen: `unix:${path}` }).run(application)
})
afterAll(async () => {
  await server.close()
  directory.remove()
})

/** A request without the end of STDIN. */
function open(id: number, at: string, stdin: Buffer[], keep = true): Buffer {
  const length: [string, string][] = [['CONTENT_LENGTH', String(LENGTH)]]
  return Buffer.concat([begin(id, 1, keep), params(id, at, length), ...stdin])
}

/** The STDOUT of a request. */
function stdout(peer: Peer, id: number): string {
  return events(peer.received)
    .map((event) => (event.type === 'stdout' && event.id === id ? String(event.data) : ''))
    .join('')
}

/** What the peer sends for STDIN, and what the application reads. */
const BODIES: readonly [name: string, stdin: Buffer[]][] = [
  ['in one record', [record(5, 1, 'abcde', 3)]],
  ['in five records', Array.from('abcde', (byte) => record(5, 1, byte))],
  ['with more bytes in the same record', [record(5, 1, 'abcdefgh')]],
  [
    'with more bytes in other records',
    [record(5, 1, 'abc'), record(5, 1, 'defg'), record(5, 1, 'h')],
  ],
]

describe.each(BODIES)('A body of CONTENT_LENGTH bytes %s, and no end', (_, stdin) => {
  const sent = open(1, '/echo', stdin)

  it('is read completely, cut at each byte, on one connection', async () => {
    const peer = new Peer(path)
    await once(peer.socket, 'connect')
    peer.socket.setNoDelay()
    for (let at = 1; at < sent.length; at += 1) {
      const before = peer.received.length
      const [first, second] = cut(sent, [at]) as [Buffer, Buffer]
      peer.send(first)
      await new Promise(setImmediate)
      peer.send(second)
      const response = await peer.until((bytes) => {
        const rest = bytes.subarray(before)
        return endOf(1)(rest) && rest
      })
      expect(String(response), `cut at ${at}`).toContain('<abcde>')
    }
    peer.destroy()
  })

  it('is read if the end comes after the response, and the next request, too', async () => {
    const peer = new Peer(path).send(sent)
    await peer.until(endOf(1))
    peer.send(record(5, 1), record(5, 1, 'late'), fastcgi(2, '/echo', 'next'))
    await peer.until(endOf(2))
    expect(stdout(peer, 2)).toContain('<next>')
    peer.destroy()
  })

  it('without KEEP_CONN gets its response, and then the connection ends', async () => {
    const peer = new Peer(path).send(open(1, '/echo', stdin, false))
    await peer.closed
    expect(stdout(peer, 1)).toContain('<abcde>')
    expect(endOf(1)(peer.received)).toMatchObject({ appStatus: 0 })
  })

  it('is read if the peer closes its half', async () => {
    const peer = new Peer(path)
    peer.socket.end(sent)
    await peer.closed
    expect(stdout(peer, 1)).toContain('<abcde>')
  })
})

it('Bytes after the body neither wait in memory nor hold up another request', async () => {
  const peer = new Peer(path).send(open(1, '/unread', [record(5, 1, 'abcde')]))
  await expect.poll(() => unread).toBe(1)
  // More than the high-water mark, also of several requests.
  const block = record(5, 1, Buffer.alloc(65_528))
  for (let i = 0; i < 512; i += 1) peer.send(block)
  peer.send(fastcgi(2, '/'))
  await peer.until(endOf(2))
  released()
  await peer.until(endOf(1))
  peer.destroy()
})
