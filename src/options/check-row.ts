/** Checks options against rows of a table, without knowing the table. */
import { ConfigurationError } from '../errors.ts'
import { checkNames, nearest } from './names.ts'
import { MAX_SIZE, type Kind, type OptionRow } from './row.ts'
import { show } from './values.ts'

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
  const choices = row.choices?.map(String) ?? []
  const near = row.kind === 'choice' ? nearest(String(value), choices) : undefined
  const hint = near === undefined ? '' : `. Did you mean '${near}'?`
  throw new ConfigurationError(`${name} must be ${expected} (got ${show(value)})${hint}`)
}

/**
 * The value that a variable or a flag sets.
 *
 * @param where the variable or the flag, for the message.
 * @throws {ConfigurationError} if the value is of the wrong kind or out of range.
 */
export function valueOf(row: OptionRow, text: string, where: string): unknown {
  const value = parse(row.kind, text)
  checkValue(where, row, value)
  return value
}

/** A description of what the option accepts, if it does not accept this value. */
function expectation(row: OptionRow, value: unknown): string | undefined {
  const { kind, range: [min, max] = [0, MAX_SIZE], unlimited, choices = [] } = row
  switch (kind) {
    case 'time':
    case 'bytes':
    case 'count': {
      if (value === Infinity && unlimited) return undefined
      if (Number.isInteger(value) && Number(value) >= min && Number(value) <= max) return undefined
      return `a whole number from ${min} to ${max}${unlimited ? ', or Infinity for no limit' : ''}`
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

/** Reads a value from text. Returns text of another format unchanged; `expectation` refuses it. */
function parse(kind: Kind, text: string): unknown {
  if (kind === 'time' || kind === 'bytes' || kind === 'count') {
    return /^(?:\d+|Infinity)$/.test(text) ? Number(text) : text
  }
  if (kind === 'switch' && (text === 'true' || text === 'false')) return text === 'true'
  return text
}
