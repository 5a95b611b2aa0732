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
