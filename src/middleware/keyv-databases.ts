/**
 * How KeyvStore reaches a database. Keyv itself has get, set and delete only: between a look and a
 * write another process could end the session. So the adapters of Redis, PostgreSQL and SQLite are
 * asked for one atomic command; their client and `query` are public.
 */

/** The part of Keyv that is used. Not Keyv's own type, so that Portico's types do not need keyv. */
export interface KeyvLike {
  get(key: string): Promise<unknown>
  set(key: string, value: unknown, ttl?: number): Promise<unknown>
  delete(key: string): Promise<unknown>
  readonly store?: unknown
  readonly namespace?: string | undefined
}

/** Digits of a time in milliseconds: enough for the next 30,000 years. */
export const TIME_DIGITS = 15

/** Values are texts that begin with the time of expiry; `now` has the same form. */
export interface Database {
  get(this: void, key: string): Promise<string | undefined>
  set(this: void, key: string, value: string, ttl: number): Promise<unknown>
  /** Replaces a value that is there and has not expired; resolves to whether it was. */
  replace(this: void, key: string, value: string, ttl: number, now: string): Promise<boolean>
  /** Removes a value; resolves to whether it was there and had not expired. */
  remove(this: void, key: string, now: string): Promise<boolean>
  /** Absent where the database removes expired values. */
  purge?(this: void, prefix: string, now: string): Promise<unknown>
}

export function databaseOf(keyv: KeyvLike): Database {
  const store = Object(keyv.store) as Partial<RedisAdapter & SqlAdapter>
  if (typeof store.getClient === 'function') return redis(store as RedisAdapter)
  const { dialect, table = 'keyv', schema = 'public' } = store.opts ?? {}
  if (typeof store.query === 'function') {
    const adapter = store as SqlAdapter
    if (dialect === 'postgres') {
      const run: Query = (sql, values) => adapter.query(sql, values)
      return sqlDatabase(run, `${schema}.${table}`, (at) => `$${at}`, ' COLLATE "C"')
    }
    if (dialect === 'sqlite') {
      const run: Query = (sql, values) => adapter.query(sql, ...values)
      return sqlDatabase(run, table, (at) => `?${at}`, '')
    }
  }
  return withMarks(keyv)
}

/** @keyv/redis, for Redis and Valkey. */
interface RedisAdapter {
  getClient(): Promise<{
    get(key: string): Promise<string | null>
    set(key: string, value: string, options: { PX: number; XX?: true }): Promise<string | null>
    /** GETDEL, of Redis 6.2 (2021). */
    getDel(key: string): Promise<string | null>
  }>
}

/** Redis removes a value when its time is over. */
function redis(adapter: RedisAdapter): Database {
  return {
    async get(key) {
      return (await (await adapter.getClient()).get(key)) ?? undefined
    },
    async set(key, value, ttl) {
      await (await adapter.getClient()).set(key, value, { PX: ttl })
    },
    async replace(key, value, ttl) {
      return (await (await adapter.getClient()).set(key, value, { PX: ttl, XX: true })) !== null
    },
    async remove(key, now) {
      const value = await (await adapter.getClient()).getDel(key)
      return value !== null && value > now
    },
  }
}

/** @keyv/postgres and @keyv/sqlite, which make a table with the columns `key` and `value`. */
interface SqlAdapter {
  readonly opts: {
    readonly dialect?: string
    readonly table?: string
    readonly schema?: string
  }
  query(sql: string, ...values: unknown[]): Promise<readonly { readonly value: string }[]>
}

type Query = (sql: string, values: unknown[]) => Promise<readonly { readonly value: string }[]>

/**
 * @param parameter writes the parameter of a number, beginning with 1.
 * @param collation makes the database compare bytes, which is the order of the times.
 */
function sqlDatabase(
  query: Query,
  table: string,
  parameter: (at: number) => string,
  collation: string,
): Database {
  const [one, two, three] = [parameter(1), parameter(2), parameter(3)]
  return {
    async get(key) {
      const [row] = await query(`SELECT value FROM ${table} WHERE key = ${one}`, [key])
      return row?.value
    },
    set: (key, value) =>
      query(
        `INSERT INTO ${table} (key, value) VALUES (${one}, ${two}) ` +
          'ON CONFLICT (key) DO UPDATE SET value = excluded.value',
        [key, value],
      ),
    async replace(key, value, _ttl, now) {
      const sql =
        `UPDATE ${table} SET value = ${two} WHERE key = ${one} ` +
        `AND value${collation} > ${three} RETURNING value`
      return (await query(sql, [key, value, now])).length > 0
    },
    async remove(key, now) {
      const sql = `DELETE FROM ${table} WHERE key = ${one} RETURNING value`
      const [row] = await query(sql, [key])
      return row !== undefined && row.value > now
    },
    purge: (prefix, now) =>
      query(`DELETE FROM ${table} WHERE key LIKE ${one} AND value${collation} < ${two}`, [
        `${prefix.replaceAll(/[%_\\]/g, '_')}%`,
        now,
      ]),
  }
}

/**
 * Milliseconds that a mark outlives the session: for clocks of several machines that differ, and for
 * a request that runs while the cookie expires.
 */
const MARGIN = 60 * 60 * 1000

/**
 * Any other adapter. `remove` writes a mark before it removes the value, and `replace` looks for the
 * mark after it has written: of the two, the later one sees the other. `get` looks for the mark as
 * well, so that a value that a killed process has left stays invisible.
 */
function withMarks(keyv: KeyvLike): Database {
  /** Of two requests to this process, one ends a session. */
  const removing = new Set<string>()
  const read = async (key: string) => {
    const value = await keyv.get(key)
    return typeof value === 'string' ? value : undefined
  }
  const write = async (key: string, value: string, ttl: number) => {
    // Keyv resolves to false, and emits 'error', if the adapter has failed.
    if ((await keyv.set(key, value, ttl)) === false) {
      throw new Error('KeyvStore: the database did not take a session')
    }
  }
  const get = async (key: string) => {
    const value = await read(key)
    return value === undefined || (await read(markOf(key))) !== undefined ? undefined : value
  }
  const mark = async (key: string, until: string) => {
    const expires = Number(until.slice(0, TIME_DIGITS))
    await write(markOf(key), 'ended', Math.max(expires - Date.now(), 0) + MARGIN)
  }
  return {
    get,
    set: write,
    async replace(key, value, ttl, now) {
      const before = await get(key)
      if (before === undefined || before <= now) return false
      await write(key, value, ttl)
      if ((await read(markOf(key))) === undefined) return true
      await keyv.delete(key)
      return false
    },
    async remove(key, now) {
      if (removing.has(key)) return false
      removing.add(key)
      try {
        const before = await get(key)
        if (before === undefined) return false
        await mark(key, before)
        // A request that wrote before it could see the mark may have prolonged the session.
        const after = await read(key)
        if (after !== undefined && after > before) await mark(key, after)
        await keyv.delete(key)
        return before > now
      } finally {
        removing.delete(key)
      }
    },
  }
}

function markOf(key: string): string {
  return `${key}:ended`
}
