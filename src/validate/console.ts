/** Under CGI standard output is the answer, and the console writes to it. */
import type { Warn } from './report.ts'

const OUTPUT = ['log', 'info', 'debug'] as const

/// ## The application
/// - Standard output and standard input are the gateway's. *Warning:* `console.log`, `info` and
///   `debug` under CGI; the validator sends what they say to standard error.

/** Returns what puts the console back. A CGI process has one request, so nobody else is in it. */
export function guardConsole(warn: Warn): () => void {
  const { log, info, debug } = console
  for (const method of OUTPUT) {
    console[method] = (...args: unknown[]) => {
      warn(`console.${method}() writes into the answer under CGI; use wsgi.errors or console.error`)
      console.error(...args)
    }
  }
  return () => Object.assign(console, { log, info, debug })
}
