/** `acceptWaiting`: accepts what waits in the kernel's queue before a server closes. */
import { RUNTIME } from '../runtime.ts'

/**
 * After this many event-loop turns without a new connection, the kernel's queue is empty: the rest of
 * this turn, one that would accept, and one that reads from the connection accepted last. A turn
 * accepts one connection (libuv since 1.45).
 */
const QUIET_TURNS = 3

/** Milliseconds in which Bun and Deno accept a connection: their event loops need several turns. */
const ACCEPT_TIME = 10

/** Accepts only the connections in the kernel's queue, so that a busy server closes as well. */
export async function acceptWaiting(
  accepted: { readonly count: number },
  backlog: number,
): Promise<void> {
  const most = accepted.count + backlog
  for (let quiet = 0; quiet < QUIET_TURNS && accepted.count <= most; quiet++) {
    const before = accepted.count
    await new Promise((resolve) => {
      if (RUNTIME === 'node') setImmediate(resolve)
      else setTimeout(resolve, ACCEPT_TIME)
    })
    if (accepted.count > before) quiet = -1
  }
}
