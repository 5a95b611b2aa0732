/** The flags of `portico serve` for directories of scripts: --cgi-bin and those that begin with --cgi-. */
import { resolve } from 'node:path'
import type { CgiBinOptions } from '../cgi-bin/options.ts'
import type { MountSettings } from '../master/settings.ts'
import { flagName, type FlagValues } from './flags.ts'
import { UsageError } from './usage-error.ts'

/** Where scripts are without a PATH: Apache's ScriptAlias in most distributions. */
const DEFAULT_PATH = '/cgi-bin'

/** The option of `cgiBin` that each flag sets. */
const OPTIONS: Readonly<Record<string, keyof CgiBinOptions>> = {
  cgiTimeout: 'timeout',
  cgiMaxTime: 'maxTime',
  cgiMaxOutput: 'maxOutput',
  cgiMaxScripts: 'maxScripts',
  cgiMaxWaiting: 'maxWaiting',
  cgiInherit: 'inherit',
  cgiDocumentRoot: 'documentRoot',
}

/** @throws {UsageError} for a PATH that is not one, and for a flag without --cgi-bin. */
export function cgiBinsOf(values: FlagValues, directory: string): MountSettings[] {
  const given = (values['cgiBin'] ?? []) as string[]
  const cgiBin: Record<string, unknown> = {}
  for (const [key, option] of Object.entries(OPTIONS)) {
    const value = values[key]
    if (value === undefined) continue
    if (given.length === 0) {
      throw new UsageError(`--${flagName(key)} has no effect without --cgi-bin DIR`)
    }
    cgiBin[option] = key === 'cgiDocumentRoot' ? resolve(directory, value as string) : value
  }
  return given.map((text) => {
    const [, at = DEFAULT_PATH, file = text] = /^(\/[^=]*)=(.+)$/.exec(text) ?? []
    return { at: at.replace(/\/+$/, ''), file: resolve(directory, file), cgiBin }
  })
}
