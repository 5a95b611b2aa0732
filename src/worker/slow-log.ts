/** Logs requests that take longer than `slow`, when the limit passes. */
import { writeLog } from '../log.ts'
import type { HeldRequest } from '../server/held-request.ts'

/** How often the requests are looked at, in milliseconds, or a quarter of the limit. */
const LOOK_TIME = 100

/** A line of the log: one JSON object. */
interface SlowLine {
  readonly time: string
  readonly level: 'warn'
  readonly message: 'slow request'
  /** The pid of the worker. */
  readonly worker: number
  /** Which request of this worker's slow ones it is. */
  readonly id: number
  readonly method: string
  readonly path: string
  readonly ms: number
  /** A blocked main thread is 'running JavaScript'; the watchdog adds its `stack` then. */
  readonly state: string
}

/** When a request was first seen, and whether it is in the log. */
interface Seen {
  readonly since: number
  logged: boolean
}

export class SlowLog {
  /** How many requests were logged. */
  count = 0
  readonly #limit: number
  readonly #held: () => Iterable<HeldRequest>
  #seen: Map<object, Seen> = new Map()
  readonly #timer: NodeJS.Timeout | undefined

  /** @param limit in milliseconds; 0 for no log. */
  constructor(limit: number, held: () => Iterable<HeldRequest>) {
    this.#limit = limit
    this.#held = held
    if (limit === 0) return
    this.#timer = setInterval(() => this.#look(), Math.min(LOOK_TIME, limit / 4))
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    const seen = new Map<object, Seen>()
    const now = performance.now()
    for (const request of this.#held()) {
      const entry = this.#seen.get(request.key) ?? { since: now, logged: false }
      seen.set(request.key, entry)
      if (entry.logged || now - entry.since < this.#limit) continue
      entry.logged = true
      writeLog(`${this.#line(request, now - entry.since, `waiting for ${request.waitsFor}`)}\n`)
    }
    this.#seen = seen
  }

  /**
   * The requests that the worker holds while its main thread is blocked, as lines for the log. Their
   * age is that of the block, unless they are older.
   */
  blocked(ms: number): string[] {
    const now = performance.now()
    const lines: string[] = []
    for (const request of this.#held()) {
      const entry = this.#seen.get(request.key) ?? { since: now - ms, logged: false }
      this.#seen.set(request.key, entry)
      if (entry.logged) continue
      entry.logged = true
      lines.push(this.#line(request, Math.max(ms, now - entry.since), 'running JavaScript'))
    }
    return lines
  }

  #line({ method, path }: HeldRequest, ms: number, state: string): string {
    this.count += 1
    const line: SlowLine = {
      time: new Date().toISOString(),
      level: 'warn',
      message: 'slow request',
      worker: process.pid,
      id: this.count,
      method,
      path,
      ms: Math.round(ms),
      state,
    }
    return JSON.stringify(line)
  }
}
