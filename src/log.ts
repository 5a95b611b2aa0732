/** The one way to write to the process's stderr. */
import { asLogEntry } from './text.ts'

/**
 * Characters that may wait for a reader of stderr that has stopped reading. What is logged beyond
 * that is dropped, so that a stalled reader does not fill the memory.
 */
const MAX_WAITING = 1_048_576

/**
 * Writes `text` to stderr. Never throws, and never causes an 'error' event without a listener.
 *
 * A closed pipe (EPIPE), a terminal that is gone (EIO) and a full disk (ENOSPC) lose the text: no
 * request may fail because it cannot be logged. `console` ignores these errors as well.
 */
export function log(text: string): void {
  try {
    const { stderr } = process
    if (stderr.writableLength > MAX_WAITING) return
    if (stderr.listenerCount('error') === 0) stderr.on('error', ignore)
    stderr.write(text)
  } catch {
    // Files report an error by throwing.
  }
}

/** Logs one entry; see `asLogEntry`. */
export function logEntry(text: string): void {
  log(asLogEntry(text))
}

function ignore(): void {}
