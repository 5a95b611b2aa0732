/** Where the body goes, no faster than it is taken. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import type { Writable } from 'node:stream'
import type { MaybePromise } from '../../types.ts'
import { CURL_EXIT, TransferError } from './exit-codes.ts'

/** Takes the body. */
export interface Output {
  write(bytes: Buffer | string): MaybePromise
  end(): Promise<void>
}

export class BodyOutput implements Output {
  readonly #path: string | undefined
  readonly #stdout: Writable
  #stream: Writable | null = null
  #fault: Error | null = null

  /** @param path a file; '-' or undefined for `stdout`. */
  constructor(path: string | undefined, stdout: Writable) {
    this.#stdout = stdout
    this.#path = path === '-' ? undefined : path
  }

  write(bytes: Buffer | string): MaybePromise {
    const stream = this.#open()
    if (this.#fault !== null) return Promise.reject(this.#fault)
    if (!stream.write(bytes)) return drained(stream)
  }

  /**
   * Resolves when everything has been written. A file is made also for an empty body.
   *
   * @throws {TransferError} 23, if it cannot be written.
   */
  async end(): Promise<void> {
    if (this.#stream === null && this.#path === undefined) return
    const stream = this.#open()
    if (this.#fault === null) {
      await new Promise<void>((resolve) => {
        stream.once('error', () => resolve())
        // If it fails, Node calls this before 'error'.
        const done = (error?: Error | null): void => {
          this.#fault ??= error ?? null
          resolve()
        }
        if (this.#path === undefined) stream.write('', done)
        else stream.end(done)
      })
    }
    if (this.#fault !== null) {
      const where = this.#path ?? 'stdout'
      throw new TransferError(
        CURL_EXIT.writeError,
        `${where} cannot be written (${(this.#fault as NodeJS.ErrnoException).code})`,
      )
    }
  }

  #open(): Writable {
    if (this.#stream !== null) return this.#stream
    this.#stream = this.#path === undefined ? this.#stdout : createWriteStream(this.#path)
    this.#stream.on('error', (error) => (this.#fault = error))
    return this.#stream
  }
}

async function drained(stream: Writable): Promise<void> {
  await once(stream, 'drain')
}
