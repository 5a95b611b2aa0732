/** How many of the written bytes libuv still holds. */
import type { Socket } from 'node:net'
import { INTERNALS_ALLOWED } from './allowed.ts'

/**
 * The bytes of a socket that libuv holds; Node's own timeouts use this number. It changes whenever the
 * peer reads a part of a large chunk, whereas `bytesWritten` changes only after the whole chunk. 0 if
 * it is not known.
 */
export function writeQueueSize(socket: Socket): number {
  if (!INTERNALS_ALLOWED) return 0
  const { _handle: handle } = socket as { _handle?: { writeQueueSize?: number } | null }
  return handle?.writeQueueSize ?? 0
}
