/** The interface of session stores, and the store in memory. */
import { isInteger, refuse } from '../options/values.ts'
import type { MaybePromise } from '../types.ts'

/**
 * A store of sessions. Every method may return a promise; the response waits for it. `data` is JSON,
 * `expires` is in milliseconds since 1970.
 *
 * A request may still be running when another one ends its session. So that its late save does not
 * bring the session back, `update` must not create one, and `remove` reports whether there was one.
 * Both have to be atomic: of two requests at the same time only one may remove a session.
 */
export interface SessionStore {
  /** Returns what was saved last under `id`; undefined if there is nothing, or it has expired. */
  load(id: string): MaybePromise<string | undefined>
  /** Creates the session `id`, or replaces it. */
  save(id: string, data: string, expires: number): MaybePromise<unknown>
  /**
   * Replaces the session `id` if it exists and has not expired, and returns whether it does. Without
   * this method, `load` is called before each `save`, and a removal between the two is undone.
   */
  update?(id: string, data: string, expires: number): MaybePromise<boolean>
  /** Removes the session `id`. Returns false if it did not exist; undefined counts as true. */
  remove(id: string): MaybePromise<boolean | void>
}

/** Room for the sessions of a small site: about 10 MiB with 1 KiB each. */
const MAX_SESSIONS = 10_000

/**
 * Keeps sessions in the memory of this process: for one process that serves many requests, so not
 * for CGI, and not for several workers.
 *
 * When it is full, it drops the session that was saved longest ago, first among those that never
 * came back with a second request.
 */
export class MemoryStore implements SessionStore {
  readonly #max: number
  /** Sessions that were never loaded. A client without cookies leaves one with each request. */
  readonly #fresh = new Map<string, StoredSession>()
  readonly #known = new Map<string, StoredSession>()

  /**
   * @param max the largest number of sessions. Default: 10,000.
   * @throws {ConfigurationError} unless `max` is a whole number, 1 or more.
   */
  constructor(max = MAX_SESSIONS) {
    if (!isInteger(max, 1)) refuse('MemoryStore', 'max', max, 'a whole number, 1 or more')
    this.#max = max
  }

  /** The number of sessions, including expired ones that have not been removed yet. */
  get size(): number {
    return this.#fresh.size + this.#known.size
  }

  load(id: string): string | undefined {
    const session = this.#find(id)
    if (session === undefined) return undefined
    if (this.#fresh.delete(id)) this.#known.set(id, session)
    return session.data
  }

  save(id: string, data: string, expires: number): void {
    const sessions = this.#known.has(id) ? this.#known : this.#fresh
    // Deleted first, so that the order of the Map is the order of saving.
    sessions.delete(id)
    sessions.set(id, { data, expires })
    if (this.size > this.#max) this.#delete(oldestBut(id, this.#fresh, this.#known))
  }

  update(id: string, data: string, expires: number): boolean {
    if (this.#find(id) === undefined) return false
    this.save(id, data, expires)
    return true
  }

  remove(id: string): boolean {
    const alive = this.#find(id) !== undefined
    this.#delete(id)
    return alive
  }

  #find(id: string): StoredSession | undefined {
    const session = this.#fresh.get(id) ?? this.#known.get(id)
    if (session === undefined || session.expires > Date.now()) return session
    this.#delete(id)
  }

  #delete(id: string): void {
    if (!this.#fresh.delete(id)) this.#known.delete(id)
  }
}

/** The first key of the maps other than `id`. One exists, because there is room for at least one session. */
function oldestBut(id: string, ...maps: ReadonlyMap<string, unknown>[]): string {
  for (const map of maps) {
    for (const key of map.keys()) if (key !== id) return key
  }
  return id
}

interface StoredSession {
  readonly data: string
  readonly expires: number
}
