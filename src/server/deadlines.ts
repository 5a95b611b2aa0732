/** Deadlines of connections, on a clock that is set once a second. */
import type { Socket } from 'node:net'
import { writeQueueSize } from '../node-internals/write-queue.ts'
import { OPTIONS } from '../options.ts'

// The defaults of all connections.
export const HEADERS_TIMEOUT = OPTIONS.headersTimeout.default
export const IDLE_TIMEOUT = OPTIONS.idleTimeout.default
export const HIGH_WATER_MARK = OPTIONS.highWaterMark.default

/** How often connections are checked, in milliseconds. */
export const SWEEP_TIME = 1_000

/**
 * A connection that is paused above its high-water mark hides that the peer has gone. So now and
 * then it is read a bit, until it holds this many times as much. At 1 MiB that is several times what
 * the two ends of a Unix socket hold, and most of what those of TCP do.
 */
export const MAX_PROBE_FACTOR = 4

/** A connection with a deadline. */
export interface Expirable {
  /** When to destroy it, on the clock of `coarseTime`; Infinity for never. */
  readonly deadline?: number
  /** Whether the body of a request is incomplete, and the peer is free to send it. */
  readonly receivesBody?: boolean
  destroy(): void
  /** Reads a bit from a paused connection, so that a disconnect after unread data is noticed. */
  probePeer?(): void
}

let time = 0

/**
 * Milliseconds on a clock that is set only as often as deadlines are checked: a deadline costs no
 * timer and no system call.
 */
export function coarseTime(): number {
  return time
}

/** Milliseconds without progress after which a connection is destroyed. */
interface Patience {
  readonly bodyTimeout: number
  readonly writeTimeout: number
}

/**
 * Destroys connections that are past their deadline, whose peer takes nothing of a response, or
 * whose peer sends nothing of a request body, until the returned function is called.
 */
export function sweep(
  connections: ReadonlyMap<Socket, Expirable>,
  { bodyTimeout, writeTimeout }: Patience,
): () => void {
  time = performance.now()
  const sent = new WeakMap<Socket, Progress>()
  const received = new WeakMap<Socket, Progress>()
  const timer = setInterval(() => {
    time = performance.now()
    for (const [socket, connection] of connections) {
      connection.probePeer?.()
      const { deadline = Infinity } = connection
      const stuck =
        lastReceived(socket, connection, received) + bodyTimeout <= time ||
        lastTaken(socket, sent) + writeTimeout <= time
      if (deadline <= time || stuck) connection.destroy()
    }
  }, SWEEP_TIME)
  timer.unref()
  return () => clearInterval(timer)
}

/** How far a transfer had got, and when that was first seen. */
interface Progress {
  readonly bytes: number
  readonly queued: number
  readonly since: number
}

/** The time since which it has got no further. */
function stalledSince(
  socket: Socket,
  seen: WeakMap<Socket, Progress>,
  bytes: number,
  queued = 0,
): number {
  const last = seen.get(socket)
  if (last?.bytes === bytes && last.queued === queued) return last.since
  seen.set(socket, { bytes, queued, since: time })
  return time
}

/** The time since which the peer has sent nothing of a body; Infinity if none is expected. */
function lastReceived(
  socket: Socket,
  connection: Expirable,
  seen: WeakMap<Socket, Progress>,
): number {
  if (!connection.receivesBody || socket.isPaused()) {
    seen.delete(socket)
    return Infinity
  }
  return stalledSince(socket, seen, socket.bytesRead)
}

/**
 * The time since which the peer has taken nothing; Infinity if nothing waits for it. It has taken
 * what was written and does not wait, whatever the application adds meanwhile. What libuv has left
 * of a large chunk changes with each part.
 */
function lastTaken(socket: Socket, seen: WeakMap<Socket, Progress>): number {
  const waiting = socket.writableLength
  if (waiting === 0) {
    seen.delete(socket)
    return Infinity
  }
  return stalledSince(socket, seen, socket.bytesWritten - waiting, writeQueueSize(socket))
}
