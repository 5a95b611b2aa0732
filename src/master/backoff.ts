/** How long to wait before a worker is started again. */
import { now } from './clock.ts'

/** A worker that was ready for a shorter time has failed; in milliseconds. */
const MIN_UPTIME = 1_000

/** The first wait, and the longest, in milliseconds. */
const FIRST_DELAY = 500
const MAX_DELAY = 30_000

/** Restarts a worker that has served at once, and one that keeps failing after longer and longer delays. */
export class Backoff {
  #failures = 0

  /** A worker has ended; returns the milliseconds until the next one starts. */
  ended(readyAt: number): number {
    if (readyAt > 0 && now() - readyAt >= MIN_UPTIME) {
      this.#failures = 0
      return 0
    }
    return this.failed()
  }

  /** A worker has not become ready: 0, 0.5 s, 1 s, 2 s … 30 s. */
  failed(): number {
    this.#failures += 1
    if (this.#failures === 1) return 0
    return Math.min(MAX_DELAY, FIRST_DELAY * 2 ** (this.#failures - 2))
  }
}
