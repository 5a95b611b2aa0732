/** Finds the control socket of the commands that talk to a master. */
import { resolve } from 'node:path'
import { logicalDirectory } from './entry.ts'
import { UsageError } from './usage-error.ts'

/**
 * The path that was given, or else that of PORTICO_CONTROL or of portico.config.js here.
 *
 * @param command the command that needs it, for the message.
 * @throws {UsageError} if nothing names a path.
 */
export async function controlPath(command: string, given: string | undefined): Promise<string> {
  if (given !== undefined) return given.replace(/^unix:/, '')
  const directory = logicalDirectory()
  const named = process.env['PORTICO_CONTROL'] || (await configured(directory))
  if (named !== undefined) return resolve(directory, named.replace(/^unix:/, ''))
  throw new UsageError(
    `${command} needs PATH, the socket of --control: neither PORTICO_CONTROL nor a ` +
      `portico.config.js here names it. See portico ${command} --help`,
  )
}

async function configured(directory: string): Promise<string | undefined> {
  const { readConfiguration } = await import('./config-file.ts')
  const { values } = await readConfiguration(directory, undefined)
  return values['control'] as string | undefined
}
