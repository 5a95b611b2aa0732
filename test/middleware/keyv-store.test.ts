/** KeyvStore with a real Redis or Valkey, PostgreSQL and SQLite: alone, and with a fleet of workers. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { Keyv } from 'keyv'
import { Database } from 'node-sqlite3-wasm'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ConfigurationError } from '../../src/errors.ts'
import { KeyvStore } from '../../src/exports/middleware.ts'
import { httpClient, TestApp } from '../../src/exports/testing.ts'
import {
  type DatabaseServer,
  postgresProgram,
  redisProgram,
  startPostgres,
  startRedis,
} from '../servers/databases.ts'
import { installed } from '../servers/process.ts'
// @ts-expect-error A fixture without types.
import { storeOf } from '../fixtures/session-database.mjs'

const adapterOf = storeOf as (kind: string, address: string) => Promise<object>

/** What @keyv/sqlite makes of a file, over an SQLite that needs no compiler. */
function sqliteAdapter() {
  const database = new Database(':memory:')
  database.exec('CREATE TABLE keyv (key VARCHAR(255) PRIMARY KEY, value TEXT)')
  const query = (sql: string, ...values: string[]) => Promise.resolve(database.all(sql, values))
  return {
    opts: { dialect: 'sqlite', table: 'keyv' },
    query,
    get: async (key: string) => (await query('SELECT value FROM keyv WHERE key = ?', key))[0],
    set: () => Promise.resolve(),
    delete: () => Promise.resolve(false),
    clear: () => Promise.resolve(),
  }
}

interface Kind {
  readonly name: string
  /** The name, and what to install if the database is missing. */
  readonly title: string
  readonly available: boolean
  readonly start?: () => Promise<DatabaseServer>
}

function kindOf(name: string, program: string, start: () => Promise<DatabaseServer>): Kind {
  const { available, hint } = installed(program)
  return { name, title: name + hint, available, start }
}

const kinds: Kind[] = [
  kindOf('redis', redisProgram(), startRedis),
  kindOf('postgres', postgresProgram('postgres'), startPostgres),
  { name: 'sqlite', title: 'sqlite', available: true },
]

const later = () => Date.now() + 60_000

describe.each(kinds)('KeyvStore with $title', ({ name, available, start }) => {
  let server: DatabaseServer | undefined
  let keyv: Keyv
  let store: KeyvStore
  beforeAll(async () => {
    if (!available) return
    server = await start?.()
    const adapter = server ? await adapterOf(name, server.address) : sqliteAdapter()
    keyv = new Keyv({ store: adapter, namespace: 'shop' })
    store = new KeyvStore(keyv)
  }, 60_000)
  afterAll(async () => {
    await keyv?.disconnect()
    await server?.stop()
  })

  it.skipIf(!available)('keeps what was saved last, until it expires', async () => {
    expect(await store.load('a')).toBeUndefined()
    await store.save('a', '{"n":1}', later())
    await store.save('a', '{"n":"é"}', later())
    expect(await store.load('a')).toBe('{"n":"é"}')
    await store.save('b', '{}', Date.now() + 300)
    await expect.poll(() => store.load('b')).toBeUndefined()
    expect(await store.update('b', '{"n":2}', later())).toBe(false)
    expect(await store.remove('b')).toBe(false)
    expect(await store.load('b')).toBeUndefined()
  })

  it.skipIf(!available)('updates only a session that is there', async () => {
    expect(await store.update('c', '{}', later())).toBe(false)
    expect(await store.load('c')).toBeUndefined()
    await store.save('c', '{}', later())
    expect(await store.update('c', '{"n":1}', later())).toBe(true)
    expect(await store.load('c')).toBe('{"n":1}')
  })

  it.skipIf(!available)(
    'lets one of many requests end a session, and none bring it back',
    async () => {
      for (let round = 0; round < 20; round += 1) {
        const id = `d${round}`
        await store.save(id, '{}', later())
        const updates = Array.from({ length: 10 }, () => store.update(id, '{"late":true}', later()))
        const removals = Array.from({ length: 10 }, () => store.remove(id))
        const more = Array.from({ length: 10 }, () => store.update(id, '{"late":true}', later()))
        const removed = await Promise.all(removals)
        await Promise.all([...updates, ...more])
        expect(removed.filter(Boolean)).toHaveLength(1)
        expect(await store.load(id)).toBeUndefined()
      }
    },
  )

  it.skipIf(!available)('removes expired sessions, and nothing else', async () => {
    await store.save('old', '{}', Date.now() - 1000)
    await store.save('new', '{}', later())
    await store.purge()
    expect(await store.load('new')).toBe('{}')
    expect(await store.remove('old')).toBe(false)
  })
})

// Not over @keyv/postgres 2.2, whose pool has no listener for the error of an idle connection.
describe.each(kinds.filter(({ name }) => name === 'redis'))(
  'KeyvStore with $title',
  ({ name, available, start }) => {
    it.skipIf(!available)('rejects when the database is gone', async () => {
      const own = await start!()
      const other = new Keyv({ store: await adapterOf(name, own.address), namespace: 'x' })
      other.on('error', () => {})
      await new KeyvStore(other).save('a', '{}', later())
      await own.stop()
      const gone = new KeyvStore(other, { timeout: 500 })
      await expect(gone.save('a', '{}', later())).rejects.toThrow()
      await expect(gone.load('a')).rejects.toThrow()
    })
  },
)

