/** Sends the small responses of one event-loop turn together. */
import type { Socket } from 'node:net'
import { NO_PARTS, type Part } from '../protocol/part.ts'
import { writeParts } from './socket-writer.ts'

/** The most connections that wait, and the most parts that wait on one of them. */
const MAX_BATCH = 16

/**
 * The connections of one server that have bytes to send at the end of this turn.
 *
 * Each write wakes the web server, which costs as much as a small application. If several responses
 * arrive together, the web server wakes once. (Redis sends its replies like this.)
 */
export class WriteBatch {
  #waiting: BatchedWriter[] = []

  /** Flushes `writer` when the requests of this turn have been run. */
  add(writer: BatchedWriter): void {
    if (this.#waiting.length === 0) setImmediate(this.#flush)
    if (this.#waiting.push(writer) === MAX_BATCH) this.#flush()
  }

  readonly #flush = () => {
    const all = this.#waiting
    this.#waiting = []
    for (const writer of all) writer.flush()
  }
}

/** What one connection has to send at the end of this turn. */
export class BatchedWriter {
  readonly #socket: Socket
  readonly #batch: WriteBatch
  readonly #onFlushed: () => void
  #parts = NO_PARTS as Part[]

  constructor(socket: Socket, batch: WriteBatch, onFlushed: () => void) {
    this.#socket = socket
    this.#batch = batch
    this.#onFlushed = onFlushed
  }

  get pending(): boolean {
    return this.#parts.length > 0
  }

  add(part: Part): void {
    if (this.#parts.length === 0) {
      this.#parts = [part] // Usually the only one, but push() would reserve room for seventeen.
      this.#batch.add(this)
    } else if (this.#parts.push(part) > MAX_BATCH) {
      this.write()
    }
  }

  /** Sends the parts now. */
  write(): void {
    const parts = this.#parts
    this.#parts = NO_PARTS as Part[]
    writeParts(this.#socket, parts)
  }

  /** Called by the batch. */
  flush(): void {
    this.write()
    this.#onFlushed()
  }
}
