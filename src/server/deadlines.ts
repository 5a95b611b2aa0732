/** Deadlines of connections, on a clock that advances once a second. */
import type { Socket } from 'node:net'
import { PeerError } from '../errors.ts'
import { writeQueueSize } from '../node-internals/write-queue.ts'
import { OPTIONS } from '../options/table.ts'

// Defaults for all gateways.
export const HEADERS_TIMEOUT = OPTIONS.headersTimeout.default
export const IDLE_TIMEOUT = OPTIONS.idleTimeout.default
export const HIGH_WATER_MARK = OPTIONS.highWaterMark.default

/** How often connections are checked, in milliseconds. */
export const SWEEP_TIME = 1_000

/**
 * A paused connection hides that its peer has disconnected. So each sweep reads a bit from it, until
 * it holds this many times its high-water mark. With the default that is 1 MiB: several times the
 * buffers of a Unix socket, and most of those of TCP.
 */
export const MAX_PROBE_FACTOR = 4

/** A connection with a deadline. */
export interface Expirable {
  /** When to destroy it, on the `coarseTime` clock; Infinity for never. */
  readonly deadline?: number
  /** Whether the body of a request is incomplete, and the peer is free to send it. */
  readonly receivesBody?: boolean
  /** Ends the requests whose bodies have stalled, with a response if possible; else `destroy`. */
  bodyStalled?(error: PeerError): void
  destroy(): void
  /** Reads a bit from a paused connection, so that a disconnect after unread data is noticed. */
  probePeer?(): void
}

let time = 0

/**
 * Milliseconds on a clock that advances only when deadlines are checked, so that a deadline needs
 * neither a timer nor a system call.
 */
export function coarseTime(): number {
  return time
}

/** Milliseconds without progress after which a transfer has stalled. */
interface Patience {
  readonly bodyTimeout: number
  readonly writeTimeout: number
}

/**
 * Checks connections every `SWEEP_TIME` until the returned function is called. It destroys those that
 * are past their deadline, and those whose peer no longer reads its response. If the peer no longer
 * sends its body, the request gets a 408.
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
      const stalled = lastReceived(socket, connection, received) + bodyTimeout <= time
      // A deadline was set up to SWEEP_TIME after what `coarseTime` said then.
      const late = deadline + SWEEP_TIME <= time
      if (late || lastTaken(socket, sent) + writeTimeout <= time) connection.destroy()
      else if (stalled) {
        received.delete(socket)
        const message = `No byte of the request body arrived for ${bodyTimeout} ms`
        const error = new PeerError('PORTICO_TIMEOUT', message, '408 Request Timeout')
        if (connection.bodyStalled) connection.bodyStalled(error)
        else connection.destroy()
      }
    }
  }, SWEEP_TIME)
  timer.unref()
  return () => clearInterval(timer)
}

/** The progress of a transfer, and when it was first seen. */
interface Progress {
  readonly bytes: number
  readonly queued: number
  readonly since: number
}

/** The time of a transfer's last progress. */
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

/** When the peer last sent bytes of a body; Infinity if no body is expected. */
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
 * When the peer last read bytes; Infinity if no bytes wait for it. The peer has read
 * `bytesWritten - writableLength`, whatever the application adds meanwhile. While libuv writes a
 * large chunk, only its `writeQueueSize` shows progress.
 */
function lastTaken(socket: Socket, seen: WeakMap<Socket, Progress>): number {
  const waiting = socket.writableLength
  if (waiting === 0) {
    seen.delete(socket)
    return Infinity
  }
  return stalledSince(socket, seen, socket.bytesWritten - waiting, writeQueueSize(socket))
}
