/** Findings: what the doctor reports about each thing that it has checked. */

/** How much of a line of a log or of a program's output is shown, in characters. */
const MAX_SHOWN = 300

export interface Finding {
  readonly level: 'ok' | 'warning' | 'failure'
  /** What was looked at, such as 'socket' or 'shebang'. */
  readonly check: string
  /** One sentence. */
  readonly message: string
  /** The line of configuration or the command that fixes it. It destroys nothing. */
  readonly fix?: string
}

/** A line of a log or of a program's output for a message: control characters become '?'. */
export function shownLine(line: string): string {
  // oxlint-disable-next-line no-control-regex
  return line.replaceAll(/[\x00-\x1f\x7f]/g, '?').slice(0, MAX_SHOWN)
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
