/** Checks options against the table, and reads them from the environment. */
import { ConfigurationError } from '../errors.ts'
import { GATEWAYS } from '../gateways.ts'
import { checkValue, valueOf } from './check-row.ts'
import { checkNames, nearest } from './names.ts'
import type { Options } from './options.ts'
import { PREFIX, variableFor, variableOf } from './row.ts'
import { namesOf, OPTION_NAMES, rowOf, SYNONYMS, type OptionName, type OptionSet } from './table.ts'

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
  // `run` takes the options of all gateways.
  const names: readonly string[] = [...(set === 'run' ? OPTION_NAMES : namesOf(set)), ...more]
  checkNames(label, options, [...names, ...OPTION_NAMES], names, SYNONYMS)
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || !isOption(name)) continue
    if (!names.includes(name)) throw new ConfigurationError(misplaced(name, label))
    checkValue(name, rowOf(name), value)
  }
}

function isOption(name: string): name is OptionName {
  return OPTION_NAMES.includes(name as OptionName)
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

/**
 * The options of `run` on one gateway that PORTICO_* variables set, such as
 * PORTICO_SHUTDOWN_TIMEOUT. PORTICO_GATEWAY is not among them.
 *
 * @throws {ConfigurationError} if a value is of the wrong kind or out of range; the message names
 *   the variable.
 */
export function optionsFromEnvironment(set: OptionSet, env: NodeJS.ProcessEnv): Partial<Options> {
  const options: Partial<Record<OptionName, unknown>> = {}
  for (const name of [...namesOf(set), ...namesOf('run')]) {
    const variable = variableOf(name, rowOf(name))
    const text = variable && env[variable]
    if (text && name !== 'gateway') options[name] = valueOf(rowOf(name), text, variable)
  }
  return options as Partial<Options>
}

/**
 * Variables that are not options of handlers: those of `portico serve`, which a program that it runs
 * inherits (a test compares them with its flags), and the switch of src/node-internals/.
 */
// oxfmt-ignore
const OTHER_VARIABLES: readonly string[] = [
  'ACCESS_LOG', 'BLOCK_TIMEOUT', 'BOOT_TIMEOUT', 'CGI_BIN', 'CGI_DOCUMENT_ROOT', 'CGI_INHERIT',
  'CGI_MAX_OUTPUT', 'CGI_MAX_SCRIPTS', 'CGI_MAX_TIME', 'CGI_MAX_WAITING', 'CGI_TIMEOUT',
  'CONTROL', 'DEV', 'DEVELOPMENT', 'ENV_FILE', 'GROUP',
  'IDLE_EXIT', 'LIVE', 'LOG', 'MAX_REQUESTS', 'MAX_REQUESTS_JITTER', 'METRICS', 'MOUNT',
  'NO_INTERNALS', 'POLL', 'SLOW', 'USER', 'WORKERS',
].map((name) => PREFIX + name)

/**
 * One line for each PORTICO_* variable that has no effect, because it is misspelt, or is an option
 * of another gateway.
 */
export function ineffectiveVariables(set: OptionSet, env: NodeJS.ProcessEnv): string[] {
  const options = new Map(OPTION_NAMES.map((name) => [variableOf(name, rowOf(name)), name]))
  // PORTICO_MODE is not a variable: the name is PORTICO_SOCKET_MODE.
  const others = [...Object.entries(SYNONYMS), ...OPTION_NAMES.map((name) => [name, name] as const)]
  const synonyms = new Map(others.map(([name, option]) => [variableFor(name), option]))
  const lines: string[] = []
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith(PREFIX) || !text || OTHER_VARIABLES.includes(variable)) continue
    const name = options.get(variable)
    if (name === undefined) {
      const meant = synonyms.get(variable)
      const near = meant ? variableOf(meant, rowOf(meant)) : nearestVariable(variable)
      const hint = near === undefined ? '' : `. Did you mean ${near}?`
      lines.push(`${variable} is not a variable of Portico, and has no effect${hint}`)
    } else if (![...namesOf(set), ...namesOf('run')].includes(name)) {
      lines.push(`${variable}: ${misplaced(name, labelOf(set))}. It has no effect in this process`)
    }
  }
  return lines
}

/** The nearest name, found without the prefix that all have. */
function nearestVariable(variable: string): string | undefined {
  const names = OPTION_NAMES.map((name) => variableOf(name, rowOf(name)))
  const known = [...names, ...OTHER_VARIABLES].flatMap((name) => name?.slice(PREFIX.length) ?? [])
  const near = nearest(variable.slice(PREFIX.length), known)
  return near && PREFIX + near
}
