/** Files that a process has left because it was killed, and when another process removes them. */

/** One in this many uses of a directory looks for such files (PHP's `session.gc_divisor`). */
export const PURGE_EVERY = 100

/** The age in milliseconds at which no process uses such a file any more. */
export const ABANDONED = 24 * 60 * 60 * 1000
