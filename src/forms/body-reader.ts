/** The body of a request as a form sees it: counted while it is read, never more than allowed. */
import type { Buffer } from 'node:buffer'
import { tooLarge } from './limits.ts'

/** What is still read of a body that was refused. Go's net/http reads on for 256 KiB too. */
const MAX_DISCARDED = 256 * 1024

export class FormBody {
  readonly #chunks: AsyncIterator<Buffer>
  readonly #max: number
  #size = 0

  constructor(chunks: AsyncIterator<Buffer>, max: number) {
    this.#chunks = chunks
    this.#max = max
  }

  /** The next chunk; undefined at the end. Throws a PeerError 413 past the limit. */
  async pull(): Promise<Buffer | undefined> {
    const { done, value } = await this.#chunks.next()
    if (done) return undefined
    this.#size += value.length
    if (this.#size > this.#max) throw tooLarge('maxTotalSize')
    return value
  }

  /** Reads what comes after the form: an epilogue, by RFC 2046 without meaning. */
  async finish(): Promise<void> {
    while ((await this.pull()) !== undefined);
  }

  /**
   * Ends a body that was refused. A short rest is read, so that the client comes to see the
   * answer; a long one is left to the gateway, which has to deal with unread bodies anyway.
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
      // The error that made us refuse the body is the one to report.
    }
  }
}

/** Counts the bytes that a body has put into memory. */
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
