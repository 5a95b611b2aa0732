/**
 * What the benchmarks share: a clean environment, options, statistics and tables. Seen from whoever
 * measures.
 *
 * A machine has other absolute numbers every minute. So the candidates take turns (each of them
 * once, then the next round), a median over the rounds is printed, and what counts is the ratio to
 * a candidate that was measured in the same rounds.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

/** The folder of the package. */
export const root = resolve(import.meta.dirname, '..')

/**
 * The environment for every process that is measured. NODE_EXTRA_CA_CERTS alone costs a start of
 * Node 33 ms; NODE_OPTIONS can cost anything.
 */
export function cleanEnvironment() {
  const environment = { ...process.env }
  delete environment.NODE_EXTRA_CA_CERTS
  delete environment.NODE_OPTIONS
  return environment
}

/**
 * The values of the command line's options, of the types of their defaults. `--markdown` and
 * `--help` are there for every benchmark.
 *
 * @param {string} description shown by `--help`
 * @param {Record<string, [fallback: number | string | boolean, help: string]>} table
 */
export function readOptions(description, table) {
  const all = {
    ...table,
    markdown: [false, 'print tables in Markdown'],
    help: [false, 'print this and end'],
  }
  const options = {}
  for (const [name, [fallback]] of Object.entries(all)) {
    options[name] = { type: typeof fallback === 'boolean' ? 'boolean' : 'string' }
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

/** A new folder below the system's temporary one, removed when the process ends. */
export function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'portico-bench-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Debian keeps servers in /usr/sbin, which an ordinary user's PATH leaves out. */
const searchPath = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']

/** The path of the first of these programs that is installed; undefined if none is. */
export function findProgram(...names) {
  for (const name of names) {
    const folder = searchPath.find((each) => existsSync(join(each, name)))
    if (folder) return join(folder, name)
  }
  return undefined
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
  const place = (sorted.length - 1) * fraction
  const low = sorted[Math.floor(place)]
  return low + (sorted[Math.ceil(place)] - low) * (place % 1)
}

/** A number with so many decimals; '–' for one that could not be measured. */
export function show(number, decimals = 1) {
  return Number.isFinite(number) ? number.toFixed(decimals) : '–'
}

/**
 * Prints rows of cells under a heading; numbers are right-aligned.
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
