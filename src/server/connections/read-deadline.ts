/** When to close a connection whose peer should send something and does not. */
import { coarseTime, HEADERS_TIMEOUT, IDLE_TIMEOUT } from '../deadlines.ts'
import type { ServerOptions } from '../gateway-server.ts'

/** What a connection waits for: a request, the rest of a head that has begun, or the application. */
type Awaited = 'request' | 'head' | 'nothing'

/**
 * Two limits, neither of which a peer can extend by sending slowly: a head must be complete
 * `headersTimeout` ms after it began, and a request must begin `idleTimeout` ms after the last one
 * ended. Bytes that do not belong to a request extend neither.
 */
export class ReadDeadline {
  /** On the clock of `coarseTime`; Infinity while nothing is expected from the peer. */
  at: number
  #awaited: Awaited = 'request'
  #idleUntil: number
  readonly #headersTimeout: number
  readonly #idleTimeout: number

  constructor({ headersTimeout = HEADERS_TIMEOUT, idleTimeout = IDLE_TIMEOUT }: ServerOptions) {
    this.#headersTimeout = headersTimeout
    this.#idleTimeout = idleTimeout
    this.at = this.#idleUntil = coarseTime() + idleTimeout
  }

  /** Called whenever what the connection waits for may have changed. */
  expect(awaited: Awaited): void {
    if (awaited === this.#awaited) return
    const from = this.#awaited
    this.#awaited = awaited
    this.#set()
    // Otherwise a peer that begins a head again and again would extend both limits by turns.
    if (awaited === 'head' && from === 'request') {
      this.at = Math.min(this.at, this.#idleUntil + this.#headersTimeout)
    }
  }

  /** A request has ended: the idle time begins. */
  requestEnded(): void {
    this.#idleUntil = coarseTime() + this.#idleTimeout
    if (this.#awaited === 'request') this.#set()
  }

  /** The peer still reads a response, and is not expected to send anything meanwhile. */
  postpone(): void {
    this.#idleUntil = coarseTime() + this.#idleTimeout
    this.#set()
  }

  #set(): void {
    if (this.#awaited === 'nothing') this.at = Infinity
    else if (this.#awaited === 'head') this.at = coarseTime() + this.#headersTimeout
    else this.at = this.#idleUntil
  }
}
