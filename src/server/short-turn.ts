/** `shortTurn`: a moment at which what has reached the kernel has been read. */

/** Milliseconds of a turn after which little can have arrived unread. */
const SHORT = 1

/** A process whose turns are all longer does not wait forever. */
const MAX_TURNS = 100

/**
 * Resolves after a short turn of the event loop. A turn polls all sockets; during the callbacks of a
 * long one, or after a timer that was late, further requests may have arrived.
 */
export async function shortTurn(): Promise<void> {
  for (let turns = 0; turns < MAX_TURNS; turns += 1) {
    const began = performance.now()
    await new Promise((resolve) => setImmediate(resolve))
    // The first call may come from a phase after the poll, which is then not part of the turn.
    if (turns > 0 && performance.now() - began < SHORT) return
  }
}
