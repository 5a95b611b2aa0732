/** An environ as text, for a comparison. */
import type { Environ } from '../types.ts'

export type ShownEnviron = Readonly<Record<string, string>>

/** The variables, and those keys of the contract that have a plain value. */
export function shownEnviron(environ: Environ): ShownEnviron {
  const shown: Record<string, string> = {}
  for (const name of Object.keys(environ).toSorted()) {
    const value: unknown = environ[name]
    if (typeof value === 'string') shown[name] = value
    else if (typeof value === 'boolean' || Array.isArray(value)) shown[name] = JSON.stringify(value)
  }
  return shown
}
