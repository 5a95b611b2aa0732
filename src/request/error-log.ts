/** `wsgi.errors`, and the text that identifies a request in the log. */
import { PeerError } from '../errors.ts'
import { escapeControl } from '../text.ts'
import type { Environ, ErrorStream } from '../types.ts'

/** An error stream that passes each text to `sink` at once, so there is nothing to flush. */
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

/** Characters of a path in the log: enough to identify the request. */
const MAX_NAME = 200

/** `GET /path: ` for a line of the log; without the query, which may contain secrets. */
export function requestName(environ: Partial<Environ> | null): string {
  // A request that failed early lacks some of these, and an application may have changed them.
  const { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO } = environ ?? {}
  const [method, mount, path] = [REQUEST_METHOD, SCRIPT_NAME, PATH_INFO].map(textOf)
  if (!method) return ''
  const name = `${method} ${mount! + path! || '/'}`.slice(0, MAX_NAME)
  return `${escapeControl(name).replaceAll('\n', '\\n')}: `
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** Whether an error means that the client has disconnected. Such errors are not logged. */
export function isLoss(error: unknown): error is PeerError {
  return error instanceof PeerError && error.code === 'PORTICO_DISCONNECTED'
}
