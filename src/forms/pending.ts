/** Received bytes that have not been parsed yet. */
import { Buffer } from 'node:buffer'

/**
 * A queue of bytes that is read as one Buffer.
 *
 * Most chunks are parsed whole and never copied. If unparsed bytes have to wait for more, the storage
 * doubles, so that even a body in chunks of one byte takes linear time. What `bytes` has returned
 * does not change.
 */
export class Pending {
  #store: Buffer = Buffer.alloc(0)
  #start = 0
  #end = 0
  #isOwn = false

  get bytes(): Buffer {
    return this.#store.subarray(this.#start, this.#end)
  }

  append(chunk: Buffer): void {
    const rest = this.bytes
    if (rest.length === 0) {
      this.#store = chunk
      this.#start = 0
      this.#end = chunk.length
      this.#isOwn = false
      return
    }
    if (!this.#isOwn || this.#end + chunk.length > this.#store.length) {
      this.#store = Buffer.allocUnsafeSlow(2 * (rest.length + chunk.length))
      rest.copy(this.#store)
      this.#start = 0
      this.#end = rest.length
      this.#isOwn = true
    }
    chunk.copy(this.#store, this.#end)
    this.#end += chunk.length
  }

  consume(length: number): void {
    this.#start += length
  }
}
