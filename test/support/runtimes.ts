/** The runtimes that scripts/install-runtimes.sh installs. */
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'

export interface TestedRuntime {
  readonly name: string
  /** Starts a script, whose path follows. */
  readonly command: readonly string[]
  readonly available: boolean
  /** What to do if it is not available, for a title. */
  readonly hint: string
}

const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache')
const installed = join(cache, 'portico/runtimes/bin')

/**
 * A runtime that is installed there, or is in PATH.
 *
 * @param file its name there
 * @throws {Error} on CI, if it is not installed.
 */
function runtime(name: string, file: string, args: readonly string[] = []): TestedRuntime {
  const directories = [installed, ...(process.env['PATH'] ?? '').split(delimiter)]
  const directory = directories.find((each) => existsSync(join(each, file)))
  const hint = `${name} is not installed: run scripts/install-runtimes.sh`
  if (directory === undefined && process.env['CI'] === 'true') throw new Error(hint)
  return {
    name,
    command: [join(directory ?? installed, file), ...args],
    available: directory !== undefined,
    hint: directory === undefined ? ` (${hint})` : '',
  }
}

export const bun = runtime('Bun', 'bun')
export const deno = runtime('Deno', 'deno', ['run', '--allow-all', '--quiet'])

export const otherNodes = [22, 24, 26].map((major) => runtime(`Node ${major}`, `node-${major}`))
