/**
 * The sending half of a socket, for gateways that write to one themselves: when to wait, and how
 * to close so that what was written arrives.
 */
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'

/**
 * How long, in ms, what the web server still sends is read and thrown away after the last answer.
 * Closing on unread bytes would send a reset, which can destroy the answer on its way.
 */
const LINGER = 2_000

/** Those who wait for the same output share one promise, however many they are. */
const waiting = new WeakMap<Writable, Promise<void>>()

/** Nothing, or a promise to wait for before more is written; it resolves as well on 'close'. */
export function drained(output: Writable): void | Promise<void> {
  if (!output.writableNeedDrain || output.destroyed) return
  let promise = waiting.get(output)
  if (promise === undefined) {
    promise = new Promise((resolve) => {
      const done = () => {
        waiting.delete(output)
        output.off('drain', done).off('close', done)
        resolve()
      }
      output.on('drain', done).on('close', done)
    })
    waiting.set(output, promise)
  }
  return promise
}

/**
 * Closes the connection behind what has been written, however long a slow peer takes to get that.
 *
 * @param exhausted true if the peer owes nothing more, so that nothing is left to be read.
 */
export function closeBehindAnswer(socket: Socket, exhausted: boolean): void {
  if (exhausted) {
    // Where the kernel has everything, closing is cheaper than shutting down half before.
    if (socket.writableLength === 0) socket.destroy()
    else socket.destroySoon()
    return
  }
  socket.once('finish', () => {
    const timer = setTimeout(() => socket.destroy(), LINGER)
    socket.once('close', () => clearTimeout(timer))
  })
  socket.end()
  socket.resume()
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
