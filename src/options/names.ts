/** Refuses unknown names of options, and suggests the nearest known one. */
import { ConfigurationError } from '../errors.ts'

/** Names that other servers have for an option, each with that option. */
export type Synonyms = Readonly<Record<string, string>>

/**
 * Refuses an option that is not one of `names`.
 *
 * @param where the function with these options, such as 'session()'.
 * @param suggested the names that a message may suggest, if they are not all of `names`.
 * @throws {ConfigurationError} with the nearest name, or all names, in the message; and if `options`
 *   is not an object.
 */
export function checkNames(
  where: string,
  options: object,
  names: readonly string[],
  suggested = names,
  synonyms: Synonyms = {},
): void {
  // An array or a Map would have no names.
  if (typeof options !== 'object' || options === null || Symbol.iterator in options) {
    const given: unknown = options
    throw new ConfigurationError(
      `The options of ${where} must be an object, got ${Array.isArray(given) ? 'an array' : String(given)}`,
    )
  }
  for (const name of Object.keys(options)) {
    if (names.includes(name)) continue
    const meant = Object.hasOwn(synonyms, name) ? synonyms[name]! : name
    throw new ConfigurationError(
      `${where}: unknown option '${name}'. ${suggestion(meant, suggested)}`,
    )
  }
}

/** "Did you mean 'listen'?", or all names if no name is near. */
export function suggestion(given: string, names: readonly string[]): string {
  const near = nearest(given, names)
  return near === undefined ? `Known names: ${names.join(', ')}` : `Did you mean '${near}'?`
}

/** The name that needs the fewest changes, if they are few enough for a typo or a short form. */
export function nearest(given: string, names: readonly string[]): string | undefined {
  const asked = given.toLowerCase()
  let best: string | undefined
  // A third of the letters may differ.
  let least = Math.floor(given.length / 3) + 1
  for (const name of names) {
    const changes = distance(asked, name.toLowerCase())
    if (changes < least) [best, least] = [name, changes]
  }
  // 'fcgi' is one change from 'cgi', but a typo seldom loses the first letter.
  if (best?.[0]?.toLowerCase() === asked[0]) return best
  const begun = asked.length > 1 ? names.filter((name) => name.toLowerCase().startsWith(asked)) : []
  if (begun.length === 1) return begun[0]
  return names.find((name) => isShortFormOf(asked, name.toLowerCase())) ?? best
}

/** 'fcgi' for 'fastcgi': the first letter and at least half of the others, in order. */
function isShortFormOf(short: string, name: string): boolean {
  if (short[0] !== name[0] || short.length * 2 < name.length || short.length < 3) return false
  let at = 0
  for (const letter of name) if (letter === short[at]) at += 1
  return at === short.length
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
