/** `portico serve`: for development with a terminal, else the production server. */
import { existsSync, statSync } from 'node:fs'
import { ConfigurationError } from '../errors.ts'
import { logAsJson } from '../json-log.ts'
import { logEntry } from '../log.ts'
import { RUNTIME } from '../runtime.ts'
import type { Call, Command } from './commands.ts'
import { applicationFiles } from '../master/settings.ts'
import { findEntry } from './entry.ts'
import { EXIT } from './exit-codes.ts'
import { flagName } from './flags.ts'
import { SERVE_FLAGS } from './serve-flags.ts'
import { developmentSettings, readSettings, serveSettings, type Settings } from './settings.ts'
import { loaderOf } from './typescript.ts'
import { UsageError } from './usage-error.ts'

export const command: Command = {
  operands: '[FILE] [-- ARGUMENT...]',
  count: [0, 1],
  flags: SERVE_FLAGS,
  notes: [
    'FILE exports an application, or calls run() or listen(). Default: app.js, …',
    'Flags are also variables (PORTICO_SLOW) and keys of portico.config.js (slow).',
  ],
  run: serve,
}

async function serve(call: Call): Promise<number> {
  if (RUNTIME !== 'node') {
    const start = RUNTIME === 'bun' ? 'bun FILE' : 'deno run --allow-all FILE'
    throw new ConfigurationError(
      `serve needs Node, because only Node can pass listening sockets to workers (this is ${RUNTIME}). ` +
        `To serve in one process, end FILE with run(application) and start it: ${start}`,
    )
  }
  const settings = await readSettings(call)
  if (settings.values['log'] === 'json') logAsJson({ master: process.pid })
  const { mounts } = settings
  const scripts = mounts.filter((mounted) => mounted.cgiBin !== undefined)
  const noDirectory = scripts.find((mounted) => !isDirectory(mounted.file))
  if (noDirectory !== undefined) {
    const what = existsSync(noDirectory.file) ? 'not a directory' : 'no such directory'
    return noApplication(`--cgi-bin: ${what}: ${noDirectory.file}`)
  }
  const entry =
    settings.given === undefined && scripts[0] !== undefined
      ? scripts[0]
      : findEntry(settings.directory, settings.given)
  if ('missing' in entry) return noApplication(entry.missing)
  const { file } = entry
  const gone = mounts.find((mounted) => !existsSync(mounted.file))
  if (gone !== undefined) return noApplication(`--mount: no such file: ${gone.file}`)
  const loader = applicationFiles(file, mounts)
    .map(loaderOf)
    .find((each) => 'missing' in each || each.execArgv.length > 0) ?? { execArgv: [] }
  if ('missing' in loader) return noApplication(loader.missing)
  const execArgv = [...process.execArgv, ...loader.execArgv]
  if (isDevelopment(settings)) {
    refuseUnused(call)
    const { develop } = await import('../development/develop.ts')
    return develop({ ...developmentSettings(settings), file, args: call.rest, execArgv })
  }
  const { serve: production } = await import('../master/serve.ts')
  return production({ ...serveSettings(settings), file, args: call.rest, execArgv })
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}

function noApplication(message: string): number {
  logEntry(`portico: ${message}`, 'error')
  return EXIT.noApplication
}

/** Flags of the production server, which has workers. Variables and the configuration serve both. */
const PRODUCTION = [
  'workers',
  'control',
  'user',
  'group',
  'log',
  'metrics',
  'maxRequests',
  'maxRequestsJitter',
  'blockTimeout',
  'slow',
  'bootTimeout',
  'idleExit',
]

/** @throws {UsageError} for a flag that would have no effect. */
function refuseUnused({ values }: Call): void {
  const unused = PRODUCTION.find((key) => values[key] !== undefined)
  if (unused === undefined) return
  const name = `--${flagName(unused)}`
  throw new UsageError(
    `${name} has no effect in development. Add --no-dev, or --workers, for the production server`,
  )
}

/** A terminal and no --workers: this is how people start it on their own machine. */
function isDevelopment({ values, workers, env }: Settings): boolean {
  const { dev } = values
  if (dev !== undefined) return Boolean(dev)
  const asksForWorkers = ['control', 'user', 'group'].some((key) => values[key] !== undefined)
  if (workers !== undefined || asksForWorkers) return false
  return process.stderr.isTTY && env['NODE_ENV'] !== 'production'
}
