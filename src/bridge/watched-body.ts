/** A request body that a handler may keep reading after it has returned its Response. */
import type { Buffer } from 'node:buffer'
import type { Body } from '../types.ts'

/** Passes on the chunks of a request body and notes whether the handler is still reading. */
export class WatchedBody implements AsyncIterator<Buffer> {
  readonly #chunks: AsyncIterator<Buffer>
  /** The latest read; null before the first and after the end. */
  #read: Promise<IteratorResult<Buffer>> | null = null

  constructor(chunks: AsyncIterator<Buffer>) {
    this.#chunks = chunks
  }

  async next(): Promise<IteratorResult<Buffer>> {
    const read = (this.#read = this.#chunks.next())
    const step = await read
    if (step.done) this.#read = null
    return step
  }

  /** The response body, which then ends only after the handler has stopped reading. */
  keepOpen(body: Body): Body {
    if (this.#read === null) return body
    const waitForReader = () => this.#waitForReader()
    return {
      async *[Symbol.asyncIterator]() {
        yield* body
        await waitForReader()
      },
      close: () => body.close?.(),
    }
  }

  /** If no further read starts within one event-loop turn, the handler is done reading. */
  async #waitForReader(): Promise<void> {
    for (let last: unknown = undefined; this.#read !== last;) {
      last = this.#read
      await this.#read?.catch(() => {}) // The reader gets the error.
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}
