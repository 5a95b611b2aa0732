/**
 * `wsgi.errors`, from the application's side: text goes to one function that the gateway gives.
 */
import type { ErrorStream } from '../types.ts'

/** An error stream that hands each text to `sink` as it is written; there is nothing to flush. */
export class ErrorLog implements ErrorStream {
  readonly #sink: (text: string) => void

  constructor(sink: (text: string) => void) {
    this.#sink = sink
  }

  write(text: string): void {
    this.#sink(text)
  }

  writelines(lines: Iterable<string>): void {
    for (const line of lines) this.#sink(line)
  }

  flush(): void {}
}

/** Control characters, which could forge a line of a log or drive the terminal that shows it. */
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g

/** `text` with its control characters, newline and tab aside, written as `\xNN`. */
export function escapeControl(text: string): string {
  return text.replace(CONTROL, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`)
}

/** What was thrown may be anything, and may throw in its turn when it is looked at. */
export function show(error: unknown): string {
  try {
    // Reached this way since most processes never show one.
    return process.getBuiltinModule('node:util').inspect(error)
  } catch {
    return 'The application threw something that cannot be shown'
  }
}
