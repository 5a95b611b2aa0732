/** Flags: their tables, and how the arguments are parsed. */
import { parseArgs } from 'node:util'
import { UsageError } from './usage-error.ts'
import { numberText, parseValue, type ValueRow } from '../options/check-row.ts'
import { nearest } from '../options/names.ts'
import { quote } from '../text.ts'

/** A flag. Its key in the table is its name in camelCase: `socketMode` is --socket-mode. */
export interface Flag extends ValueRow {
  readonly choices?: readonly string[]
  /** One line for --help, without a capital or a full stop. `flagHelp` adds the default. */
  readonly help: string
  readonly default?: string | number
  /** A letter: 'o' for -o. */
  readonly short?: string
  /** The name of the value in --help, such as 'PATH'. */
  readonly value?: string
  /** Whether it may be given several times; its value is then an array. */
  readonly repeatable?: boolean
  /** Whether the short --help of a command with many flags shows it. */
  readonly common?: boolean
  /** Shown as --no-NAME, because it is on by default. */
  readonly negative?: boolean
  /** What other servers call it, for the message about an unknown flag. */
  readonly elsewhere?: readonly string[]
}

export type FlagTable = Readonly<Record<string, Flag>>
export type FlagValues = Readonly<Record<string, unknown>>

/** The flags that every command has. */
const EVERY: FlagTable = {
  help: { kind: 'switch', short: 'h', help: 'show this help' },
}

/** The text of a flag in --help, with its default and the word for no limit. */
export function flagHelp({ kind, help, default: value, noLimit }: Flag): string {
  const parts = [help]
  if (value !== undefined && value === noLimit) parts.push('default: no limit')
  else {
    if (value !== undefined) {
      parts.push(`default: ${typeof value === 'number' ? numberText(kind, value) : value}`)
    }
    if (noLimit !== undefined) parts.push('none: no limit')
  }
  return parts.join('; ')
}

/** 'socketMode' → 'socket-mode' */
export function flagName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

export interface Arguments {
  readonly values: FlagValues
  readonly operands: readonly string[]
  readonly rest: readonly string[]
}

/**
 * Parses arguments. Flags may be anywhere before `--`. If a flag is given more than once, the last
 * value counts, unless it is repeatable.
 *
 * @param others further flags that the message about an unknown flag may name.
 * @throws {UsageError} for an unknown flag, with the nearest name, and for a wrong value.
 */
export function parseFlags(
  args: readonly string[],
  table: FlagTable,
  others: readonly string[] = [],
): Arguments {
  const rows = new Map(
    Object.entries({ ...table, ...EVERY }).map(([key, row]) => [flagName(key), { key, row }]),
  )
  const { tokens } = parseArgs({
    args: [...args],
    strict: false,
    tokens: true,
    allowNegative: true,
    options: Object.fromEntries(
      [...rows].map(([name, { row }]) => [
        name,
        {
          type: row.kind === 'switch' ? ('boolean' as const) : ('string' as const),
          ...(row.short === undefined ? {} : { short: row.short }),
        },
      ]),
    ),
  })
  const values: Record<string, unknown> = {}
  const operands: string[] = []
  const rest: string[] = []
  let ended = false
  for (const token of tokens) {
    if (token.kind === 'option-terminator') ended = true
    else if (token.kind === 'positional') (ended ? rest : operands).push(token.value)
    else {
      // Node 20 gives 'no-live' as the name, later versions 'live' with the raw name '--no-live'.
      const negative = token.rawName.startsWith('--no-') && !rows.has(token.rawName.slice(2))
      const name = negative ? token.rawName.slice(5) : token.name
      const found = rows.get(name)
      if (found === undefined)
        throw new UsageError(unknown(token.rawName, args[token.index]!, rows, others))
      const { key, row } = found
      const value = valueOf(token, row, negative)
      if (row.repeatable) values[key] = [...((values[key] as unknown[]) ?? []), value]
      else values[key] = value
    }
  }
  return { values, operands, rest }
}

interface OptionToken {
  readonly rawName: string
  readonly value?: string | undefined
  readonly inlineValue?: boolean | undefined
}

function valueOf({ rawName, value, inlineValue }: OptionToken, row: Flag, negative: boolean) {
  if (row.kind === 'switch') {
    if (value === undefined) return !negative
    if (!negative && (value === 'true' || value === 'false')) return value === 'true'
    throw new UsageError(`${rawName} takes no value (got ${quote(value)})`)
  }
  if (negative) throw new UsageError(`${rawName}: --${rawName.slice(5)} cannot be negated`)
  if (value === undefined) throw new UsageError(`${rawName} needs a value${example(row)}`)
  if (!inlineValue && /^-./.test(value)) {
    throw new UsageError(
      `${rawName} needs a value${example(row)}; write ${rawName}=${value} if it begins with a dash`,
    )
  }
  const parsed = parseValue(row, value)
  if ('refused' in parsed) throw new UsageError(`${rawName} ${parsed.refused}`)
  return parsed.value
}

function example({ value, choices }: Flag): string {
  if (choices !== undefined) return `: ${choices.join(', ')}`
  return value === undefined ? '' : `: ${value}`
}

/** How many flags a message lists if none of them is near: as many as fit on a line. */
const MAX_LISTED = 7

/** @param word the whole argument: `-json` is given as the letters j, s, o and n. */
function unknown(
  rawName: string,
  word: string,
  rows: ReadonlyMap<string, { readonly row: Flag }>,
  others: readonly string[],
): string {
  const isLong = word.startsWith('--')
  const given = word.replace(/^--?(?:no-)?/, '').replace(/=.*/s, '')
  const isWord = isLong || given.length > 2
  const negation = word.startsWith('--no-') ? 'no-' : ''
  const names = [...rows.keys(), ...others]
  const near = isWord ? (calledElsewhere(given, rows) ?? nearest(given, names)) : undefined
  const flag = isLong || near === undefined ? rawName : word
  if (near !== undefined) {
    const prefix = rows.get(near)?.row.kind === 'switch' ? negation : ''
    return `unknown flag ${flag}. Did you mean '--${prefix}${near}'?`
  }
  const all = [...rows].map(([name, { row }]) => `--${row.negative ? 'no-' : ''}${name}`)
  const known = all.length > MAX_LISTED ? 'See --help' : `Known flags: ${all.join(', ')}`
  return `unknown flag ${flag}. ${known}`
}

function calledElsewhere(
  given: string,
  rows: ReadonlyMap<string, { readonly row: Flag }>,
): string | undefined {
  return [...rows].find(([, { row }]) => row.elsewhere?.includes(given))?.[0]
}
