/** How the command reads its arguments. */
import { describe, expect, it, test } from 'vitest'
import { COMMAND_NAMES } from '../../src/command/commands.ts'
import { flagHelp, parseFlags, type FlagTable } from '../../src/command/flags.ts'
import { main } from '../../src/command/main.ts'
import { UsageError } from '../../src/command/usage-error.ts'
import { parseValue } from '../../src/options/check-row.ts'

const TABLE: FlagTable = {
  socketMode: { kind: 'special', value: 'MODE', help: '' },
  listen: { kind: 'special', value: 'ADDRESS', repeatable: true, elsewhere: ['port'], help: '' },
  workers: { kind: 'count', range: [1, 8], word: 'auto', short: 'w', help: '' },
  slow: { kind: 'time', help: '' },
  live: { kind: 'switch', negative: true, help: '' },
  verbose: { kind: 'switch', short: 'v', help: '' },
  gateway: { kind: 'choice', choices: ['fastcgi', 'http'], help: '' },
}

test('parseFlags reads flags, arguments, and what stands after --', () => {
  const args = ['--listen', 'a', 'app.js', '--listen=b', '-w2', '-v', '--no-live', '--', '-x', 'y']
  expect(parseFlags(args, TABLE)).toEqual({
    values: { listen: ['a', 'b'], workers: 2, verbose: true, live: false },
    operands: ['app.js'],
    rest: ['-x', 'y'],
  })
})

test('parseFlags lets the last of several values count', () => {
  expect(parseFlags(['--slow', '5s', '--slow', '1m'], TABLE).values).toEqual({ slow: 60_000 })
})

test('parseFlags names the flags of a command that has few, and those before a command', () => {
  const few: FlagTable = { run: { kind: 'switch', negative: true, help: '' } }
  expect(() => parseFlags(['--zebra'], few)).toThrow('Known flags: --no-run, --help')
  expect(() => parseFlags(['--versio'], few, ['version'])).toThrow("Did you mean '--version'?")
})

describe('parseFlags refuses, in one line,', () => {
  it.each([
    [['--lisen', 'x'], "unknown flag --lisen. Did you mean '--listen'?"],
    [['--zebra'], 'unknown flag --zebra. See --help'],
    [['-z'], 'unknown flag -z. See --help'],
    [['-live'], "unknown flag -live. Did you mean '--live'?"],
    [['--no-lve'], "unknown flag --no-lve. Did you mean '--no-live'?"],
    [['--port', '80'], "unknown flag --port. Did you mean '--listen'?"],
    [['--listen'], '--listen needs a value: ADDRESS'],
    [
      ['--listen', '--slow'],
      '--listen needs a value: ADDRESS; write --listen=--slow if it begins with a dash',
    ],
    [['--no-listen'], '--no-listen: --listen cannot be negated'],
    [['--verbose=maybe'], '--verbose takes no value (got "maybe")'],
    [['--workers', '9'], `--workers must be a whole number from 1 to 8, or 'auto' (got "9")`],
    [['-w', 'x'], `-w must be a whole number from 1 to 8, or 'auto' (got "x")`],
    [['--slow', '5 s'], '--slow must be a time such as 500ms, 30s, 10m or 1h (got "5 s")'],
    [
      ['--gateway', 'fcgi'],
      `--gateway must be one of fastcgi, http (got "fcgi"). Did you mean 'fastcgi'?`,
    ],
  ])('%j', (args, message) => {
    expect(() => parseFlags(args, TABLE)).toThrow(new UsageError(message))
  })
})

test.each([
  ['time', '250', 250],
  ['time', '250ms', 250],
  ['time', '1.5s', 1500],
  ['time', '10m', 600_000],
  ['time', '1h', 3_600_000],
  ['bytes', '4096', 4096],
  ['bytes', '64k', 65_536],
  ['bytes', '64KiB', 65_536],
  ['bytes', '1m', 1_048_576],
  ['count', '7', 7],
  ['switch', 'true', true],
  ['switch', '0', false],
] as const)('A value of kind %s that is written %s means %o', (kind, text, value) => {
  expect(parseValue({ kind }, text)).toEqual({ value })
})

test.each([
  [{ kind: 'time', help: 'a', default: 30_000 }, 'a; default: 30s'],
  [{ kind: 'time', help: 'a', default: 120_000 }, 'a; default: 120s'],
  [{ kind: 'time', help: 'a', default: 3_600_000 }, 'a; default: 1h'],
  [{ kind: 'time', help: 'a', default: 500, noLimit: 0 }, 'a; default: 500ms; none: no limit'],
  [{ kind: 'time', help: 'a', default: 0, noLimit: 0 }, 'a; default: no limit'],
  [{ kind: 'bytes', help: 'a', default: 65_536 }, 'a; default: 64k'],
  [
    { kind: 'bytes', help: 'a', default: 1000, noLimit: Infinity },
    'a; default: 1000; none: no limit',
  ],
  [{ kind: 'count', help: 'a', default: 1024 }, 'a; default: 1024'],
  [{ kind: 'text', help: 'a', default: 'b' }, 'a; default: b'],
  [{ kind: 'text', help: 'a' }, 'a'],
] as const)('--help shows %o as %j', (row, text) => {
  expect(flagHelp(row)).toBe(text)
})

test("'none' lifts a limit that can be lifted", () => {
  expect(parseValue({ kind: 'time', noLimit: Infinity }, 'none')).toEqual({ value: Infinity })
  expect(parseValue({ kind: 'time', noLimit: 0 }, 'none')).toEqual({ value: 0 })
  expect(parseValue({ kind: 'time' }, 'none')).toHaveProperty('refused')
})

async function run(...args: string[]) {
  const written = { out: '', err: '' }
  const code = await main(args, {
    out: (text) => void (written.out += text),
    err: (text) => void (written.err += text),
  })
  return { code, ...written }
}

describe('portico', () => {
  it('prints an overview that fits on a terminal of 80 columns and 24 lines', async () => {
    for (const args of [[], ['--help'], ['-h'], ['help']]) {
      const { code, out, err } = await run(...args)
      expect({ code, err }).toEqual({ code: 0, err: '' })
      const lines = out.trimEnd().split('\n')
      expect(lines.length).toBeLessThan(24)
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80)
    }
  })

  it.each(COMMAND_NAMES)('explains %s in lines that fit on 80 columns', async (name) => {
    for (const flag of ['--help', '--help-all']) {
      const { out } = await run(name, flag)
      expect(out.split('\n').filter((line) => line.length > 80)).toEqual([])
    }
  })

  it('suggests the nearest command, in one line, with exit code 2', async () => {
    expect(await run('complection')).toEqual({
      code: 2,
      out: '',
      err: "portico: unknown command 'complection'. Did you mean 'completion'?\n",
    })
  })

  it('explains each command with --help', async () => {
    const { code, out } = await run('help', 'completion')
    expect(code).toBe(0)
    expect(out).toMatch(/^Usage: portico completion bash\|zsh\|fish\n/)
    expect(await run('completion', '--help')).toEqual({ code, out, err: '' })
  })

  it('refuses too few and too many arguments', async () => {
    expect(await run('completion')).toEqual({
      code: 2,
      out: '',
      err: 'portico: completion needs bash|zsh|fish. See portico completion --help\n',
    })
    expect((await run('init')).err).toMatch(/^portico: init needs SERVER \[FILE\]: nginx, apache, /)
    expect(await run('completion', 'zsh', 'fish')).toEqual({
      code: 2,
      out: '',
      err: "portico: completion takes bash|zsh|fish only (got 'fish')\n",
    })
  })
})
