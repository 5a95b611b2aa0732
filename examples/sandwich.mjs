#!/usr/bin/env node
// The sandwich: a pool of SQLite connections, a session, and between them and the client an
// application that counts visits. Each middleware takes what it needs before, and gives it back after.
// The database is the package node-sqlite3-wasm's, which is SQLite without a compiler. Its lock is
// the directory visits.db.lock. Remove it by hand if a process is killed at the wrong moment.
import { randomBytes } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import sqlite from 'node-sqlite3-wasm'
import { session } from 'portico/middleware'

/** Lends out at most `size` connections; who comes when all are out waits in a queue. */
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
    // Under CGI there will be but one request, so connections are made when they are needed.
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

/** Middleware: the application has a connection until its body is closed, whatever happens. */
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

// One statement, so that processes which count at the same time lose nothing.
const COUNT = `
  INSERT INTO visits VALUES (?, 1)
  ON CONFLICT DO UPDATE SET number = number + 1 RETURNING number`

function* visits(environ, startResponse) {
  const { data } = environ['portico.session']
  data.visits = (data.visits ?? 0) + 1
  const { number } = environ['example.connection'].get(COUNT, [environ.PATH_INFO])
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  yield `You were here ${data.visits} times, `
  yield `everybody together ${number} times.\n`
}

function openDatabase() {
  const connection = new sqlite.Database(process.env.VISITS ?? join(tmpdir(), 'visits.db'))
  // Another process may be counting.
  connection.exec('PRAGMA busy_timeout = 5000')
  connection.exec('CREATE TABLE IF NOT EXISTS visits (page TEXT PRIMARY KEY, number INTEGER)')
  return connection
}

export const pool = new Pool(4, openDatabase)

// Several processes, and so CGI, need one secret for all of them.
const secret = process.env.SESSION_SECRET ?? randomBytes(32).toString('hex')
export const application = withConnection(session(visits, { secret }), pool)

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  void import('portico').then(({ run }) => run(application))
}
