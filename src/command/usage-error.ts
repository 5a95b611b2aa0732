/** The command line, a variable or portico.config.js makes no sense: one line and exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'

  /** Accepts those of another copy: commands that are loaded on demand have one of their own. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof Error && value.name === 'UsageError'
  }
}
