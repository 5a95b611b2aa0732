/** Backs `portico.signal`. */

/**
 * An AbortController that is created on first use, because it costs up to a tenth of a small
 * request.
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
