/** `OutputQueue`: the response body of a script, read no faster than the client takes it. */
import type { Readable } from 'node:stream'
import type { Body } from '../types.ts'

/** Bytes that wait before the pipe is no longer read: its size on Linux. */
const HIGH_WATER = 65_536

type Step = IteratorResult<Buffer, undefined>

interface Waiter {
  readonly resolve: (step: Step) => void
  readonly reject: (error: unknown) => void
}

export class OutputQueue {
  readonly #source: Readable
  #chunks: Buffer[] = []
  #size = 0
  #waiter: Waiter | null = null
  #end: { readonly error: unknown } | null = null
  #discards = false

  constructor(source: Readable) {
    this.#source = source
  }

  /** Whether the client has taken everything and waits for more. */
  get wanted(): boolean {
    return this.#discards || this.#waiter !== null
  }

  add(chunk: Buffer): void {
    if (this.#discards) return
    if (this.#waiter !== null) {
      const { resolve } = this.#take()
      resolve({ done: false, value: chunk })
      return
    }
    this.#chunks.push(chunk)
    this.#size += chunk.length
    if (this.#size >= HIGH_WATER) this.#source.pause()
  }

  /** @param error what the iteration throws at its end. */
  end(error?: unknown): void {
    this.#end ??= { error }
    if (error !== undefined) this.#chunks = []
    if (this.#waiter === null) return
    const { resolve, reject } = this.#take()
    if (error === undefined) resolve({ done: true, value: undefined })
    else reject(error)
  }

  /** Reads the rest and drops it. */
  discard(): void {
    this.#discards = true
    this.#chunks = []
    this.#source.resume()
  }

  /** @param onClose called once the client takes no more. */
  body(onClose: () => void): Body {
    return {
      [Symbol.asyncIterator]: () => ({ next: () => this.#next() }),
      close: onClose,
    }
  }

  #take(): Waiter {
    const waiter = this.#waiter!
    this.#waiter = null
    return waiter
  }

  #next(): Promise<Step> {
    const chunk = this.#chunks.shift()
    if (chunk !== undefined) {
      this.#size -= chunk.length
      return Promise.resolve({ done: false, value: chunk })
    }
    if (this.#end !== null) {
      const { error } = this.#end
      // oxlint-disable-next-line prefer-promise-reject-errors
      return error === undefined
        ? Promise.resolve({ done: true, value: undefined })
        : Promise.reject(error)
    }
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject }
      this.#source.resume()
    })
  }
}
