/**
 * Bodies that are not closed yet. One that a gateway forgets is found at a later request, when it is
 * garbage-collected, or when the process exits.
 */
import type { Warn } from './report.ts'

export interface OpenBody {
  /** Names the request in a warning. */
  readonly request: string
  /** Takes warnings during the request. */
  readonly warn: Warn
  /** Takes warnings when the request may be over. */
  readonly warnLate: Warn
  /** Called when the body is closed, or does not exist. */
  readonly onRelease: () => void
  /** When the body ended, in milliseconds of `performance.now()`. */
  endedAt?: number
}

/**
 * A gateway may close a body after a slow client has taken the last byte, so a request that comes
 * earlier proves nothing.
 */
export const CLOSE_GRACE_MS = 1000

const open = new Set<OpenBody>()

const collected = new FinalizationRegistry<OpenBody>((body) => {
  body.warnLate(
    `gateway: the body of ${body.request} was garbage-collected; the gateway must close it first`,
  )
  release(body)
})

let watchesExit = false

/// ## The gateway's duties
/// - *Warning:* the process exits before a body is closed. Either `process.exit` was called too early,
///   or a promise never settles and nothing else keeps the process alive.
export function track(body: OpenBody): void {
  open.add(body)
  if (watchesExit) return
  watchesExit = true
  process.on('exit', () => {
    for (const left of open) {
      left.warn(`the process exits before the response to ${left.request} is complete`)
    }
  })
}

/** Watches for the body to be garbage-collected before it is closed. */
export function watch(holder: object, body: OpenBody): void {
  collected.register(holder, body, body)
}

/** Forgets a body that was closed, or that will not be there. */
export function release(body: OpenBody): void {
  if (!open.delete(body)) return
  collected.unregister(body)
  body.onRelease()
}

/** Called for each request: warns of bodies that ended a while ago. */
export function warnOfUnclosed(): void {
  const now = performance.now()
  for (const body of open) {
    if (body.endedAt === undefined || now - body.endedAt < CLOSE_GRACE_MS) continue
    body.warnLate(
      `gateway: the body of ${body.request} ended, but was not closed; the gateway must close it`,
    )
    release(body)
  }
}
