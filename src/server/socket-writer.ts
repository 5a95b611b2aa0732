/**
 * The sending half of a socket, for gateways that write to one themselves: when to wait, and how
 * to close so that what was written arrives.
 */
import { Buffer } from 'node:buffer'
import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import type { Part } from '../protocol/fastcgi.ts'
import type { Chunk } from '../types.ts'

/**
 * How long, in ms, what the web server still sends is read and thrown away after the last answer.
 * Closing on unread bytes would send a reset, which can destroy the answer on its way.
 */
const LINGER = 2_000

/** Those who wait for the same stream share one promise, however many they are. */
const waiting = new WeakMap<Writable, Promise<void>>()

/**
 * Nothing, or a promise to wait for before more is written; it resolves as well when `connection`
 * closes, where that is another object than the stream on it.
 */
export function drained(stream: Writable, connection: EventEmitter = stream): void | Promise<void> {
  // 'close' is still to come, and never would behind a body that waits for nothing.
  if (stream.destroyed) return new Promise((resolve) => setImmediate(resolve))
  if (!stream.writableNeedDrain) return
  let promise = waiting.get(stream)
  if (promise === undefined) {
    promise = new Promise((resolve) => {
      const done = () => {
        waiting.delete(stream)
        stream.off('drain', done)
        connection.off('close', done)
        resolve()
      }
      stream.on('drain', done)
      connection.on('close', done)
    })
    waiting.set(stream, promise)
  }
  return promise
}

/**
 * Closes the connection behind what has been written, however long a slow peer takes to get that.
 *
 * @param exhausted true if the peer owes nothing more, so that nothing is left to be read.
 */
export function closeAfterResponse(socket: Socket, exhausted: boolean): void {
  if (exhausted) {
    // Where the kernel has everything, closing is cheaper than shutting down half before.
    if (socket.writableLength === 0) socket.destroy()
    else socket.destroySoon()
    return
  }
  boundLinger(socket)
  socket.end()
  socket.resume()
}

/** Closes the connection some time after our half has ended, if the peer has not ended its own. */
export function boundLinger(socket: Socket): void {
  socket.once('finish', () => {
    const timer = setTimeout(() => socket.destroy(), LINGER)
    socket.once('close', () => clearTimeout(timer))
  })
}

/**
 * Closes at once and lets the peer know that something is missing, where only the end of the
 * connection ends an answer. A Unix socket has no reset: there it sees that by Content-Length, or
 * not at all.
 */
export function breakOff(socket: Socket): void {
  if (socket.remoteAddress === undefined) socket.destroySoon()
  else socket.resetAndDestroy()
}

/** A chunk of so many bytes as it is sent: a byte string where it is ASCII text, else bytes. */
export function partOf(chunk: Chunk, size: number): Part {
  if (chunk instanceof Buffer) return chunk
  if (typeof chunk !== 'string') {
    return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  }
  return chunk.length === size ? chunk : Buffer.from(chunk)
}

/** Several parts leave together. */
export function writeParts(socket: Socket, parts: readonly Part[]): void {
  if (parts.length > 1) socket.cork()
  for (const part of parts) {
    if (typeof part === 'string') socket.write(part, 'latin1')
    else socket.write(part)
  }
  if (parts.length > 1) socket.uncork()
}

/** Whoever holds back bytes until the requests that came with theirs have been run. */
export interface Holding {
  flush(): void
}

/** So many answers wait for other requests at the most. */
export const MAX_HELD = 16

let holding: Holding[] = []

/**
 * Has `holder` flushed when what came in this turn of the event loop has been dealt with, together
 * with the others of this turn. An answer that is small and complete gains more than it loses:
 * each write wakes the web server, which costs as much as an application that does little; one that
 * finds several answers sleeps and wakes once. (Redis sends its replies so, too.)
 */
export function flushLater(holder: Holding): void {
  if (holding.push(holder) === 1) setImmediate(flushAll)
  else if (holding.length === MAX_HELD) flushAll()
}

function flushAll(): void {
  const all = holding
  holding = []
  for (const holder of all) holder.flush()
}
