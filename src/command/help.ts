/** The texts of --help. */
import { COMMAND_NAMES, commandOf, type Command } from './commands.ts'
import { flagHelp, flagName, type Flag, type FlagTable } from './flags.ts'

/** The usual width of a terminal in columns. */
const WIDTH = 80

/** Where the second column begins. */
const COLUMN = 28

/** `portico --help`: all commands, on one screen. */
export function overview(version: string): string {
  const width = Math.max(...COMMAND_NAMES.map((name) => name.length)) + 2
  return [
    `Portico ${version}: one Node application behind any web server`,
    '',
    'Usage: portico COMMAND [ARGUMENT...]',
    '       portico app.js               the same as: portico serve app.js',
    '',
    ...COMMAND_NAMES.map((name) => `  ${name.padEnd(width)}${commandOf(name)!.help}`),
    '',
    "'portico COMMAND --help' explains a command. Exit codes: 0 done, 1 failed,",
    '2 wrong command line, 3 the application does not exist or does not start.',
    '',
  ].join('\n')
}

/**
 * The help of one command. If `all` is false and some flags are marked as common, only those are
 * listed.
 */
export function commandHelp(name: string, command: Command, all: boolean): string {
  const { operands, flags, notes = [] } = command
  const shown = Object.entries(flags).filter(([, row]) => all || isCommon(row, flags))
  const hidden = Object.keys(flags).length - shown.length
  const usage = `Usage: portico ${name}${shown.length > 0 ? ' [FLAG...]' : ''}${operands && ` ${operands}`}`
  const lines = [usage, capitalised(commandOf(name)?.help ?? ''), '']
  for (const [key, row] of shown) lines.push(...flagLines(key, row))
  if (hidden > 0)
    lines.push(...flagLines('helpAll', { kind: 'switch', help: `show ${hidden} more` }))
  if (notes.length > 0) lines.push(...(shown.length > 0 ? [''] : []), ...notes)
  return `${lines.join('\n').replace(/\n+$/, '')}\n`
}

function isCommon(row: Flag, flags: FlagTable): boolean {
  return row.common === true || !Object.values(flags).some(({ common }) => common === true)
}

function flagLines(key: string, row: Flag): string[] {
  const first = `  ${flagHead(key, row)}`
  const words = flagHelp(row).split(' ')
  const lines = ['']
  for (const word of words) {
    const last = lines.at(-1)!
    if (last.length + 1 + word.length > WIDTH - COLUMN) lines.push(word)
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`
  }
  const apart = first.length >= COLUMN - 1
  const body = lines.map((line) => ' '.repeat(COLUMN) + line)
  if (apart) return [first, ...body]
  return [first.padEnd(COLUMN) + lines[0]!, ...body.slice(1)]
}

/** '-X, --method NAME', '--no-live', '--workers N|auto' */
export function flagHead(key: string, row: Flag): string {
  const { kind, short, value, choices, negative } = row
  const name = `--${negative ? 'no-' : ''}${flagName(key)}`
  const placeholder =
    kind === 'switch' ? '' : ` ${value ?? choices?.join('|') ?? KINDS[kind] ?? 'TEXT'}`
  return `${short === undefined ? '' : `-${short}, `}${name}${placeholder}`
}

const KINDS: Readonly<Record<string, string>> = { time: 'TIME', bytes: 'SIZE', count: 'N' }

function capitalised(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}