it.each([undefined, {}, 'redis://localhost'])('KeyvStore refuses %s', (value) => {
  expect(() => new KeyvStore(value as unknown as Keyv)).toThrow(ConfigurationError)
})

it.each([0, 1.5, 2 ** 31, Infinity])('KeyvStore refuses the timeout %d', (timeout) => {
  expect(() => new KeyvStore(new Keyv(), { timeout })).toThrow(
    `KeyvStore: timeout must be milliseconds, from 1 to 2147483647 (got ${timeout})`,
  )
})

describe('KeyvStore over an adapter without atomic commands', () => {
  it('does not show what a killed process wrote after the session was ended', async () => {
    const keyv = new Keyv()
    const store = new KeyvStore(keyv)
    await store.save('a', '{}', later())
    const [key] = [...(keyv.store as Map<string, string>).keys()]
    const written = (keyv.store as Map<string, string>).get(key!)!
    await store.remove('a')
    ;(keyv.store as Map<string, string>).set(key!, written)
    expect(await store.load('a')).toBeUndefined()
    expect(await store.update('a', '{}', later())).toBe(false)
  })

  it('keeps the mark for longer than the session that an update has prolonged', async () => {
    const keyv = new Keyv()
    const store = new KeyvStore(keyv)
    const long = Date.now() + 10 * 60 * 60 * 1000
    await store.save('a', '{}', later())
    const removal = store.remove('a')
    await store.save('a', '{}', long)
    await removal
    const marks = [...(keyv.store as Map<string, string>)].filter(([key]) => key.endsWith(':ended'))
    expect(marks).toHaveLength(1)
    expect((JSON.parse(marks[0]![1]) as { expires: number }).expires).toBeGreaterThan(long)
  })

  it('fails if the adapter does not take a session', async () => {
    const keyv = new Keyv({
      store: {
        get() {},
        set: () => Promise.reject(new Error('full')),
        delete() {},
        clear() {},
      },
    })
    keyv.on('error', () => {})
    await expect(new KeyvStore(keyv).save('a', '{}', later())).rejects.toThrow('did not take')
  })
})

/** Two workers in a process group of their own, as on one machine. */
class Host {
  readonly ports: number[] = []
  readonly #workers: ChildProcess
  readonly #ended: Promise<unknown>

  constructor(kind: string, address: string) {
    const worker = `"$NODE" test/fixtures/session-worker.mjs ${kind} '${address}'`
    this.#workers = spawn('sh', ['-c', `${worker} & ${worker} & wait`], {
      detached: true,
      env: { ...process.env, NODE: process.execPath },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#ended = once(this.#workers, 'close')
  }

  async start(): Promise<this> {
    for await (const line of createInterface({ input: this.#workers.stdout! })) {
      this.ports.push(Number(line))
      if (this.ports.length === 2) break
    }
    return this
  }

  /** As if the machine had lost its power. */
  async kill(): Promise<void> {
    if (this.#workers.exitCode !== null || this.#workers.signalCode !== null) return
    process.kill(-this.#workers.pid!, 'SIGKILL')
    await this.#ended
  }
}

const SESSIONS = 30

describe.each(kinds.filter(({ start }) => start))(
  'a fleet over $title',
  ({ name, available, start }) => {
    it.skipIf(!available)(
      'loses no session when one of two hosts with two workers each is killed',
      { timeout: 90_000 },
      async () => {
        const server = await start!()
        const hosts = [new Host(name, server.address), new Host(name, server.address)]
        const [first, second] = await Promise.all(hosts.map((host) => host.start()))
        try {
          let ports = [...first!.ports, ...second!.ports]
          let turn = 0
          const cookies = new Map<number, string>()
          const acknowledged = new Map<number, number>()
          /** Sends a request to the next worker, and to another one if that is dead. */
          const ask = async (visitor: number, target: string): Promise<number> => {
            for (;;) {
              const port = ports[(turn += 1) % ports.length]!
              const cookie = cookies.get(visitor)
              const app = TestApp.over(httpClient({ port }))
              const call = app.get(target)
              try {
                const result = await (cookie === undefined ? call : call.set('Cookie', cookie))
                const [set] = result.header('Set-Cookie')?.split(';') ?? []
                if (set !== undefined) cookies.set(visitor, set)
                return Number(result.text)
              } catch {
                ports = ports.filter((other) => other !== port)
              }
            }
          }
          const visit = async (visitor: number, times: number) => {
            for (let i = 0; i < times; i += 1) acknowledged.set(visitor, await ask(visitor, '/add'))
          }
          const visitors = Array.from({ length: SESSIONS }, (_, visitor) => visitor)
          await Promise.all(visitors.map((visitor) => visit(visitor, 2)))
          await ask(0, '/end')
          const running = Promise.all(visitors.slice(1).map((visitor) => visit(visitor, 6)))
          await first!.kill()
          await running
          expect(ports).toEqual(second!.ports)
          for (const visitor of visitors.slice(1)) {
            // A request that was killed may have counted without being acknowledged.
            expect(acknowledged.get(visitor)).toBeGreaterThanOrEqual(8)
            expect(await ask(visitor, '/')).toBe(acknowledged.get(visitor))
          }
          for (const _ of second!.ports) expect(await ask(0, '/')).toBe(0)
        } finally {
          await Promise.all(hosts.map((host) => host.kill()))
          await server.stop()
        }
      },
    )
  },
)
