/**
 * The files that Node loads. With WATCH_REPORT_DEPENDENCIES, Node sends the parent a message for each
 * `require` and `import`, even of a file that is loaded already. An application with Express sends
 * 400 of them, which takes longer than the rest of Portico's part of a start. So each file is sent
 * once, and many of them together.
 */

/** Milliseconds for which reports wait for more; a process that is killed loses these. */
const COLLECT_TIME = 50

/** A message of Node's: paths, URLs, and null for a module without a file. */
type Report = Readonly<
  Partial<Record<'watch:require' | 'watch:import', readonly (string | null)[]>>
>

/** The paths and URLs in a message of the child; none if it is another message. */
export function filesIn(message: unknown): readonly string[] | undefined {
  if (typeof message !== 'object' || message === null) return undefined
  const report = message as Report
  const files = report['watch:require'] ?? report['watch:import']
  return files?.filter((each) => each !== null)
}

/** Replaces `process.send` by a function that collects reports, and sends everything else. */
export function collectReports(): void {
  const send = process.send?.bind(process) as ((...args: unknown[]) => boolean) | undefined
  if (send === undefined) return
  const known = new Set<string>()
  let waiting: string[] = []
  let since = 0
  const flush = (): void => {
    if (waiting.length === 0) return
    const report: Report = { 'watch:require': waiting }
    waiting = []
    if (process.connected) send(report)
  }
  process.send = (...args: unknown[]): boolean => {
    const files = filesIn(args[0])
    if (files === undefined) {
      flush() // The parent needs the files before the message that they are loaded.
      return send(...args)
    }
    const now = Date.now()
    for (const file of files) {
      if (known.has(file)) continue
      known.add(file)
      if (waiting.push(file) > 1) continue
      since = now
      setTimeout(flush, COLLECT_TIME).unref()
    }
    // No timer runs while files load.
    if (now - since > COLLECT_TIME) flush()
    return true
  }
  process.once('exit', flush)
}
