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
export function writeLog(text: string): void {
  try {
    const { stderr } = process
    if (stderr.writableLength > MAX_WAITING) return
    if (stderr.listenerCount('error') === 0) stderr.on('error', ignore)
    stderr.write(text)
  } catch {
    // Writing to a file throws.
  }
}

/** How much an entry matters. */
export type Level = 'info' | 'warn' | 'error'

let toLine: ((text: string, level: Level) => string) | null = null

/** Gives all entries another form than text; `form` returns a line with its line break. */
export function formLog(form: (text: string, level: Level) => string): void {
  toLine = form
}

/** Logs text that is formed already, such as that of `wsgi.errors`. */
export function log(text: string): void {
  writeLog(toLine === null ? text : toLine(text, 'error'))
}

/** Logs one entry; see `asLogEntry`. */
export function logEntry(text: string, level: Level = 'info'): void {
  writeLog(toLine === null ? asLogEntry(text) : toLine(text, level))
}

/**
 * Ignores errors of stdout and stderr, to which an application writes with `console`. Node's console
 * itself ignores only some of them: a closed terminal or a full disk would end the process.
 */
export function ignoreOutputErrors(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.off('error', ignore).on('error', ignore)
}

function ignore(): void {}
