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
 * `{ app }`, its members are tried in the same way. A promise of an application will do.
 *
 * @throws {ConfigurationError} if the module has no such export. An error of the module itself is
 *   thrown as it is.
 */
export async function load(path: string): Promise<Runnable> {
  const module = await settled((await import(pathToFileURL(resolve(path)).href)) as object)
  const found = exportedBy(module)
  if (found !== null) return found
  throw new ConfigurationError(
    `${path} exports no application. Export it as default, app, application or handler, or as ` +
      `module.exports (exported: ${exportedNames(module)})`,
  )
}

/** Whether a module exports a promise where its application should be, as CommonJS has to. */
export function exportsPromise(module: object): boolean {
  return EXPORTS.some((name) => Reflect.get(module, name) instanceof Promise)
}

/** The exports of a module, with promises replaced by their values. Rejects as they do. */
export async function settled(module: object): Promise<object> {
  if (!exportsPromise(module)) return module
  const entries = Object.entries(module).map(async ([name, value]: [string, unknown]) => {
    return [name, value instanceof Promise ? await value : value] as const
  })
  return Object.fromEntries(await Promise.all(entries))
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
