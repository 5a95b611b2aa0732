/** Sends the responses of one event-loop turn together. */
import type { Socket } from 'node:net'
import { NO_PARTS, type Part } from '../protocol/part.ts'
import { writeParts } from './socket-writer.ts'

/** The most responses that wait, and the most parts that wait on one connection. */
const MAX_BATCH = 16

/** If the first response has waited for more milliseconds when another is added, all are sent at once. */
const MAX_DELAY = 1

/** What has bytes to send at the end of this turn. */
interface Batched {
  /** Sends them. It must not throw. */
  sendBatched(): void
}

/** What sends the batches that wait. After `process.exit` no immediate runs. */
const unsent = new Set<() => void>()
let sendsAtExit = false

/**
 * What one server has to send at the end of this turn, or when the process exits in this turn.
 *
 * Each write wakes the web server, which costs as much as a small application. If several responses
 * arrive together, the web server wakes once. (Redis sends its replies like this.)
 */
export class WriteBatch {
  #waiting: Batched[] = []
  #since = 0

  constructor() {
    if (sendsAtExit) return
    sendsAtExit = true
    process.on('exit', () => {
      for (const send of unsent) send()
    })
  }

  /** Calls `batched` when the requests of this turn have been run. */
  add(batched: Batched): void {
    const count = this.#waiting.push(batched)
    if (count === 1) {
      this.#since = performance.now()
      unsent.add(this.#send)
      setImmediate(this.#send)
    } else if (count === MAX_BATCH || performance.now() - this.#since > MAX_DELAY) {
      this.#send()
    }
  }

  readonly #send = () => {
    const all = this.#waiting
    this.#waiting = []
    unsent.delete(this.#send)
    for (const batched of all) batched.sendBatched()
  }
}

/** What one connection has to send at the end of this turn. */
export class BatchedWriter {
  readonly #socket: Socket
  readonly #batch: WriteBatch
  readonly #onSent: () => void
  #parts = NO_PARTS as Part[]

  constructor(socket: Socket, batch: WriteBatch, onSent: () => void) {
    this.#socket = socket
    this.#batch = batch
    this.#onSent = onSent
  }

  get pending(): boolean {
    return this.#parts.length > 0
  }

  /**
   * Adds all parts of the end of a response: once they are sent, the connection may be closed.
   *
   * @param isLast true if no other response follows on this connection: then it is sent now
   */
  add(parts: Part[], isLast: boolean): void {
    const isFirst = this.#parts.length === 0
    this.#parts = isFirst ? parts : [...this.#parts, ...parts]
    if (isLast) this.write()
    else if (isFirst) this.#batch.add(this)
    else if (this.#parts.length > MAX_BATCH) this.write()
  }

  /** Sends the parts now. */
  write(): void {
    const parts = this.#parts
    this.#parts = NO_PARTS as Part[]
    writeParts(this.#socket, parts)
  }

  /** Called by the batch. */
  sendBatched(): void {
    this.write()
    this.#onSent()
  }
}
