#!/usr/bin/env node
// The sandwich: a pool of database connections, a session, and between them and the client an
// application that counts visits. Each layer takes what it needs before, and gives it back behind.
import { randomBytes } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { MemoryStore, session } from 'portico/middleware'

/** Stands for a connection to a database: from Node 22.13 on, `new DatabaseSync(file)`. */
class Connection {
  static #table = new Map()

  increment(key) {
    const value = (Connection.#table.get(key) ?? 0) + 1
    Connection.#table.set(key, value)
    return value
  }
}

/** Lends out a few connections; who comes when all are out waits in a queue. */
export class Pool {
  #idle
  #waiting = []

  constructor(size) {
    this.#idle = Array.from({ length: size }, () => new Connection())
  }

  get idle() {
    return this.#idle.length
  }

  async take() {
    return this.#idle.pop() ?? new Promise((resolve) => this.#waiting.push(resolve))
  }

  give(connection) {
    const next = this.#waiting.shift()
    if (next) next(connection)
    else this.#idle.push(connection)
  }
}

/** A layer: the application has a connection until its body is closed, whatever happens. */
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

function* visits(environ, startResponse) {
  const { data } = environ['portico.session']
  data.visits = (data.visits ?? 0) + 1
  const all = environ['example.connection'].increment('visits')
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  yield `You were here ${data.visits} times, `
  yield `everybody together ${all} times.\n`
}

export const pool = new Pool(4)

// Under CGI every request has a process of its own: it would need a secret from outside, a
// FileStore, and a real database.
const secret = process.env.SESSION_SECRET ?? randomBytes(32).toString('hex')
export const application = withConnection(
  session(visits, { secret, store: new MemoryStore() }),
  pool,
)

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  void import('portico').then(({ run }) => run(application))
}
