/** A row of a table of options, and what is derived from it: variable, flag and text. */

/**
 * The type of a value. A 'time' is in milliseconds. The code that uses a 'special' option parses it.
 * A 'class' or 'variables' cannot come from an environment variable or a command line.
 */
// oxfmt-ignore
export type Kind =
  | 'time' | 'bytes' | 'count' | 'switch' | 'text' | 'header' | 'choice' | 'special' | 'class' | 'variables'

export interface OptionRow<Value = unknown> {
  readonly kind: Kind
  readonly range?: readonly [min: number, max: number]
  /** The value that means no limit: 0 or Infinity. As text it is 'none'. */
  readonly noLimit?: number
  readonly choices?: readonly Value[]
  /** The name from which the variable and the flag are derived, if it is not the option's own. */
  readonly external?: string
  /** One line for --help: a phrase without a full stop, in lower case, and without `noLimit`. */
  readonly help: string
  /** Further sentences for docs/ and the doc comment, without the last full stop. */
  readonly more?: string
}

/** 24.8 days. With a longer time, Node's timers fire at once. */
export const MAX_TIME = 2 ** 31 - 1
export const MAX_SIZE = Number.MAX_SAFE_INTEGER

/** What the name of each environment variable begins with. */
export const PREFIX = 'PORTICO_'

/** The environment variable of an option, such as PORTICO_IDLE_TIMEOUT; undefined if it has none. */
export function variableOf(name: string, row: OptionRow): string | undefined {
  return isText(row) ? variableFor(row.external ?? name) : undefined
}

/** 'idleTimeout' gives 'PORTICO_IDLE_TIMEOUT'. */
export function variableFor(name: string): string {
  return `${PREFIX}${name.replace(/[A-Z]/g, '_$&').toUpperCase()}`
}

/** The flag of an option on a command line, such as --idle-timeout; undefined if it has none. */
export function flagOf(name: string, row: OptionRow): string | undefined {
  const { external = name } = row
  return isText(row) ? `--${external.replace(/[A-Z]/g, '-$&').toLowerCase()}` : undefined
}

/** The text of an option of JavaScript, for docs/ and the doc comment. */
export function textOf({ kind, help, noLimit, more }: OptionRow): string {
  const unit = kind === 'time' ? ', in milliseconds' : ''
  const none = noLimit === undefined ? '' : `; ${noLimit} for no limit`
  const sentence = `${help[0]!.toUpperCase()}${help.slice(1)}${unit}${none}.`
  return more === undefined ? sentence : `${sentence} ${more}.`
}

function isText({ kind }: OptionRow): boolean {
  return kind !== 'class' && kind !== 'variables'
}
