/** The idle time of a kept-alive FastCGI connection: only a request extends it. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, it } from 'vitest'
import { FastCGIHandler } from '../../../handlers/fastcgi.ts'
import { fastcgi } from '../../hostile/peer.ts'
import { begin, record } from '../../protocol/fastcgi-helpers.ts'
import { temporaryDirectory } from '../child.ts'

const directory = temporaryDirectory()
afterAll(directory.remove)

const LIMITS = { headersTimeout: 1_500, idleTimeout: 1_500, shutdownTimeout: 0 }

/** Runs `send` with a connection; returns whether it was still open `seconds` later. */
async function isOpenAfter(
  seconds: number,
  name: string,
  send: (socket: Socket, turn: number) => void,
): Promise<boolean> {
  const listen = `unix:${join(directory.path, name)}`
  const server = await new FastCGIHandler({ listen, ...LIMITS }).run((_, startResponse) => {
    startResponse('200 OK', [['Content-Type', 'text/plain']])
    return ['Hello']
  })
  const socket = connect(listen.slice(5)).resume()
  socket.on('error', () => {})
  await once(socket, 'connect')
  for (let turn = 0; turn < seconds * 4 && !socket.closed; turn += 1) {
    send(socket, turn)
    await sleep(250)
  }
  const isOpen = !socket.closed
  socket.destroy()
  await server.close()
  return isOpen
}

it.concurrent('Requests keep a FastCGI connection open for longer than idleTimeout', async () => {
  const request = fastcgi(1, '/')
  expect(await isOpenAfter(4, 'requests', (socket) => socket.write(request))).toBe(true)
})

const halves: [what: string, bytes: Buffer][] = [
  ['GET_VALUES', record(9, 0, '\x0e\0FCGI_MAX_CONNS')],
  ['records for an unknown id', record(5, 7, 'x'.repeat(16))],
  ['requests that are aborted at once', Buffer.concat([begin(1), record(2, 1)])],
]

it.concurrent.each(halves)(
  '%s, each in two halves, do not extend idleTimeout',
  async (what, bytes) => {
    const half = bytes.length >> 1
    const isOpen = await isOpenAfter(7, what.replaceAll(' ', '-'), (socket, turn) => {
      socket.write(turn % 2 === 0 ? bytes.subarray(0, half) : bytes.subarray(half))
    })
    expect(isOpen).toBe(false)
  },
)
