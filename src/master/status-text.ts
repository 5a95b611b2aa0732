/** `Status` as text for a terminal. */
import type { ProcessStatus, Status } from './status.ts'

/** The lines of `portico status`. */
export function statusText(status: Status): string[] {
  const { workers, totals, listeners, restarts } = status
  const blocked = workers.blocked > 0 ? `, ${workers.blocked} blocked` : ''
  const ends = Object.entries(restarts).map(([reason, count]) => `${reason}: ${count}`)
  return [
    `${status.file} is ${status.state} since ${status.since} (master ${status.pid}, ${mib(status.rssBytes)})`,
    ...listeners.map(({ gateway, url }) => `  ${gateway} on ${url}`),
    `workers      ${workers.ready} of ${workers.configured} ready${blocked}`,
    `requests     ${totals.requests}, ${totals.active} active, ${totals.slow} slow`,
    `connections  ${totals.connections}, ${totals.idle} idle`,
    `reloads      ${totals.reloads}`,
    `restarts     ${ends.length === 0 ? 'none' : ends.join(', ')}`,
    `limits       ${Object.entries(status.limits)
      .map(([name, value]) => `${name} ${showLimit(name, value)}`)
      .join(', ')}`,
    '',
    ...table(status.processes),
  ]
}

const COLUMNS: readonly (readonly [title: string, show: (each: ProcessStatus) => string])[] = [
  ['PID', ({ pid }) => String(pid)],
  ['STATE', describeState],
  ['REQUESTS', ({ requests }) => String(requests)],
  ['ACTIVE', ({ active }) => String(active)],
  ['IDLE', ({ idle }) => String(idle)],
  ['SLOW', ({ slow }) => String(slow)],
  ['RSS', ({ rssBytes }) => mib(rssBytes)],
  ['LOOP DELAY', ({ loopDelayMs }) => `${loopDelayMs} ms`],
  ['SINCE', ({ since }) => since],
]

function describeState({ state, silentMs }: ProcessStatus): string {
  return state === 'blocked' ? `blocked for ${(silentMs / 1000).toFixed(1)} s` : state
}

function table(processes: readonly ProcessStatus[]): string[] {
  const rows = [
    COLUMNS.map(([title]) => title),
    ...processes.map((each) => COLUMNS.map(([, show]) => show(each))),
  ]
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  )
}

/** The limits that are times. */
const TIMES = new Set(['blockTimeout', 'slow', 'shutdownTimeout', 'idleExit'])

/** '30 s', 'none' for no limit; a shutdown without a wait is '0 s'. */
function showLimit(name: string, value: number): string {
  if (value === 0 && name !== 'shutdownTimeout') return 'none'
  return TIMES.has(name) ? `${value / 1000} s` : String(value)
}

function mib(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(1)} MiB`
}
