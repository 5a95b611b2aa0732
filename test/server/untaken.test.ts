/** Servers whose connections cannot be taken over: Node reads them, and the result is the same. */
import { Buffer } from 'node:buffer'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application } from '../../src/types.ts'
import { fastcgi, params, scgi } from '../hostile/peer.ts'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import { temporaryDirectory } from './child.ts'

vi.mock('../../src/node-internals/accept-onread.ts', () => ({ takeConnections: () => false }))

const echo: Application = async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', [['Content-Type', 'application/octet-stream']])
  return [body]
}

const { path: directory, remove } = temporaryDirectory()
const running: GatewayServer[] = []
beforeAll(async () => {
  running.push(
    await new FastCGIHandler({ listen: `unix:${directory}/fastcgi` }).run(echo),
    await new SCGIHandler({ listen: `unix:${directory}/scgi` }).run(echo),
  )
})
afterAll(async () => {
  await Promise.all(running.map((server) => server.close()))
  remove()
})

const SIZE = 1_000_000
const BODY = Buffer.alloc(SIZE, 'portico ')

it.each([
  ['fastcgi', fastcgi(1, '/', 'abc', false), 'abc'],
  [
    'fastcgi',
    Buffer.concat([
      begin(1, 1, false),
      params(1, '/', [['CONTENT_LENGTH', String(SIZE)]]),
      ...Array.from({ length: 20 }, (_, i) =>
        record(5, 1, BODY.subarray(i * 50_000, (i + 1) * 50_000)),
      ),
      record(5, 1),
    ]),
    'portico portico',
  ],
  ['scgi', Buffer.concat([scgi('/', 3), Buffer.from('abc')]), 'abc'],
  ['scgi', Buffer.concat([scgi('/', SIZE), BODY]), 'portico portico'],
])('A %s server echoes a body while Node reads the connection', async (gateway, request, found) => {
  const socket = connect({ path: `${directory}/${gateway}`, allowHalfOpen: true })
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.write(request)
  await new Promise((resolve) => socket.once('end', resolve))
  socket.destroy()
  const response = Buffer.concat(chunks)
  expect(response.toString('latin1')).toContain(found)
  expect(response.length).toBeGreaterThan(found === 'abc' ? 3 : SIZE)
})
