/** The log of `portico serve` as JSON: each line is one object with `time`, `level` and `message`. */
import type { Readable } from 'node:stream'
import { formLog, writeLog, type Level } from './log.ts'
import { asJsonLine } from './text.ts'

/** Which process an entry is about: its pid. */
export type Origin = { readonly master: number } | { readonly worker: number }

/** Characters of a line that has not ended after which it is logged as it is. */
const MAX_LINE = 65_536

/** One entry as a line. `time` is that of RFC 3339, in UTC. */
export function jsonEntry(
  message: string,
  level: Level,
  origin: Origin,
  more: Readonly<Record<string, unknown>> = {},
): string {
  const time = new Date().toISOString()
  return asJsonLine({ time, level, message: message.trimEnd(), ...origin, ...more })
}

/** From now on, all entries of this process are JSON, and so are the warnings of Node. */
export function logAsJson(origin: Origin): void {
  formLog((text, level) => jsonEntry(text, level, origin, requestOf(text)))
  process.removeAllListeners('warning')
  process.on('warning', ({ stack, name, message }) =>
    writeLog(jsonEntry(stack ?? `${name}: ${message}`, 'warn', origin)),
  )
}

/** What `requestName` has put before the text. */
function requestOf(text: string): { method?: string; path?: string } {
  const [, method, path] = /^([A-Z][A-Z-]*) (\/[^\n]*?): /.exec(text) ?? []
  return method === undefined || path === undefined ? {} : { method, path }
}

/**
 * Logs what a worker writes to its stderr, the application's own lines included. A line that is a
 * JSON object stays as it is. Indented lines, such as those of a stack, belong to the line before.
 */
export function forwardLog(stderr: Readable, worker: number): void {
  let rest = ''
  stderr.setEncoding('utf8')
  stderr.on('data', (text: string) => {
    const end = (rest + text).lastIndexOf('\n') + 1
    const all = rest + text
    writeLog(entriesOf(all.slice(0, end), worker))
    rest = all.slice(end)
    if (rest.length <= MAX_LINE) return
    writeLog(entriesOf(rest, worker))
    rest = ''
  })
  stderr.on('end', () => writeLog(entriesOf(rest, worker)))
  stderr.on('error', () => {}) // 'close' follows.
}

function entriesOf(text: string, worker: number): string {
  let entries = ''
  // A line that is not indented begins an entry; the last line of an inspected object belongs to it.
  for (const entry of text.split(/\n(?![ \t]|[\]})]+,?(?:\n|$))/)) {
    if (entry.trim() === '') continue
    entries += isObject(entry) ? `${entry.trim()}\n` : jsonEntry(entry, 'warn', { worker })
  }
  return entries
}

function isObject(text: string): boolean {
  if (!text.startsWith('{') || text.includes('\n')) return false
  try {
    return typeof JSON.parse(text) === 'object'
  } catch {
    return false
  }
}

/** A line of `accessLog()` in the format 'json' as an entry. */
export function accessEntry(line: string, worker: number): string {
  const { time, ...request } = JSON.parse(line) as Readonly<Record<string, unknown>>
  const { method, target, status } = request as Readonly<Record<string, string | number>>
  return asJsonLine({
    time,
    level: 'info',
    message: `${method} ${target} ${status}`,
    worker,
    ...request,
  })
}
