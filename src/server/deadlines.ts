/**
 * What a peer can make grow or last, and the limit of it, for the gateways that keep running. All
 * are options; each default has its reason.
 */
import type { Socket } from 'node:net'
import { ConfigurationError } from '../errors.ts'

/** Limits of one connection; FastCGI, SCGI and HTTP take those that mean something to them. */
export interface Limits {
  /** Milliseconds for a request's head to be complete once it has begun; Infinity for no limit. */
  readonly headersTimeout?: number | undefined
  /** Milliseconds that a connection may be open without a request; Infinity for no limit. */
  readonly idleTimeout?: number | undefined
  /** Milliseconds that an answer may wait without the peer taking any of it; Infinity: no limit. */
  readonly writeTimeout?: number | undefined
  /** Bytes of a request's head: PARAMS, SCGI headers, or HTTP's request line and headers. */
  readonly maxHeaderBytes?: number | undefined
  /** Variables or headers in it. */
  readonly maxHeaders?: number | undefined
  /** Requests after which a kept connection is closed. Default: 0, which is no limit. */
  readonly maxRequestsPerConnection?: number | undefined
  /** Bytes of an unread body above which a connection is not read. */
  readonly highWaterMark?: number | undefined
}

/** nginx waits 60 s for a client's head, Apache 20 s; a web server sends its own at once. */
export const HEADERS_TIMEOUT = 30_000

/** As long as nginx keeps an idle connection to an upstream: it closes first. */
export const IDLE_TIMEOUT = 60_000

/**
 * Twice nginx's send_timeout, which gives up its own client before we give up nginx. It asks for
 * more than a byte in that time: Linux says that there is room again when a third of what it holds
 * for TCP has been taken, or three quarters for a Unix socket; 1.5 MB and 0.2 MB within a machine.
 */
export const WRITE_TIMEOUT = 120_000

/** A piece or two of what nginx and Apache send at a time, however many connections there are. */
export const HIGH_WATER_MARK = 262_144

/** What a timer of Node can hold; it fires at once for more. */
const MAX_TIME = 2 ** 31 - 1

/** The least and the most of each; and whether Infinity lifts it. */
const RANGES: Readonly<Record<string, readonly [min: number, max: number, lifted?: 'lifted']>> = {
  responseTimeout: [0, MAX_TIME],
  shutdownTimeout: [0, MAX_TIME],
  headersTimeout: [1, MAX_TIME, 'lifted'],
  idleTimeout: [1, MAX_TIME, 'lifted'],
  highWaterMark: [1, Number.MAX_SAFE_INTEGER],
  maxConnections: [1, Number.MAX_SAFE_INTEGER],
  maxHeaderBytes: [1, Number.MAX_SAFE_INTEGER],
  maxHeaders: [1, Number.MAX_SAFE_INTEGER, 'lifted'],
  maxRequestsPerConnection: [0, Number.MAX_SAFE_INTEGER],
  writeTimeout: [1, MAX_TIME, 'lifted'],
}

/**
 * A number that compares with nothing, such as NaN from an environment variable, would be no limit.
 *
 * @throws {ConfigurationError} for one that is no number, or out of its range.
 */
export function checkLimits(options: object): void {
  for (const [name, [min, max, lifted]] of Object.entries(RANGES)) {
    const value = (options as Readonly<Record<string, number | string | undefined>>)[name]
    if (value === undefined || (value === Infinity && lifted)) continue
    if (Number.isInteger(value) && Number(value) >= min && Number(value) <= max) continue
    const shown = typeof value === 'string' ? JSON.stringify(value) : String(value)
    throw new ConfigurationError(
      `${name}: ${shown} is not accepted; it is a whole number from ${min} to ${max}` +
        (lifted ? ', or Infinity for no limit' : ''),
    )
  }
}

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
  /** Reads a little of what nobody takes at present: behind it the peer may have gone. */
  look?(): void
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
  writeTimeout = WRITE_TIMEOUT,
): () => void {
  time = performance.now()
  const sending = new WeakMap<Socket, Sending>()
  const timer = setInterval(() => {
    time = performance.now()
    for (const [socket, connection] of connections) {
      connection.look?.()
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
