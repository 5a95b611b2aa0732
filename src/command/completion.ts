/** `portico completion`: a static script for a shell, made from the tables of commands and flags. */
import { COMMAND_NAMES, COMMANDS, commandOf, type Call, type Command } from './commands.ts'
import { EXIT } from './exit-codes.ts'
import { flagName, type Flag, type FlagTable } from './flags.ts'
import { suggestion } from '../options/names.ts'
import { UsageError } from './usage-error.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]

/** A command with everything that a shell completes after its name. */
interface Completed {
  readonly name: string
  readonly help: string
  readonly flags: readonly (readonly [flag: string, row: Flag])[]
  /** Undefined for file names. */
  readonly words: readonly string[] | undefined
}

const SCRIPTS: Readonly<Record<Shell, (commands: readonly Completed[]) => string>> = {
  bash,
  zsh,
  fish,
}

export const command: Command = {
  operands: SHELLS.join('|'),
  count: [1, 1],
  flags: {},
  completes: SHELLS,
  notes: [
    'bash:  source <(portico completion bash)                    in ~/.bashrc',
    'zsh:   source <(portico completion zsh)                     in ~/.zshrc',
    'fish:  portico completion fish | source                     in config.fish',
  ],
  async run({ operands: [shell = ''], out }: Call) {
    if (!Object.hasOwn(SCRIPTS, shell)) {
      throw new UsageError(`completion: unknown shell '${shell}'. ${suggestion(shell, SHELLS)}`)
    }
    const commands: Completed[] = []
    for (const name of COMMAND_NAMES) {
      const { help, load } = commandOf(name)!
      const { flags, completes } = (await load()).command
      commands.push({
        name,
        help,
        flags: flagsOf(flags),
        words: completes === 'files' ? undefined : completes,
      })
    }
    out(SCRIPTS[shell as Shell](commands))
    return EXIT.done
  },
}

function flagsOf(table: FlagTable): Completed['flags'] {
  const entries = Object.entries<Flag>({ ...table, help: { kind: 'switch', help: 'show help' } })
  return entries.map(([key, row]) => [`--${row.negative ? 'no-' : ''}${flagName(key)}`, row])
}

/** The words of a flag's value; undefined for a file name. */
function wordsOf({ choices, word }: Flag): readonly string[] | undefined {
  return choices ?? (word === undefined ? undefined : [word])
}

/** What may follow the name of the program: commands and files. */
const FIRST = [...Object.keys(COMMANDS), '--help', '--version'].join(' ')

function bash(commands: readonly Completed[]): string {
  const cases = commands.map(({ name, flags, words }) => {
    const values = flags
      .filter(([, row]) => row.kind !== 'switch')
      .map(([flag, row]) => {
        const known = wordsOf(row)
        return `        ${flag}) ${bashWords(known)}; return ;;\n`
      })
    return `    ${name})
      case $prev in
${values.join('')}      esac
      case $cur in
        -*) COMPREPLY=($(compgen -W '${flags.map(([flag]) => flag).join(' ')}' -- "$cur")) ;;
        *) ${bashWords(words)} ;;
      esac ;;
`
  })
  const names = commands.map(({ name }) => name)
  return `# Completion of portico for bash.
_portico_files() {
  local IFS=$'\\n' # Names may have spaces.
  COMPREPLY+=($(compgen -f -- "$cur"))
}
_portico() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} name=\${COMP_WORDS[1]}
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${FIRST}' -- "$cur"))
    _portico_files
    return
  fi
  # Of --gateway=f, bash makes three words.
  if [ "$cur" = = ]; then cur=; elif [ "$prev" = = ]; then prev=\${COMP_WORDS[COMP_CWORD-2]}; fi
  case $name in
    help) COMPREPLY=($(compgen -W '${names.join(' ')}' -- "$cur")); return ;;
    ${names.join('|')}) ;;
    *) name=serve ;;
  esac
  case $name in
${cases.join('')}  esac
}
complete -o filenames -F _portico portico
`
}

function bashWords(words: readonly string[] | undefined): string {
  return words ? `COMPREPLY=($(compgen -W '${words.join(' ')}' -- "$cur"))` : '_portico_files'
}

function zsh(commands: readonly Completed[]): string {
  const cases = commands.map(({ name, flags, words }) => {
    const specs = flags.map(([flag, row]) => {
      const known = wordsOf(row)
      const argument =
        row.kind === 'switch' ? '' : `:value:${known ? `(${known.join(' ')})` : '_files'}`
      const repeated = row.repeatable ? '*' : ''
      // The value is the next word, or follows '='.
      const equals = row.kind === 'switch' ? '' : '='
      return `        ${quoted(`${repeated}${flag}${equals}[${escaped(row.help)}]${argument}`)} \\\n`
    })
    const rest = words ? `(${words.join(' ')})` : '_files'
    return `    ${name})
      _arguments \\
${specs.join('')}        ${quoted(`*:argument:${rest}`)} ;;
`
  })
  const names = commands.map(
    ({ name, help }) => `    ${quoted(`${name}:${help.replaceAll(':', '\\:')}`)}\n`,
  )
  return `#compdef portico
# Completion of portico for zsh.
_portico() {
  local -a commands
  commands=(
${names.join('')}  )
  if (( CURRENT == 2 )); then
    _describe command commands
    _files
    return
  fi
  local name=$words[2]
  case $name in
    help) _describe command commands; return ;;
    ${commands.map(({ name }) => name).join('|')}) shift words; (( CURRENT-- )) ;;
    *) name=serve ;;
  esac
  case $name in
${cases.join('')}  esac
}
compdef _portico portico
`
}

function fish(commands: readonly Completed[]): string {
  const lines = ['# Completion of portico for fish.', 'complete -c portico -e']
  const names = commands.map(({ name }) => name).join(' ')
  for (const { name, help, flags, words } of commands) {
    lines.push(
      `complete -c portico -n 'not __fish_seen_subcommand_from ${names}' -a ${name} -d ${quoted(help)}`,
    )
    // 'portico app.js' is short for 'portico serve app.js'.
    const others = commands.filter((each) => each.name !== name).map((each) => each.name)
    const condition =
      name === 'serve'
        ? `not __fish_seen_subcommand_from ${others.join(' ')}`
        : `__fish_seen_subcommand_from ${name}`
    const when = `-n '${condition}'`
    if (words) lines.push(`complete -c portico ${when} -f -a '${words.join(' ')}'`)
    for (const [flag, row] of flags) {
      const known = wordsOf(row)
      const value = row.kind === 'switch' ? '' : known ? ` -x -a '${known.join(' ')}'` : ' -r -F'
      const short = row.short === undefined ? '' : ` -s ${row.short}`
      lines.push(
        `complete -c portico ${when} -l ${flag.slice(2)}${short}${value} -d ${quoted(row.help)}`,
      )
    }
  }
  return `${lines.join('\n')}\n`
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`
}

/** Escapes the characters that end the description in a specification of zsh's _arguments. */
function escaped(text: string): string {
  return text.replace(/[[\]:]/g, String.raw`\$&`)
}
