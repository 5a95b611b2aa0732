/** portico.config.js: the settings of `portico serve`, by the names of its flags in camelCase. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { parseValue } from '../options/check-row.ts'
import { suggestion } from '../options/names.ts'
import { show } from '../text.ts'
import type { FlagValues } from './flags.ts'
import { SETTINGS } from './serve-flags.ts'
import { loaderOf } from './typescript.ts'
import { UsageError } from './usage-error.ts'

const FILES = ['js', 'mjs', 'cjs', 'ts', 'mts'].map((extension) => `portico.config.${extension}`)

/** The key for the file of the application, which is not a flag. */
const APPLICATION = 'application'

export interface Configuration {
  readonly application?: string
  readonly values: FlagValues
}

/**
 * Reads the configuration, if there is one. It exports an object, or a function that returns one.
 *
 * @param given the value of --config.
 * @throws {UsageError} for an unknown key or a wrong value, and if `given` is not there.
 */
export async function readConfiguration(
  directory: string,
  given: string | undefined,
): Promise<Configuration> {
  const file = given === undefined ? defaultFile(directory) : resolve(directory, given)
  if (file === undefined) return { values: {} }
  if (!existsSync(file)) throw new UsageError(`--config: no such file: ${given}`)
  const settings = await settled(file, load(file))
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings)) {
    throw new UsageError(`${file}: the default export must be an object of settings`)
  }
  return check(file, settings)
}

function defaultFile(directory: string): string | undefined {
  return FILES.map((name) => resolve(directory, name)).find((path) => existsSync(path))
}

async function load(file: string): Promise<unknown> {
  const exported = await importDefault(file)
  return typeof exported === 'function' ? await exported() : exported
}

/** @throws {UsageError} if `loading` rejects, or never settles: Node would end without a message. */
async function settled(file: string, loading: Promise<unknown>): Promise<unknown> {
  const wrong = (text: string, cause?: unknown) => new UsageError(`${file}: ${text}`, { cause })
  return new Promise((resolve_, reject) => {
    const nothingLeft = (): void => reject(wrong('awaits a promise that never settles'))
    process.once('beforeExit', nothingLeft)
    void loading
      .then(resolve_, (error: unknown) => {
        const text = show(error).replace(/\n[^]*/, '')
        reject(error instanceof UsageError ? error : wrong(text, error))
      })
      .finally(() => process.off('beforeExit', nothingLeft))
  })
}

async function importDefault(file: string): Promise<unknown> {
  const loader = loaderOf(file)
  if ('missing' in loader) throw new UsageError(loader.missing)
  const [, tsx] = loader.execArgv
  const url = pathToFileURL(file).href
  if (tsx !== undefined) {
    const api = createRequire(tsx).resolve('tsx/esm/api')
    const { tsImport } = (await import(pathToFileURL(api).href)) as {
      tsImport: (specifier: string, parent: string) => Promise<{ readonly default: unknown }>
    }
    return (await tsImport(url, url)).default
  }
  return ((await import(url)) as { readonly default: unknown }).default
}

function check(file: string, settings: object): Configuration {
  const names = Object.keys(SETTINGS).filter((name) => SETTINGS[name]!.config)
  const values: Record<string, unknown> = {}
  let application: string | undefined
  for (const [name, value] of Object.entries(settings)) {
    if (value === undefined) continue
    if (name === APPLICATION) {
      if (typeof value !== 'string') throw new UsageError(`${file}: ${name} must be a path`)
      application = value
    } else if (names.includes(name)) values[name] = valueOf(file, name, value)
    else {
      const near = suggestion(name, [...names, APPLICATION])
      const hint = near.startsWith('Did you') ? near : 'See portico serve --help-all'
      throw new UsageError(`${file}: unknown setting '${name}'. ${hint}`)
    }
  }
  return { ...(application !== undefined && { application }), values }
}

/** A value is written as in JavaScript, or as the text of the flag: 5000 and '5s' are the same. */
function valueOf(file: string, name: string, value: unknown): unknown {
  const row = SETTINGS[name]!
  const one = (each: unknown): unknown => {
    // 0o660 is the number 432, whose text would be another mode.
    if (row.option === 'mode' && typeof each === 'number') return each
    const isText = typeof each === 'string' || typeof each === 'number' || typeof each === 'boolean'
    const parsed = isText
      ? parseValue(row, String(each))
      : { refused: `must not be ${each === null ? 'null' : `of the type ${typeof each}`}` }
    if ('refused' in parsed) throw new UsageError(`${file}: ${name} ${parsed.refused}`)
    return parsed.value
  }
  if (row.repeatable) return (Array.isArray(value) ? value : [value]).map(one)
  return one(Array.isArray(value) ? value.join(',') : value)
}
