/** The body of a request with a form: counted while it is read, never more than the limit. */
import type { Buffer } from 'node:buffer'
import { tooLarge } from './limits.ts'

/** The most bytes of a refused body that are still read; the same as in Go's net/http. */
const MAX_DISCARDED = 256 * 1024

export class FormBody {
  readonly #chunks: AsyncIterator<Buffer>
  readonly #max: number
  #size = 0
  #failure: { readonly error: unknown } | undefined

  constructor(chunks: AsyncIterator<Buffer>, max: number) {
    this.#chunks = chunks
    this.#max = max
  }

  /**
   * Returns the next chunk; undefined at the end.
   *
   * @throws {PeerError} with a 413 past the limit.
   * @throws {ApplicationError} if something has read the body before.
   */
  async pull(): Promise<Buffer | undefined> {
    // onFile() may have swallowed the error, and the iterator then looks as if it were at its end.
    if (this.#failure) throw this.#failure.error
    const { done, value } = await this.#chunks.next().catch((error: unknown) => {
      this.#failure = { error }
      throw error
    })
    if (done) return undefined
    this.#size += value.length
    if (this.#size > this.#max) throw tooLarge('maxTotalSize')
    return value
  }

  /** Reads what comes after the form: an epilogue, which has no meaning (RFC 2046, section 5.1.1). */
  async finish(): Promise<void> {
    while ((await this.pull()) !== undefined);
  }

  /**
   * Ends a refused body. If little is left, it is read, so that the client gets to see the response.
   * Otherwise the rest is left to the gateway, which has to handle unread bodies anyway.
   */
  async discard(): Promise<void> {
    try {
      for (let size = 0; size <= MAX_DISCARDED;) {
        const { done, value } = await this.#chunks.next()
        if (done) return
        size += value.length
      }
      await this.#chunks.return?.()
    } catch {
      // Report the error for which the body was refused, not this one.
    }
  }
}

/** Counts the bytes of a body that are kept in memory. */
export class TextBudget {
  readonly #max: number
  #used = 0

  constructor(max: number) {
    this.#max = max
  }

  spend(bytes: number): void {
    this.#used += bytes
    if (this.#used > this.#max) throw tooLarge('maxTextSize')
  }
}
