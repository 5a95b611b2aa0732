/** docs/command.md has every command and every flag of `portico serve`, as their tables say. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { COMMAND_NAMES, commandOf } from '../../src/command/commands.ts'
import { flagHead } from '../../src/command/help.ts'
import { flagHelp } from '../../src/command/flags.ts'
import { SETTINGS } from '../../src/command/serve-flags.ts'

const page = readFileSync('docs/command.md', 'utf8')

/** The table after a marker. */
function tableAfter(marker: string): string {
  return new RegExp(`<!-- ${marker} -->\n\n((?:\\|.*\n)+)`).exec(page)?.[1] ?? ''
}

const cell = (text: string) => text.replaceAll('|', '\\|')

test('docs/command.md describes commands as the overview does', () => {
  const rows = COMMAND_NAMES.map((name) => `| \`${name}\` | ${commandOf(name)!.help} |`)
  const [, , ...shown] = tableAfter('commands').trimEnd().split('\n')
  expect(shown).toEqual(rows)
})

test('docs/command.md lists every flag of serve with its variable and its help', () => {
  const rows = Object.entries(SETTINGS).map(
    ([key, row]) =>
      `| \`${cell(flagHead(key, row))}\` | ${row.variable ?? ''} | ${cell(flagHelp(row))} |\n`,
  )
  expect(tableAfter('flags')).toBe(`| flag | variable | meaning |\n|---|---|---|\n${rows.join('')}`)
})
