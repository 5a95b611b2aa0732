/** Sessions in a database that several machines share: Redis, Valkey, PostgreSQL, SQLite and others. */
import { createHash } from 'node:crypto'
import { ConfigurationError } from '../errors.ts'
import { checkNames } from '../options/names.ts'
import { MAX_TIME } from '../options/row.ts'
import { isInteger, refuse } from '../options/values.ts'
import { databaseOf, TIME_DIGITS, type Database, type KeyvLike } from './keyv-databases.ts'
import { PURGE_EVERY } from '../leftovers.ts'
import type { SessionStore } from './session-store.ts'

/** Milliseconds: a database that needs longer for one row is gone, though its client may wait for it. */
const TIMEOUT = 10_000

/** Options of KeyvStore. */
export interface KeyvStoreOptions {
  /** Milliseconds for one command of the database. Default: 10,000. */
  readonly timeout?: number | undefined
}

/**
 * Keeps sessions in a Keyv instance: for a fleet of machines, and for CGI.
 *
 * - With @keyv/redis (Redis, Valkey), @keyv/postgres and @keyv/sqlite, each method is one command of
 *   the database: `SET … XX`, `UPDATE` and `DELETE` change a session only if it is still there, so
 *   that a session that was ended never comes back, and only one of two requests ends it.
 * - With every other adapter, a mark of the session's end is kept for as long as a cookie with its
 *   id is valid. A session that was ended does not come back, but of two processes that end it at the
 *   same time, both may succeed.
 *
 * Keys are `NAMESPACE:session:HASH`: who can read the database learns no session id.
 *
 * @example
 * import { Keyv } from 'keyv'
 * import KeyvRedis from '@keyv/redis'
 * import { KeyvStore, session } from 'portico/middleware'
 *
 * const keyv = new Keyv({ store: new KeyvRedis('redis://localhost:6379'), namespace: 'shop' })
 * const application = session(app, { secret, store: new KeyvStore(keyv) })
 */
export class KeyvStore implements SessionStore {
  readonly #database: Database
  readonly #prefix: string
  readonly #timeout: number
  #saves = 0

  /**
   * @param keyv a Keyv instance (version 5 or later). Listen to its 'error' events; an error of the
   *   database also rejects the method, and the response is a 500.
   * @param options `timeout`: milliseconds for one command of the database. Default: 10,000.
   * @throws {ConfigurationError} if it is something else, and for a wrong option.
   */
  constructor(keyv: KeyvLike, options: KeyvStoreOptions = {}) {
    checkNames('KeyvStore', options, ['timeout'])
    const { timeout = TIMEOUT } = options
    if (!isInteger(timeout, 1, MAX_TIME)) {
      refuse('KeyvStore', 'timeout', timeout, `milliseconds, from 1 to ${MAX_TIME}`)
    }
    this.#timeout = timeout
    const methods = Object(keyv) as Readonly<Record<string, unknown>>
    if (!['get', 'set', 'delete'].every((name) => typeof methods[name] === 'function')) {
      throw new ConfigurationError(
        'KeyvStore: the argument must be a Keyv instance: new KeyvStore(new Keyv(…))',
      )
    }
    this.#database = databaseOf(keyv)
    this.#prefix = `${keyv.namespace ?? 'keyv'}:session:`
  }

  async load(id: string): Promise<string | undefined> {
    const value = await this.#inTime(this.#database.get(this.#keyOf(id)))
    return value !== undefined && timeOf(value) > Date.now() ? value.slice(TIME_DIGITS) : undefined
  }

  async save(id: string, data: string, expires: number): Promise<void> {
    const value = valueOf(data, expires)
    await this.#inTime(this.#database.set(this.#keyOf(id), value, ttlOf(expires)))
    this.#saves += 1
    if (this.#saves % PURGE_EVERY === 0) await this.purge()
  }

  async update(id: string, data: string, expires: number): Promise<boolean> {
    const value = valueOf(data, expires)
    const ttl = ttlOf(expires)
    return this.#inTime(this.#database.replace(this.#keyOf(id), value, ttl, now()))
  }

  async remove(id: string): Promise<boolean> {
    return this.#inTime(this.#database.remove(this.#keyOf(id), now()))
  }

  /** Removes expired sessions from a database that does not do that itself. */
  async purge(): Promise<void> {
    await this.#database.purge?.(this.#prefix, now())
  }

  /** Rejects if the database takes longer than `timeout`. */
  async #inTime<T>(command: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      const message = `KeyvStore: the database did not respond within ${this.#timeout} ms`
      timer = setTimeout(() => reject(new Error(message)), this.#timeout)
    })
    try {
      return await Promise.race([command, late])
    } finally {
      clearTimeout(timer)
    }
  }

  #keyOf(id: string): string {
    return this.#prefix + createHash('sha256').update(id).digest('base64url')
  }
}

/** The time of expiry comes first, with a fixed width, so that SQL can compare it. */
function valueOf(data: string, expires: number): string {
  return digits(expires) + data
}

function timeOf(value: string): number {
  return Number(value.slice(0, TIME_DIGITS))
}

function digits(time: number): string {
  return String(Math.round(time)).padStart(TIME_DIGITS, '0')
}

function now(): string {
  return digits(Date.now())
}

function ttlOf(expires: number): number {
  return Math.max(1, Math.round(expires - Date.now()))
}
