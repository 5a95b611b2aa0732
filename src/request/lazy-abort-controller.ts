/** How long somebody waits for an answer, from the gateway's side: what is behind `portico.signal`. */

/**
 * The lifetime of one request. An AbortController costs as much as a tenth of a small request, so
 * it is made when somebody asks.
 */
export class LazyAbortController {
  #controller: AbortController | null = null
  #reason: unknown

  /** True once the peer is gone or the server has given up. */
  aborted = false

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController()
      if (this.aborted) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  abort(reason: unknown): void {
    if (this.aborted) return
    this.aborted = true
    this.#reason = reason
    this.#controller?.abort(reason)
  }
}
