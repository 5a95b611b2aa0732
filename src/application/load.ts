/** Loads an application from a file. */
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ConfigurationError } from '../errors.ts'
import { frameworkOf } from './detect.ts'
import type { Runnable } from './to-application.ts'

/** The exports that are tried, in this order. `module.exports` is the default export. */
const EXPORTS = ['default', 'app', 'application', 'handler'] as const

/**
 * Imports a module and returns its application: the default export (or `module.exports`), or else
 * the export `app`, `application` or `handler`. If the default export is an object such as
 * `{ app }`, its members are tried in the same way.
 *
 * @throws {ConfigurationError} if the module has no such export. An error of the module itself is
 *   thrown as it is.
 */
export async function load(path: string): Promise<Runnable> {
  const module = (await import(pathToFileURL(resolve(path)).href)) as Readonly<
    Record<string, unknown>
  >
  const inner = module['default']
  const found = find(module) ?? (typeof inner === 'object' && inner !== null ? find(inner) : null)
  if (found !== null && found !== undefined) return found
  const names = Object.keys(module).join(', ') || 'nothing'
  throw new ConfigurationError(
    `${path} exports no application. Export it as default, app, application or handler, or as ` +
      `module.exports (exported: ${names})`,
  )
}

function find(exported: object): Runnable | null {
  for (const name of EXPORTS) {
    const value: unknown = Reflect.get(exported, name)
    if (typeof value === 'function' || frameworkOf(value) !== null) return value as Runnable
  }
  return null
}
