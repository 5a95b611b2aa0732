/** Checks options against rows of a table, and reads them from text, without knowing the table. */
import { ConfigurationError } from '../errors.ts'
import { quote } from '../text.ts'
import { checkNames, nearest } from './names.ts'
import { MAX_SIZE, type Kind, type OptionRow } from './row.ts'
import { briefly } from './values.ts'

/**
 * Checks the names and values of options.
 *
 * @param where the function or class that has these options, such as 'toFetch()'.
 * @throws {ConfigurationError} for an unknown name, and for a value of the wrong kind or out of range.
 */
export function checkRows(
  where: string,
  rows: Readonly<Record<string, OptionRow>>,
  options: object,
): void {
  checkNames(where, options, Object.keys(rows))
  for (const [name, value] of Object.entries(options)) checkValue(name, rows[name]!, value)
}

/** @throws {ConfigurationError} if a value other than undefined is of the wrong kind or out of range. */
export function checkValue(name: string, row: OptionRow, value: unknown): void {
  const expected = value === undefined ? undefined : expectation(row, value)
  if (expected === undefined) return
  throw new ConfigurationError(
    `${name} must be ${expected} (got ${briefly(value)})${hint(row, value)}`,
  )
}

function hint({ kind, choices = [] }: ValueRow, value: unknown): string {
  const near = kind === 'choice' ? nearest(String(value), choices.map(String)) : undefined
  return near === undefined ? '' : `. Did you mean '${near}'?`
}

/** The part of a row that describes its value. */
export interface ValueRow extends Pick<OptionRow, 'kind' | 'range' | 'noLimit' | 'choices'> {
  /** A word that is accepted in place of a number, such as 'auto'. */
  readonly word?: string
}

export type Parsed = { readonly value: unknown } | { readonly refused: string }

const TIME: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
const SIZE: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 }

/**
 * Reads the text of a variable, of a flag or of portico.config.js: '30s' and '64k' besides numbers,
 * and 'none' for no limit. `refused` follows the name of what was set.
 */
export function parseValue(row: ValueRow, text: string): Parsed {
  const { kind, word } = row
  if (text === word) return { value: word }
  const value = read(row, text)
  // An empty path or address is a mistake; an empty text may be meant.
  const empty = text === '' && (kind === 'special' || kind === 'header')
  const expected = empty ? 'given' : expectation(row, value)
  if (expected === undefined) return { value }
  return { refused: `must be ${textual(row) ?? expected} (got ${quote(text)})${hint(row, text)}` }
}

/**
 * The value that a variable sets.
 *
 * @param where the variable, for the message.
 * @throws {ConfigurationError} if the value is of the wrong kind or out of range.
 */
export function valueOf(row: OptionRow, text: string, where: string): unknown {
  const parsed = parseValue(row, text)
  if ('refused' in parsed) throw new ConfigurationError(`${where} ${parsed.refused}`)
  return parsed.value
}

/** Text of another format is NaN, or stays as it is; `expectation` refuses both. */
function read({ kind, noLimit }: ValueRow, text: string): unknown {
  if (noLimit !== undefined && /^(?:infinity|none)$/i.test(text)) return noLimit
  switch (kind) {
    case 'time': {
      const [, digits = 'x', unit = 'ms'] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text) ?? []
      return Math.round(Number(digits) * TIME[unit]!)
    }
    case 'bytes': {
      const [, digits = 'x', unit = ''] = /^(\d+)([kmg]?)(?:i?b)?$/i.exec(text) ?? []
      return Number(digits) * SIZE[unit.toLowerCase()]!
    }
    case 'count':
      return /^\d+$/.test(text) ? Number(text) : NaN
    case 'switch':
      return /^(?:true|1)$/.test(text) ? true : /^(?:false|0)$/.test(text) ? false : text
    default:
      return text
  }
}

/** A number as a user would write it: '30s', '64k', '16'. Minutes would look like mebibytes. */
export function numberText(kind: Kind, value: number): string {
  const units = Object.entries(kind === 'time' ? TIME : kind === 'bytes' ? SIZE : {})
  const fitting = units.filter(([, one]) => value >= one && value % one === 0 && one !== TIME['m'])
  const [unit, size] = fitting.at(-1) ?? ['', 1]
  return `${value / size}${unit}`
}

/** What a number looks like as text. */
const FORMS: Partial<Readonly<Record<Kind, string>>> = {
  time: 'a time such as 500ms, 30s, 10m or 1h',
  bytes: 'a size such as 4096, 64k or 1m',
  count: 'a whole number',
}

function textual({ kind, range: [min, max] = [0, MAX_SIZE], noLimit, word }: ValueRow) {
  const form = FORMS[kind]
  if (form === undefined) return undefined
  const unit = kind === 'time' ? ' ms' : ''
  const comma = kind === 'count' || max === MAX_SIZE ? '' : ','
  const bounds = max === MAX_SIZE && min === 0 ? '' : `${comma}${boundsOf(min, max)}${unit}`
  const words = [
    ...(noLimit === undefined ? [] : ["'none' for no limit"]),
    ...(word ? [`'${word}'`] : []),
  ]
  return [`${form}${bounds}`, ...words].join(', or ')
}

function boundsOf(min: number, max: number): string {
  return max === MAX_SIZE ? `, ${min} or more` : ` from ${min} to ${max}`
}

/** What the whole numbers of JavaScript count. */
const COUNTED: Partial<Readonly<Record<Kind, string>>> = {
  time: ' of milliseconds',
  bytes: ' of bytes',
}

/** A description of what the option accepts, if it does not accept this value. */
function expectation(row: ValueRow, value: unknown): string | undefined {
  const { kind, range: [min, max] = [0, MAX_SIZE], noLimit, choices = [] } = row
  switch (kind) {
    case 'time':
    case 'bytes':
    case 'count': {
      if (value === noLimit) return undefined
      if (Number.isInteger(value) && Number(value) >= min && Number(value) <= max) return undefined
      const or = noLimit === 0 ? ';' : ', or'
      const none = noLimit === undefined ? '' : `${or} ${noLimit} for no limit`
      return `a whole number${COUNTED[kind] ?? ''}${boundsOf(min, max)}${none}`
    }
    case 'switch':
      return typeof value === 'boolean' ? undefined : 'true or false'
    case 'choice':
      return choices.includes(value) ? undefined : `one of ${choices.join(', ')}`
    case 'text':
      return typeof value === 'string' ? undefined : 'a string'
    case 'header': {
      const sendable = typeof value === 'string' && HEADER_VALUE.test(value)
      return sendable || value === null ? undefined : 'a header value, or null for no header'
    }
    case 'class':
      return typeof value === 'function' ? undefined : 'a class'
    case 'variables':
      return isVariables(value) ? undefined : 'an object whose values are strings'
    default:
      return undefined
  }
}

/** RFC 9110, section 5.5. */
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

function isVariables(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return Object.values(value).every((variable) => typeof variable === 'string')
}
