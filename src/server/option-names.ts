/**
 * The names of the options that servers take, from the side of whoever writes them without the help
 * of types: one that is misspelt would be passed over, and its default hold.
 */
import { ConfigurationError } from '../errors.ts'

/**
 * Those of all gateways and of `run`, which hands its own on. One that means nothing to a gateway is
 * no mistake: the same program may be another one elsewhere.
 */
export const OPTION_NAMES: readonly string[] = [
  'allowedClients',
  'answerTimeout',
  'backlog',
  'closeOnFault',
  'gateway',
  'graceTime',
  'group',
  'handlerClass',
  'headTimeout',
  'highWaterMark',
  'idleTimeout',
  'listen',
  'maxConnections',
  'maxHeaderBytes',
  'maxHeaders',
  'maxRequestsPerConnection',
  'mode',
  'multiplex',
  'multiprocess',
  'osEnviron',
  'owner',
  'pathInfo',
  'scriptName',
  'serverSoftware',
  'validate',
]

/** @throws {ConfigurationError} for an option that no gateway has; it names the nearest, or all. */
export function checkOptionNames(options: object): void {
  for (const name of Object.keys(options)) {
    if (OPTION_NAMES.includes(name)) continue
    const near = nearest(name)
    throw new ConfigurationError(
      `${name}: no such option; ` +
        (near === undefined ? `there are ${OPTION_NAMES.join(', ')}` : `did you mean '${near}'?`),
    )
  }
}

/** The known name that a slip of the pen makes this one: a third of the letters may differ. */
function nearest(name: string): string | undefined {
  const distances = OPTION_NAMES.map((known) => distance(name, known))
  const least = Math.min(...distances)
  return least > Math.max(2, name.length / 3) ? undefined : OPTION_NAMES[distances.indexOf(least)]
}

/** Letters to be put in, taken out or changed (Levenshtein). */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const changed = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, changed))
    }
    row = next
  }
  return row[to.length]!
}
