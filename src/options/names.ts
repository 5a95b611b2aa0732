/** Refuses unknown names of options, and suggests the nearest known one. */
import { ConfigurationError } from '../errors.ts'

/**
 * Refuses an option that is not one of `names`.
 *
 * @param where the function with these options, such as 'session()'.
 * @throws {ConfigurationError} with the nearest name, or all names, in the message.
 */
export function checkNames(where: string, options: object, names: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) {
      throw new ConfigurationError(`${where}: unknown option '${name}'. ${suggestion(name, names)}`)
    }
  }
}

/** "Did you mean 'listen'?", or all names if no name is near. */
export function suggestion(given: string, names: readonly string[]): string {
  const near = nearest(given, names)
  return near === undefined ? `The names are ${names.join(', ')}` : `Did you mean '${near}'?`
}

/** The name with the fewest changes, if they are few enough to be a typing error. */
function nearest(given: string, names: readonly string[]): string | undefined {
  let best: string | undefined
  // A third of the letters may differ.
  let least = Math.floor(given.length / 3) + 1
  for (const name of names) {
    const changes = distance(given.toLowerCase(), name.toLowerCase())
    if (changes < least) [best, least] = [name, changes]
  }
  return best
}

/** Letters to insert, remove, replace or swap (optimal string alignment distance). */
function distance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1]
      let least = Math.min(
        rows[i - 1]![j]! + 1,
        row[j - 1]! + 1,
        rows[i - 1]![j - 1]! + (same ? 0 : 1),
      )
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, rows[i - 2]![j - 2]! + 1)
      }
      row.push(least)
    }
    rows.push(row)
  }
  return rows[a.length]![b.length]!
}
