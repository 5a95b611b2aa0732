/**
 * A large response arrives complete although its client stops reading after the first bytes and
 * signals interrupt the writer meanwhile. Each writer is a process of its own.
 */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { encodeRequest } from '../../src/protocol/scgi.ts'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import { events, params } from '../hostile/peer.ts'
import { bundle, type Running, start, temporaryDirectory } from '../server/child.ts'
import { bundleCGI, REQUEST, start as startScript, writeScript } from '../support/cgi.ts'

/** More than the buffers on the way hold, so that something is left to write. */
const SIZE = 32 * 1024 * 1024

const SOURCE = `
import { FastCGIHandler } from '#src/../handlers/fastcgi.ts'
import { SCGIHandler } from '#src/../handlers/scgi.ts'
import { makeServer } from '#src/../handlers/make-server.ts'

let times = 0
process.on('SIGUSR2', () => console.log('interrupted ' + (times += 1) + ';'))
const application = (environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'application/octet-stream']])
  return [Buffer.alloc(${SIZE}, 'x')]
}
const directory = process.env.DIRECTORY
await new FastCGIHandler({ listen: 'unix:' + directory + '/fastcgi' }).run(application)
await new SCGIHandler({ listen: 'unix:' + directory + '/scgi' }).run(application)
const server = makeServer('127.0.0.1', 0, application)
const { port } = await server.start()
console.log('port ' + port + ';')
`

const directory = temporaryDirectory()
let child: Running
let port: number
/** How many the writer has had. */
let signals = 0

beforeAll(async () => {
  const script = await bundle(directory.path, 'writers', SOURCE)
  child = start(process.execPath, [script], { env: { DIRECTORY: directory.path } })
  port = Number(/port (\d+);/.exec(await child.printed(';'))?.[1])
})
afterAll(async () => {
  child.process.kill()
  await child.ended
  directory.remove()
})

/** Reads 100 bytes at least, has the writer interrupted, and reads the rest. */
async function readAll(stream: Readable, interrupt: () => Promise<unknown>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  while (size < 100) {
    const [chunk] = (await once(stream, 'data')) as [Buffer]
    stream.pause()
    chunks.push(chunk)
    size += chunk.length
    if (size < 100) stream.resume()
  }
  await interrupt()
  stream.on('data', (chunk: Buffer) => chunks.push(chunk)).resume()
  await once(stream, 'end')
  return Buffer.concat(chunks)
}

const afterHead = (bytes: Buffer) => bytes.subarray(bytes.indexOf('\r\n\r\n') + 4)

/** A comparison by expect() would print 32 MiB. */
const isWhole = (body: Buffer) => body.equals(Buffer.alloc(SIZE, 'x'))

test.each<[gateway: string, address: () => object, request: Buffer, body: (all: Buffer) => Buffer]>(
  [
    [
      'makeServer',
      () => ({ port, host: '127.0.0.1' }),
      Buffer.from('GET / HTTP/1.0\r\n\r\n'),
      afterHead,
    ],
    [
      'SCGI',
      () => ({ path: join(directory.path, 'scgi') }),
      Buffer.from(encodeRequest(['REQUEST_METHOD', 'GET', 'SCRIPT_NAME', ''], 0)),
      afterHead,
    ],
    [
      'FastCGI',
      () => ({ path: join(directory.path, 'fastcgi') }),
      Buffer.concat([begin(1, 1, false), params(1, '/'), record(5, 1)]),
      (all) => {
        const stdout = events(all).flatMap((event) => (event.type === 'stdout' ? [event.data] : []))
        return afterHead(Buffer.concat(stdout))
      },
    ],
  ],
)(
  '%s sends a large response completely although signals interrupt it',
  async (_gateway, address, request, body) => {
    const socket = connect(address() as { path: string })
    socket.write(request)
    const all = await readAll(socket, async () => {
      for (const _ of 'abc') {
        child.process.kill('SIGUSR2')
        await child.printed(`interrupted ${(signals += 1)};`)
      }
    })
    expect(isWhole(body(all))).toBe(true)
  },
)

test('A CGI script writes a large response to a pipe completely although signals interrupt it', async () => {
  await bundleCGI(directory.path)
  const script = writeScript(
    directory.path,
    'large',
    `(environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'application/octet-stream']])
      process.on('SIGUSR2', () => {})
      return [Buffer.alloc(${SIZE}, 'x')]
    }`,
  )
  const writer = startScript(script, { env: REQUEST }, ['ignore', 'pipe', 'inherit'])
  const all = await readAll(writer.stdout!, async () => {
    // The script is blocked in its write and cannot report the signal. Without a listener, SIGUSR2 would end it.
    for (const _ of 'abc') {
      expect(writer.kill('SIGUSR2')).toBe(true)
      await sleep(20)
    }
  })
  expect(isWhole(afterHead(all))).toBe(true)
  if (writer.exitCode === null && writer.signalCode === null) await once(writer, 'exit')
  expect([writer.exitCode, writer.signalCode]).toEqual([0, null])
})
