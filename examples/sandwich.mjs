#!/usr/bin/env node
// Two middleware around an application that counts visits: a pool of SQLite connections, and a session.
// Each middleware acquires a resource before the application runs and releases it afterwards.
// The database is the package node-sqlite3-wasm, SQLite without a compiler. Its lock is the directory
// visits.db.lock: remove it by hand if a process was killed while it held the lock.
import { randomBytes } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import sqlite from 'node-sqlite3-wasm'
import { session } from 'portico/middleware'

/** Lends out at most `size` connections. Further requests wait in a queue. */
export class Pool {
  #free
  #connect
  #idle = []
  #waiting = []

  constructor(size, connect) {
    this.#free = size
    this.#connect = connect
  }

  get free() {
    return this.#free
  }

  async take() {
    if (this.#free === 0) return new Promise((resolve) => this.#waiting.push(resolve))
    // Connections are opened on demand, because under CGI there is only one request.
    const connection = this.#idle.pop() ?? this.#connect()
    this.#free -= 1
    return connection
  }

  give(connection) {
    const next = this.#waiting.shift()
    if (next) return next(connection)
    this.#idle.push(connection)
    this.#free += 1
  }
}

/** Middleware that lends the application a connection until its body is closed, whatever happens. */
export function withConnection(app, pool) {
  return async function* (environ, startResponse) {
    const connection = (environ['example.connection'] = await pool.take())
    let body
    try {
      body = await app(environ, startResponse)
      yield* body
    } finally {
      await body?.close?.()
      pool.give(connection)
    }
  }
}

// One statement, so that no visit is lost if processes count at the same time.
const COUNT = `
  INSERT INTO visits VALUES (?, 1)
  ON CONFLICT DO UPDATE SET number = number + 1 RETURNING number`

function* visits(environ, startResponse) {
  const { data } = environ['portico.session']
  data.visits = (data.visits ?? 0) + 1
  const { number } = environ['example.connection'].get(COUNT, [environ.PATH_INFO])
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  yield `You were here ${data.visits} times, `
  yield `everyone together ${number} times.\n`
}

function openDatabase() {
  const connection = new sqlite.Database(process.env.VISITS ?? join(tmpdir(), 'visits.db'))
  // Another process may be counting.
  connection.exec('PRAGMA busy_timeout = 5000')
  connection.exec('CREATE TABLE IF NOT EXISTS visits (page TEXT PRIMARY KEY, number INTEGER)')
  return connection
}

export const pool = new Pool(4, openDatabase)

// Several processes (and CGI) need a common secret.
const secret = process.env.SESSION_SECRET ?? randomBytes(32).toString('hex')
export const application = withConnection(session(visits, { secret }), pool)

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  void import('portico').then(({ run }) => run(application))
}
