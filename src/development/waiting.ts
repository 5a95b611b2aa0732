/** Logs requests that have no response yet: the browser shows nothing either. */
import { logEntry } from '../log.ts'
import { heldBy, type HeldRequest } from '../server/held-request.ts'
import { escapeControl } from '../text.ts'

/** Milliseconds without a response until a request is logged: nearly all pages are faster. */
const PATIENCE = 10_000

/** Milliseconds between two looks at the requests. */
const LOOK_TIME = 1_000

/** Logs each request once, until the process ends. */
export function logWaiting(servers: Parameters<typeof heldBy>[0]): void {
  /** When each request was first seen; Infinity once it is logged. */
  let seen = new Map<object, number>()
  const look = (): void => {
    const now = performance.now()
    const held = new Map<object, number>()
    for (const request of heldBy(servers)) {
      if (request.responding) continue
      let since = seen.get(request.key) ?? now
      if (now - since >= PATIENCE) {
        logEntry(lineOf(request))
        since = Infinity
      }
      held.set(request.key, since)
    }
    seen = held
  }
  setInterval(look, LOOK_TIME).unref()
}

function lineOf({ method, path, waitsFor }: HeldRequest): string {
  const what = `${method} ${escapeControl(path)} has had no response for ${PATIENCE / 1000} s`
  return `${what}, and waits for ${waitsFor}`
}
