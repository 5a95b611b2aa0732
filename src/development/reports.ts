/**
 * What the child reports to its parent: the files that it loads, and what becomes of the application.
 * It writes each report to a pipe, one line of JSON, before it goes on. So the parent knows of a file
 * whose code then blocks the process; the IPC channel would send it when the event loop runs.
 */
import { writeSync } from 'node:fs'
import type { FromChild } from './messages.ts'

/** With WATCH_REPORT_DEPENDENCIES, Node reports paths, URLs, and nothing for a module without a file. */
type Report = Readonly<Partial<Record<'watch:require' | 'watch:import', readonly unknown[]>>>

/** Writes to the descriptor of the pipe. A parent that has ended needs no reports. */
export function reportTo(fd: number): (message: FromChild) => void {
  return (message) => {
    try {
      writeSync(fd, `${JSON.stringify(message)}\n`)
    } catch {
      // EPIPE
    }
  }
}

/**
 * Replaces `process.send` by a function that reports the files that Node sends there, and sends
 * everything else. Node sends a message for each `require` and `import`, even of a file that is
 * loaded already: an application with Express sends 400 of them. So each file is reported once.
 */
export function reportFiles(report: (message: FromChild) => void): void {
  const send = process.send?.bind(process) as ((...args: unknown[]) => boolean) | undefined
  if (send === undefined) return
  const known = new Set<string>()
  process.send = (...args: unknown[]): boolean => {
    const files = filesIn(args[0])
    if (files === undefined) return send(...args)
    const loads = files.filter((file) => !known.has(file))
    if (loads.length === 0) return true
    for (const file of loads) known.add(file)
    report({ portico: 'loads', files: loads })
    return true
  }
}

/** The paths and URLs in a message of Node's; undefined for another message. */
function filesIn(message: unknown): readonly string[] | undefined {
  if (typeof message !== 'object' || message === null) return undefined
  const report = message as Report
  const files = report['watch:require'] ?? report['watch:import']
  return files?.filter((each) => typeof each === 'string')
}

/** Splits what a child writes to the pipe into its messages. */
export function reportsFrom(take: (message: FromChild) => void): (text: string) => void {
  let rest = ''
  return (text) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop()!
    for (const line of lines) take(JSON.parse(line) as FromChild)
  }
}
