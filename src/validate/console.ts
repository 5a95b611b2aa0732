/** Under CGI standard output is the answer, and the console writes to it. */
import type { Warn } from './report.ts'

const OUTPUT = ['log', 'info', 'debug'] as const

/// ## The application
/// - Standard output and standard input are the gateway's. *Warning:* `console.log`, `info` and
///   `debug` under CGI; the validator sends what they say to standard error.

/** Who listens: one validator, or several around each other. The console is put back by the last. */
const guards = new Set<{ warn: Warn }>()
let restore = () => {}
let warning = false

/**
 * Returns what ends the guard. A CGI process has one request, so nobody else's output is touched.
 * Of several validators the outermost is the one that warns.
 */
export function guardConsole(warn: Warn): () => void {
  if (guards.size === 0) install()
  const guard = { warn }
  guards.add(guard)
  return () => {
    guards.delete(guard)
    if (guards.size === 0) restore()
  }
}

function install(): void {
  const { log, info, debug } = console
  restore = () => void Object.assign(console, { log, info, debug })
  for (const method of OUTPUT) {
    console[method] = (...args: unknown[]) => {
      const [guard] = guards
      // Whoever is warned may say so by the console.
      if (!warning) {
        warning = true
        guard?.warn(
          `console.${method}() writes into the answer under CGI; use wsgi.errors or console.error`,
        )
        warning = false
      }
      console.error(...args)
    }
  }
}
