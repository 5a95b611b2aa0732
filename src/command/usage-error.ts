import { EXIT } from './exit-codes.ts'

/** The command line, a variable or portico.config.js makes no sense: one line and an exit code. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  /** 2, or 3 for a file that does not exist. */
  readonly exit: number

  constructor(
    message: string,
    { exit = EXIT.usage, ...options }: ErrorOptions & { readonly exit?: number } = {},
  ) {
    super(message, options)
    this.exit = exit
  }

  /** Accepts those of another copy: commands that are loaded on demand have one of their own. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof Error && value.name === 'UsageError'
  }
}

/** The file of the application does not exist. */
export function noSuchFile(message: string): UsageError {
  return new UsageError(message, { exit: EXIT.noApplication })
}
