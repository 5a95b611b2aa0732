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
  const module = (await import(pathToFileURL(resolve(path)).href)) as object
  const found = exportedBy(module)
  if (found !== null) return found
  throw new ConfigurationError(
    `${path} exports no application. Export it as default, app, application or handler, or as ` +
      `module.exports (exported: ${exportedNames(module)})`,
  )
}

/** The application among the exports of a module; null without one. */
export function exportedBy(module: object): Runnable | null {
  const { default: inner } = module as { readonly default?: unknown }
  return find(module) ?? (typeof inner === 'object' && inner !== null ? find(inner) : null)
}

/** The names of the exports, for messages. */
export function exportedNames(module: object): string {
  return Object.keys(module).join(', ') || 'nothing'
}

function find(exported: object): Runnable | null {
  for (const name of EXPORTS) {
    const value: unknown = Reflect.get(exported, name)
    if (typeof value === 'function' || frameworkOf(value) !== null) return value as Runnable
  }
  return null
}
