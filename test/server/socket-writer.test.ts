/** Waiting and closing on both ends of real connections. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { abortConnection, closeAfterResponse } from '../../src/server/closing.ts'
import { LINGER_SILENCE, LINGER_TIME } from '../../src/server/linger.ts'
import { drained } from '../../src/server/socket-writer.ts'

/** More than the kernel holds for both ends together. */
const LARGE = Buffer.alloc(16 * 1024 * 1024, 'x')

const sockets: Socket[] = []

beforeEach(
  () =>
    void vi.useFakeTimers({
      toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'],
    }),
)

afterEach(() => {
  vi.useRealTimers()
  for (const socket of sockets.splice(0)) socket.destroy()
})

/** Both ends of a connection. The peer does not read yet. */
async function pair(): Promise<{ ours: Socket; peer: Socket }> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const peer = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).pause()
  const [ours] = (await once(server, 'connection')) as [Socket]
  server.close()
  ours.on('error', () => {})
  peer.on('error', () => {})
  sockets.push(ours, peer)
  return { ours, peer }
}

function count(socket: Socket): Promise<number> {
  let bytes = 0
  socket.on('data', (chunk: Buffer) => (bytes += chunk.length))
  return new Promise((resolve) => socket.resume().once('end', () => resolve(bytes)))
}

describe('drained()', () => {
  it('does not wait while little is buffered', async () => {
    const { ours } = await pair()
    ours.write('a')
    expect(drained(ours)).toBeUndefined()
  })

  it('returns one promise for all callers, and a new one the next time', async () => {
    const { ours, peer } = await pair()
    ours.write(LARGE)
    const first = drained(ours)
    expect(first).toBeInstanceOf(Promise)
    expect(drained(ours)).toBe(first)
    expect(ours.listenerCount('drain')).toBe(1)
    peer.resume()
    await first
    expect(ours.listenerCount('drain')).toBe(0)
    peer.pause()
    ours.write(LARGE)
    expect(drained(ours)).not.toBe(first)
  })

  it('resolves when the peer disconnects', async () => {
    const { ours, peer } = await pair()
    ours.write(LARGE)
    const wait = drained(ours)
    peer.destroy()
    await wait
    expect(ours.destroyed).toBe(true)
  })

  it('lets a writer that never waits notice a broken connection', async () => {
    const { ours } = await pair()
    const closed = vi.fn<() => void>()
    ours.once('close', closed).destroy()
    for (let turn = 0; turn < 10; turn++) await drained(ours)
    expect(closed).toHaveBeenCalledOnce()
  })
})

describe('closeAfterResponse()', () => {
  it.each([true, false])(
    'sends a complete response to a slow peer (request fully read: %s)',
    async (exhausted) => {
      const { ours, peer } = await pair()
      ours.write(LARGE)
      closeAfterResponse(ours, exhausted)
      vi.advanceTimersByTime(3_600_000)
      expect(await count(peer)).toBe(LARGE.length)
    },
  )

  it('closes at once if everything has been read and sent', async () => {
    const { ours, peer } = await pair()
    ours.write('result')
    closeAfterResponse(ours, true)
    expect(ours.destroyed).toBe(true)
    expect(await count(peer)).toBe(6)
  })

  it('keeps reading while the peer sends, until it has been silent for five seconds', async () => {
    const { ours, peer } = await pair()
    ours.write('result')
    closeAfterResponse(ours, false)
    expect(await count(peer)).toBe(6)
    for (let part = 0; part < 4; part += 1) {
      const read = ours.bytesRead
      peer.write('more')
      await expect.poll(() => ours.bytesRead).toBe(read + 4)
      vi.advanceTimersByTime(LINGER_SILENCE)
      expect(ours.destroyed).toBe(false)
    }
    vi.advanceTimersByTime(LINGER_SILENCE)
    expect(ours.destroyed).toBe(true)
  })

  it('keeps reading for 30 s from a peer that does not stop', async () => {
    const { ours, peer } = await pair()
    closeAfterResponse(ours, false)
    await count(peer)
    for (let time = LINGER_SILENCE; time < LINGER_TIME; time += LINGER_SILENCE) {
      const read = ours.bytesRead
      peer.write('more')
      await expect.poll(() => ours.bytesRead).toBe(read + 4)
      vi.advanceTimersByTime(LINGER_SILENCE)
      expect(ours.destroyed).toBe(false)
    }
    vi.advanceTimersByTime(LINGER_SILENCE)
    expect(ours.destroyed).toBe(true)
  })

  it('leaves no timer if the peer closes first', async () => {
    const { ours, peer } = await pair()
    closeAfterResponse(ours, false)
    await count(peer)
    expect(vi.getTimerCount()).toBe(1)
    peer.end()
    await once(ours, 'close')
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('abortConnection()', () => {
  it('is seen by the peer as a reset', async () => {
    const { ours, peer } = await pair()
    peer.resume()
    abortConnection(ours)
    const [error] = await once(peer, 'error')
    expect(error).toMatchObject({ code: 'ECONNRESET' })
  })
})
