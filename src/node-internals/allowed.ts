/** Whether undocumented parts of Node may be used. */
import { runtimeOf } from '../runtime.ts'

/**
 * False if PORTICO_NO_INTERNALS is set to anything but '' or '0', and in other runtimes: Bun and Deno
 * have some of these names with another meaning.
 */
export const INTERNALS_ALLOWED: boolean = isAllowed(process)

/** Exported for tests. */
export function isAllowed(of: Pick<NodeJS.Process, 'env' | 'versions'>): boolean {
  const switchedOff = !['', '0', undefined].includes(of.env['PORTICO_NO_INTERNALS'])
  return !switchedOff && runtimeOf(of.versions) === 'node'
}
