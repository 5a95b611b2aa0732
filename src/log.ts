/** The one way to write to the process's stderr. */
import { asLogEntry } from './text.ts'

/**
 * How many characters may wait if the reader of stderr has stopped reading. Further text is dropped,
 * so that it does not fill the memory.
 */
const MAX_WAITING = 1_048_576

/**
 * Writes `text` to stderr. Never throws, and never causes an 'error' event without a listener.
 *
 * With a closed pipe (EPIPE), a terminal that is gone (EIO) or a full disk (ENOSPC) the text is
 * lost: a request must not fail because it cannot be logged. `console` ignores these errors, too.
 */
export function log(text: string): void {
  try {
    const { stderr } = process
    if (stderr.writableLength > MAX_WAITING) return
    if (stderr.listenerCount('error') === 0) stderr.on('error', ignore)
    stderr.write(text)
  } catch {
    // Writing to a file throws.
  }
}

/** Logs one entry; see `asLogEntry`. */
export function logEntry(text: string): void {
  log(asLogEntry(text))
}

function ignore(): void {}
