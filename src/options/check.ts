/** Checks options against the table, and reads them from the environment. */
import { ConfigurationError } from '../errors.ts'
import { GATEWAYS } from '../gateways.ts'
import { checkNames, suggestion } from './names.ts'
import type { Options } from './options.ts'
import { MAX_SIZE, variableOf, type Kind, type OptionRow } from './row.ts'
import { namesOf, OPTION_NAMES, rowOf, type OptionName, type OptionSet } from './table.ts'
import { quote } from '../text.ts'

/**
 * Checks the options of a handler.
 *
 * @param label the name of the gateway in messages.
 * @param more options that a gateway of another package has besides.
 * @throws {ConfigurationError} for a name that is unknown or belongs to another gateway, and for a
 *   value of the wrong kind or out of range.
 */
export function checkOptions(
  set: OptionSet,
  options: object,
  label = labelOf(set),
  more: readonly string[] = [],
): void {
  if (typeof options !== 'object' || options === null) {
    throw new ConfigurationError(`The options of ${label} are an object; got ${String(options)}`)
  }
  // `run` takes the options of all gateways.
  const names: readonly string[] = [...(set === 'run' ? OPTION_NAMES : namesOf(set)), ...more]
  for (const [name, value] of Object.entries(options)) {
    if (!OPTION_NAMES.includes(name as OptionName)) {
      checkNames(label, { [name]: value }, names)
      continue
    }
    if (value === undefined) continue
    if (!names.includes(name)) throw new ConfigurationError(misplaced(name as OptionName, label))
    checkValue(name as OptionName, value)
  }
}

/** "serverSoftware is an option of HTTP, not of FastCGI" */
export function misplaced(name: OptionName, label: string): string {
  const owners = rowOf(name).of.map(labelOf).join(', ')
  return `${name} is an option of ${owners}, not of ${label}`
}

function labelOf(set: OptionSet): string {
  if (set === 'run') return 'run()'
  return set === 'node-fastcgi' ? 'node-fastcgi' : GATEWAYS[set].label
}

/** @throws {ConfigurationError} if a value is of the wrong kind or out of range. */
export function checkValue(name: OptionName, value: unknown): void {
  const expected = expectation(rowOf(name), value)
  if (expected === undefined) return
  const shown = typeof value === 'string' ? quote(value) : String(value)
  throw new ConfigurationError(`${name}: ${shown} is not accepted; it is ${expected}`)
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
    case 'choice': {
      if (choices.includes(value)) return undefined
      const names = choices.map(String)
      return `one of ${names.join(', ')}. ${suggestion(String(value), names)}`
    }
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

/**
 * The options of one gateway that PORTICO_* variables set, such as PORTICO_SHUTDOWN_TIMEOUT.
 *
 * @throws {ConfigurationError} if a value is of the wrong kind or out of range; the message names
 *   the variable.
 */
export function optionsFromEnvironment(set: OptionSet, env: NodeJS.ProcessEnv): Partial<Options> {
  const options: Partial<Record<OptionName, unknown>> = {}
  for (const name of namesOf(set)) {
    const variable = variableOf(name, rowOf(name))
    const text = variable && env[variable]
    if (!text) continue
    options[name] = valueOf(rowOf(name), text, variable)
  }
  return options as Partial<Options>
}

/**
 * The value that a variable or a flag sets.
 *
 * @param where the variable or the flag, for the message.
 * @throws {ConfigurationError} if the value is of the wrong kind or out of range.
 */
export function valueOf(row: OptionRow, text: string, where: string): unknown {
  const value = parse(row.kind, text)
  const expected = expectation(row, value)
  if (expected === undefined) return value
  throw new ConfigurationError(`${where}: ${quote(text)} is not accepted; it is ${expected}`)
}

/** Reads a value from text. Returns text of another format unchanged; `expectation` refuses it. */
function parse(kind: Kind, text: string): unknown {
  if (kind === 'time' || kind === 'bytes' || kind === 'count') {
    return /^(?:\d+|Infinity)$/.test(text) ? Number(text) : text
  }
  if (kind === 'switch' && (text === 'true' || text === 'false')) return text === 'true'
  return text
}
