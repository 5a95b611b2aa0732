/**
 * The sub-commands, one row each. To add one, write a module that exports `command`, and add a row
 * here: `--help`, completion and the suggestions for misspelt names come from the rows.
 */
import type { FlagTable, FlagValues } from './flags.ts'

/** Where a command writes. Both functions write the text unchanged. */
export interface Output {
  readonly out: (text: string) => void
  readonly err: (text: string) => void
}

/** A parsed command line. */
export interface Call extends Output {
  /** The flags that were given, by their key in the table. */
  readonly values: FlagValues
  /** The arguments that are not flags. */
  readonly operands: readonly string[]
  /** The arguments after `--`. */
  readonly rest: readonly string[]
}

/** What the module of a command exports as `command`. */
export interface Command {
  /** The arguments of the usage line, such as 'URL' or '[FILE]'. */
  readonly operands: string
  /** How many arguments it takes. */
  readonly count: readonly [least: number, most: number]
  readonly flags: FlagTable
  /** Lines below the flags in the command's own --help, such as examples. */
  readonly notes?: readonly string[]
  /** Completes file names, or words. Default: file names. */
  readonly completes?: 'files' | readonly string[]
  /**
   * Runs the command; resolves to the exit code.
   *
   * @throws {UsageError} for a command line that makes no sense: one line, exit code 2.
   */
  run(call: Call): Promise<number>
}

/** A row of the table. */
export interface CommandRow {
  /** One line for the overview; at most 50 characters. */
  readonly help: string
  readonly load: () => Promise<{ readonly command: Command }>
}

export const COMMANDS = {
  serve: {
    help: 'serve an application; in a terminal, for development',
    load: () => import('./serve.ts'),
  },
  status: {
    help: 'show the workers of a server and their counters',
    load: async () => ({ command: (await import('./control.ts')).status }),
  },
  reload: {
    help: 'replace the workers of a server without losing a request',
    load: async () => ({ command: (await import('./control.ts')).reload }),
  },
  ping: {
    help: 'check that a server responds',
    load: () => import('./ping.ts'),
  },
  stop: {
    help: 'stop a server when its requests are complete',
    load: async () => ({ command: (await import('./control.ts')).stop }),
  },
  request: {
    help: 'send a request to a gateway, as curl does',
    load: () => import('./request.ts'),
  },
  init: {
    help: 'write the configuration of a web server',
    load: () => import('./init.ts'),
  },
  doctor: {
    help: 'find out why a server and an application fail',
    load: () => import('./doctor.ts'),
  },
  bundle: {
    help: 'make one file for a host without npm',
    load: () => import('./bundle.ts'),
  },
  completion: {
    help: 'print completion for bash, zsh or fish',
    load: () => import('./completion.ts'),
  },
} as const satisfies Readonly<Record<string, CommandRow>>

export const COMMAND_NAMES: readonly string[] = Object.keys(COMMANDS)

/** The row of a command; undefined for an unknown name. */
export function commandOf(name: string): CommandRow | undefined {
  return Object.hasOwn(COMMANDS, name) ? COMMANDS[name as keyof typeof COMMANDS] : undefined
}
