/** `portico serve`: for development with a terminal, else the production server. */
import { existsSync } from 'node:fs'
import { asLogEntry } from '../text.ts'
import type { Call, Command } from './commands.ts'
import { findEntry } from './entry.ts'
import { EXIT } from './exit-codes.ts'
import { SERVE_FLAGS } from './serve-flags.ts'
import { developmentSettings, readSettings, serveSettings, type Settings } from './settings.ts'
import { loaderOf } from './typescript.ts'

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
  const settings = await readSettings(call)
  const entry = findEntry(settings.directory, settings.given)
  if ('missing' in entry) return noApplication(call, entry.missing)
  const { file } = entry
  const gone = settings.mounts.find((mounted) => !existsSync(mounted.file))
  if (gone !== undefined) return noApplication(call, `--mount: no such file: ${gone.file}`)
  const loader = [file, ...settings.mounts.map((mounted) => mounted.file)]
    .map(loaderOf)
    .find((each) => 'missing' in each || each.execArgv.length > 0) ?? { execArgv: [] }
  if ('missing' in loader) return noApplication(call, loader.missing)
  const execArgv = [...process.execArgv, ...loader.execArgv]
  if (isDevelopment(settings)) {
    const { develop } = await import('../development/develop.ts')
    return develop({ ...developmentSettings(settings), file, args: call.rest, execArgv })
  }
  const { serve: production } = await import('../master/serve.ts')
  return production({ ...serveSettings(settings), file, args: call.rest, execArgv })
}

function noApplication({ err }: Call, message: string): number {
  err(asLogEntry(`portico: ${message}`))
  return EXIT.noApplication
}

/** With a terminal, unless workers are asked for: what people do on their own machine. */
function isDevelopment({ values, workers, env }: Settings): boolean {
  const { dev } = values
  if (dev !== undefined) return Boolean(dev)
  if (workers !== undefined || values['control'] !== undefined) return false
  return process.stderr.isTTY && env['NODE_ENV'] !== 'production'
}
