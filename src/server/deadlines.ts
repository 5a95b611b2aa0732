/** Deadlines of connections, on a clock that is set once a second. */
import type { Socket } from 'node:net'
import { OPTIONS } from '../options.ts'

// Not needed once every connection reads its limits from checked options.
export const HEADERS_TIMEOUT = OPTIONS.headersTimeout.default
export const IDLE_TIMEOUT = OPTIONS.idleTimeout.default
export const HIGH_WATER_MARK = OPTIONS.highWaterMark.default

/** How often connections are looked at, in milliseconds. */
export const SWEEP_TIME = 1_000

/**
 * A connection that is not read for being above its high-water mark hides that the peer is gone, so
 * now and then a piece is read all the same, until it holds so many times as much. At 1 MiB that is
 * what a Unix socket's two ends hold several times over, and most of what TCP's do.
 */
export const MAX_PROBE_FACTOR = 4

/** Whatever can be given up for being overdue. */
export interface Expirable {
  /** The time of `coarseTime` at which it is; Infinity if nothing is expected of the peer. */
  readonly deadline?: number
  destroy(): void
  /** Reads a bit from a paused connection, so that a disconnect after unread data is noticed. */
  probePeer?(): void
}

let time = 0

/**
 * Milliseconds on a clock that is only set as often as overdue connections are looked for: a
 * deadline costs no timer and no call of the system.
 */
export function coarseTime(): number {
  return time
}

/**
 * Looks at connections, and destroys those that are overdue or whose peer takes nothing of an
 * answer for `writeTimeout` ms, until the function that it returns is called.
 */
export function sweep(
  connections: ReadonlyMap<Socket, Expirable>,
  writeTimeout: number,
): () => void {
  time = performance.now()
  const sending = new WeakMap<Socket, Sending>()
  const timer = setInterval(() => {
    time = performance.now()
    for (const [socket, connection] of connections) {
      connection.probePeer?.()
      const { deadline = Infinity } = connection
      const takenSince = lastTaken(socket, sending)
      if (deadline <= time || takenSince + writeTimeout <= time) connection.destroy()
    }
  }, SWEEP_TIME)
  timer.unref()
  return () => clearInterval(timer)
}

/** What was seen of a socket that has something to send, and when it was seen first. */
interface Sending {
  readonly taken: number
  readonly queued: number
  readonly since: number
}

/**
 * The time since which the peer has taken nothing; Infinity where nothing waits for it. What it has
 * taken is what was written and does not wait, whatever the application adds meanwhile; and what
 * libuv has of a chunk that is large changes with each part.
 */
function lastTaken(socket: Socket, sending: WeakMap<Socket, Sending>): number {
  const waiting = socket.writableLength
  if (waiting === 0) {
    sending.delete(socket)
    return Infinity
  }
  const taken = socket.bytesWritten - waiting
  // Not documented; Node's own timeouts look at it. Without it a chunk counts when it is sent whole.
  const { _handle: handle } = socket as { _handle?: { writeQueueSize?: number } | null }
  const queued = handle?.writeQueueSize ?? 0
  const seen = sending.get(socket)
  if (seen?.taken === taken && seen.queued === queued) return seen.since
  sending.set(socket, { taken, queued, since: time })
  return time
}
