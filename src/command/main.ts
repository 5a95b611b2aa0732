/** `portico`: finds the sub-command, loads it, and reports errors in one line. */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { ConfigurationError } from '../errors.ts'
import { writeLog } from '../log.ts'
import { inFlags } from '../master/in-flags.ts'
import { suggestion } from '../options/names.ts'
import { asLogEntry, show } from '../text.ts'
import { COMMAND_NAMES, commandOf, type Output } from './commands.ts'
import { EXIT } from './exit-codes.ts'
import { parseFlags } from './flags.ts'
import { UsageError } from './usage-error.ts'

/** Most commands use only one of the streams, and a server none before it is ready. */
function streams(): Output {
  let stdout: NodeJS.WriteStream | undefined
  let hasFailed = false
  const written = (error: NodeJS.ErrnoException | null | undefined): void => {
    if (!error || hasFailed) return
    hasFailed = true
    // After EPIPE no message, as for programs that SIGPIPE ends: `portico init nginx | head`.
    if (error.code !== 'EPIPE') writeLog(`portico: stdout cannot be written (${error.code})\n`)
    process.once('exit', () => (process.exitCode ||= EXIT.failed))
  }
  return {
    out: (text) => {
      // Always the same one: see `printToLog`.
      stdout ??= process.stdout.on('error', () => {})
      if (text !== '') stdout.write(text, written)
    },
    err: writeLog,
  }
}

/**
 * Runs a command line; resolves to the exit code.
 *
 * @param args the arguments after the name of the program.
 */
export async function main(args: readonly string[], output: Output = streams()): Promise<number> {
  try {
    return await dispatch(args, output)
  } catch (error) {
    if (error instanceof UsageError) {
      output.err(asLogEntry(`portico: ${error.message.replaceAll('\n', ' ')}`))
      return error.exit
    }
    output.err(asLogEntry(`portico: ${textOf(error)}`))
    return EXIT.failed
  }
}

function textOf(error: unknown): string {
  if (error instanceof ConfigurationError) return inFlags(error.message)
  if (!isOfSystem(error)) return show(error)
  return error.syscall === 'uv_cwd'
    ? 'the working directory no longer exists. Change to another one: cd /'
    : error.message
}

/** Whether the system has refused something: a full disk, a missing permission. No stack helps. */
function isOfSystem(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error
}

async function dispatch(args: readonly string[], output: Output): Promise<number> {
  const [first, ...others] = args
  if (first === undefined || first === '--help' || first === '-h' || first === 'help') {
    const [topic] = others
    if (topic !== undefined && !topic.startsWith('-')) return dispatch([topic, '--help'], output)
    const { overview } = await import('./help.ts')
    output.out(overview(version()))
    return EXIT.done
  }
  if (first === '--version' || first === '-V' || first === '-v' || first === 'version') {
    output.out(`${version()}\n`)
    return EXIT.done
  }
  const row = commandOf(first)
  if (row !== undefined) return runCommand(first, others, output)
  if (isServed(first)) return runCommand('serve', args, output, ['version'])
  throw new UsageError(`unknown command '${first}'. ${suggestion(first, COMMAND_NAMES)}`)
}

/** `portico app.js`, and `portico --workers 2 app.js`. */
function isServed(first: string): boolean {
  return /^-|[./\\]/.test(first) || existsSync(first)
}

/** @param others flags that stand before a command, such as --version. */
async function runCommand(
  name: string,
  args: readonly string[],
  output: Output,
  others: readonly string[] = [],
): Promise<number> {
  const { command } = await commandOf(name)!.load()
  const { values, operands, rest } = parseFlags(args, command.flags, others)
  if (values['help'] === true || values['helpAll'] === true) {
    const { commandHelp } = await import('./help.ts')
    output.out(commandHelp(name, command, values['helpAll'] === true))
    return EXIT.done
  }
  const [least, most] = command.count
  if (operands.length < least) {
    const { operands: needed, completes } = command
    const listed = Array.isArray(completes) && !needed.includes('|')
    const known = listed ? `: ${completes.join(', ')}` : ''
    throw new UsageError(`${name} needs ${needed}${known}. See portico ${name} --help`)
  }
  if (operands.length > most) {
    throw new UsageError(
      `${name} takes ${most === 0 ? 'no argument' : `${command.operands} only`} (got '${operands[most]}')`,
    )
  }
  return command.run({ values, operands, rest, ...output })
}

/** The version of the package that this file belongs to. */
function version(): string {
  const manifest = createRequire(import.meta.url)('portico/package.json') as { version: string }
  return manifest.version
}
