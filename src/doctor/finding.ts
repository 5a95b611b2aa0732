/** What the doctor says of one thing that it has looked at. */

export interface Finding {
  readonly level: 'ok' | 'warning' | 'failure'
  /** What was looked at, such as 'socket' or 'shebang'. */
  readonly check: string
  /** One sentence. */
  readonly message: string
  /** The line of configuration or the command that fixes it. It destroys nothing. */
  readonly fix?: string
}

export const ok = (check: string, message: string): Finding => ({ level: 'ok', check, message })

export const warning = (check: string, message: string, fix?: string): Finding => ({
  level: 'warning',
  check,
  message,
  ...(fix === undefined ? {} : { fix }),
})

export const failure = (check: string, message: string, fix?: string): Finding => ({
  level: 'failure',
  check,
  message,
  ...(fix === undefined ? {} : { fix }),
})
