/**
 * The bodies that have not been closed yet. A gateway that forgets one shows itself only later: at
 * the next request, when the body is garbage, or when the process ends.
 */
import type { Warn } from './report.ts'

export interface OpenBody {
  /** The request, as it is named in a warning. */
  readonly request: string
  /** For while the request lasts. */
  readonly warn: Warn
  /** For when it may be over. */
  readonly warnLate: Warn
  /** Called when the body is closed, or there will be none. */
  readonly onRelease: () => void
  /** When the body gave its last chunk, in ms of the process's clock. */
  endedAt?: number
}

/**
 * A gateway may close after the last byte has left, and a slow client takes its time; a second
 * request that comes earlier proves nothing.
 */
export const CLOSE_GRACE_MS = 1000

const open = new Set<OpenBody>()

const collected = new FinalizationRegistry<OpenBody>((body) => {
  body.warnLate(`gateway: the body of ${body.request} became garbage; it must be closed before`)
  release(body)
})

let watchesExit = false

/// ## The gateway's duties
/// - *Warning:* the process ends before the body is closed: `process.exit` was called too early, or
///   a promise is never kept and there is nothing left to wait for.
export function track(body: OpenBody): void {
  open.add(body)
  if (watchesExit) return
  watchesExit = true
  process.on('exit', () => {
    for (const left of open) {
      left.warn(`the process must not end before ${left.request} is answered; it just does`)
    }
  })
}

/** The body is there: from now on somebody may lose it. */
export function watch(holder: object, body: OpenBody): void {
  collected.register(holder, body, body)
}

/** The body was closed, or there will be none. */
export function release(body: OpenBody): void {
  if (!open.delete(body)) return
  collected.unregister(body)
  body.onRelease()
}

/** Called for each request: what ended a while ago should have been closed by now. */
export function warnOfUnclosed(): void {
  const now = performance.now()
  for (const body of open) {
    if (body.endedAt === undefined || now - body.endedAt < CLOSE_GRACE_MS) continue
    body.warnLate(
      `gateway: the body of ${body.request} ended, but was not closed; it must be, once`,
    )
    release(body)
  }
}
