/** Small responses of one turn of the event loop leave together. */

/** A connection that holds back bytes until `flush()` is called. */
export interface Batched {
  flush(): void
}

/** Connections that wait at the most; so many ends of responses wait on one connection, too. */
export const MAX_BATCH = 16

/**
 * The connections of one server that have something to send at the end of this turn.
 *
 * Each write wakes the web server, which costs as much as an application that does little. A web
 * server that finds several responses sleeps and wakes once. (Redis sends its replies like this.)
 */
export class WriteBatch {
  #waiting: Batched[] = []

  /** Calls `flush()` of this connection when this turn's requests have been run. */
  add(connection: Batched): void {
    const { length } = this.#waiting
    if (length === 0) setImmediate(this.#flush)
    if (this.#waiting.push(connection) === MAX_BATCH) this.#flush()
  }

  readonly #flush = () => {
    const all = this.#waiting
    this.#waiting = []
    for (const connection of all) connection.flush()
  }
}
