/**
 * Shared by the benchmarks: options, a clean environment, statistics, turns and tables.
 *
 * The absolute speed of a machine changes every minute. So the candidates take turns, each of them
 * once per round, and the figures that count are ratios to a candidate of the same rounds.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { homedir, tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

/** The directory of the package. */
export const root = resolve(import.meta.dirname, '..')

/** The option `--node`, for the table of `readOptions`. */
export const NODES = [[process.execPath], 'a Node to measure; may be repeated']

/**
 * The environment of every process that is measured. NODE_EXTRA_CA_CERTS alone adds 33 ms to a
 * start of Node; NODE_OPTIONS can add anything.
 */
export function cleanEnvironment() {
  const environment = { ...process.env }
  delete environment.NODE_EXTRA_CA_CERTS
  delete environment.NODE_OPTIONS
  return environment
}

/**
 * The values of the command-line options, with the types of their defaults. `--markdown` and
 * `--help` exist for every benchmark. An option with a list as its default may be repeated.
 *
 * @param {string} description shown by `--help`
 * @param {Record<string, [fallback: number | string | boolean | string[], help: string]>} table
 */
export function readOptions(description, table) {
  const all = {
    ...table,
    markdown: [false, 'print tables in Markdown'],
    help: [false, 'print this text and exit'],
  }
  const options = {}
  for (const [name, [fallback]] of Object.entries(all)) {
    options[name] = {
      type: typeof fallback === 'boolean' ? 'boolean' : 'string',
      multiple: Array.isArray(fallback),
    }
  }
  const { values } = parseArgs({ options })
  if (values.help) {
    console.log(`${description}\n`)
    for (const [name, [fallback, help]] of Object.entries(all)) {
      const value = typeof fallback === 'boolean' ? '' : ` (${fallback})`
      console.log(`  --${name.padEnd(12)} ${help}${value}`)
    }
    process.exit()
  }
  for (const [name, [fallback]] of Object.entries(all)) {
    values[name] ??= fallback
    if (typeof fallback !== 'number') continue
    values[name] = Number(values[name])
    if (!(values[name] > 0)) throw new RangeError(`--${name} takes a number above 0`)
  }
  return values
}

/** The version of a Node, such as 'v24.1.0'. */
export function versionOf(node) {
  return execFileSync(node, ['-p', 'process.version'], { encoding: 'utf8' }).trim()
}

/** A new temporary directory, removed when the process exits. */
export function temporaryDirectory() {
  const directory = mkdtempSync(join(tmpdir(), 'portico-bench-'))
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Where scripts/install-runtimes.sh puts Bun and Deno. */
const runtimes = join(
  process.env.XDG_CACHE_HOME || join(homedir(), '.cache'),
  'portico/runtimes/bin',
)

/** Debian keeps servers in /usr/sbin, which is not in an ordinary user's PATH. */
const searchPath = [
  ...(process.env.PATH ?? '').split(delimiter),
  '/usr/sbin',
  '/usr/local/sbin',
  runtimes,
]

/**
 * The path of the first of these programs that is installed, or undefined. Call it when the program
 * is needed, not when a module loads: `--install` may install it in between.
 */
export function findProgram(...names) {
  for (const name of names) {
    const directory = searchPath.find((each) => existsSync(join(each, name)))
    if (directory) return join(directory, name)
  }
  return undefined
}

/** Whether a package is installed, here or in NODE_PATH. */
export function resolves(name) {
  try {
    createRequire(import.meta.url).resolve(name)
    return true
  } catch {
    return false
  }
}

/** @param {number[]} numbers */
export function median(numbers) {
  return quantile(numbers, 0.5)
}

/**
 * @param {number[]} numbers
 * @param {number} fraction 0.5 for the median
 */
export function quantile(numbers, fraction) {
  if (numbers.length === 0) return NaN
  const sorted = numbers.toSorted((a, b) => a - b)
  const rank = (sorted.length - 1) * fraction
  const low = sorted[Math.floor(rank)]
  return low + (sorted[Math.ceil(rank)] - low) * (rank % 1)
}

/**
 * Measures candidates in turns, after a warm-up of each. A turn that fails is reported on stderr
 * and counts as null.
 *
 * @template C, W
 * @param {C[]} candidates each with a `name`
 * @param {W[]} workloads
 * @param {(candidate: C, workload: W, seconds: number) => Promise<object>} drive
 * @param {{ rounds: number, seconds: number, warmUp: number }} settings
 * @returns {Promise<(candidate: C, workload: W, field: string) => number[]>} a field's values by
 *   round
 */
export async function takeTurns(candidates, workloads, drive, { rounds, seconds, warmUp }) {
  const results = new Map(workloads.map((workload) => [workload, new Map()]))
  for (let round = 0; round <= rounds; round += 1) {
    for (const workload of workloads) {
      for (const candidate of candidates) {
        const turn = drive(candidate, workload, round === 0 ? warmUp : seconds)
        const result = await attempt(`${candidate.name}, ${workload.name}`, turn)
        const list = results.get(workload).get(candidate) ?? []
        if (round > 0) list.push(result)
        results.get(workload).set(candidate, list)
      }
    }
  }
  return (candidate, workload, field) =>
    results
      .get(workload)
      .get(candidate)
      .map((result) => result?.[field] ?? NaN)
}

/** The result of a turn, or null if it failed. */
export async function attempt(name, turn) {
  try {
    return await turn
  } catch (error) {
    console.error(`${name}: ${String(error.stderr || error.message).trim()}`)
    return null
  }
}

/** The median of the ratios of two candidates, round by round. */
export function medianRatio(values, bases) {
  return median(values.map((value, round) => value / bases[round]))
}

/** A number with so many decimals; '–' if it could not be measured. */
export function show(number, decimals = 1) {
  return Number.isFinite(number) ? number.toFixed(decimals) : '–'
}

/** Prints the title of a table. */
export function printTitle(text, { markdown = false } = {}) {
  console.log(`\n${markdown ? '### ' : ''}${text}\n`)
}

/**
 * Prints rows of cells under a heading. Numbers are right-aligned.
 *
 * @param {string[]} heading
 * @param {string[][]} rows
 */
export function printTable(heading, rows, { markdown = false } = {}) {
  const widths = heading.map((cell, i) =>
    Math.max(cell.length, ...rows.map((row) => row[i].length)),
  )
  const numeric = heading.map(
    (_, i) => i > 0 && rows.every((row) => /^[-–<]|^\d/.test(row[i]) || row[i] === ''),
  )
  const line = (cells) => {
    const padded = cells.map((cell, i) =>
      numeric[i] ? cell.padStart(widths[i]) : cell.padEnd(widths[i]),
    )
    return markdown ? `| ${padded.join(' | ')} |` : padded.join('  ').trimEnd()
  }
  const rule = widths.map((width, i) =>
    markdown && numeric[i] ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width),
  )
  console.log([line(heading), line(rule), ...rows.map(line)].join('\n'))
}
