/**
 * One request under the validator: in which order `startResponse`, `write` and the body came, and
 * how many bytes. Application and gateway meet here, so both are checked.
 */
import type { Chunk, StartResponse, Write } from '../types.ts'
import { fail, show, type Warn } from './report.ts'
import { checkEntity, checkError, checkHeaders, checkStatus, isBodiless } from './response.ts'

export class Exchange {
  readonly #isHead: boolean
  readonly #warn: Warn
  #started = false
  #code = 0
  #declared: number | undefined
  #sent = 0
  #iterating = false
  #over = false
  #pendingWrites = 0

  constructor(method: string, warn: Warn) {
    this.#isHead = method === 'HEAD'
    this.#warn = warn
  }

  /// ## startResponse
  /// - `startResponse(status, headers, error?)` announces the response. Nothing is sent before the
  ///   first chunk. It is called with two or three arguments, before the first chunk and not after
  ///   the body has ended.
  /// - A second call needs `error`. Before the head is sent it replaces the head; afterwards the
  ///   gateway throws `error`.
  /// ## The gateway's duties
  /// - `startResponse` returns `write`, a function; `write` returns a Promise.
  startResponse(inner: StartResponse): StartResponse {
    return (...args: unknown[]) => {
      if (args.length !== 2 && args.length !== 3) {
        fail(`startResponse: takes (status, headers, error?), not ${args.length} arguments`)
      }
      const [status, headers, error] = args
      if (this.#over) fail('startResponse: was called after the body had ended')
      const code = checkStatus(status)
      checkHeaders(headers)
      checkError(error)
      if (this.#started && (error === undefined || error === null)) {
        fail('Headers already set! A second startResponse needs the error that made it necessary')
      }
      const declared = checkEntity(code, headers, this.#warn)
      const line = String(status)
      const write: unknown = args.length === 3 ? inner(line, headers, error) : inner(line, headers)
      if (typeof write !== 'function') {
        fail(`gateway: startResponse must return write, a function, not ${show(write)}`)
      }
      this.#started = true
      this.#code = code
      this.#declared = declared
      return this.#write((chunk) => write(chunk))
    }
  }

  /// ## startResponse
  /// - `write(chunk)` is for programs that cannot return their body. It takes one chunk, and comes
  ///   before the body: never from inside the iterable that is returned.
  /// - *Warning:* an asynchronous application that is done before what it wrote: each `write` is
  ///   to be awaited, or a slow client fills the memory.
  #write(write: (chunk: Chunk) => unknown): Write {
    return (...args: unknown[]) => {
      if (args.length !== 1) fail(`write: takes one chunk, not ${args.length} arguments`)
      const [chunk] = args
      if (this.#over) fail('write: was called after the body had ended')
      if (this.#iterating) fail('write: was called after the iteration of the body had begun')
      this.chunk(chunk, 'write')
      const written = write(chunk)
      if (!(written instanceof Promise)) {
        fail(`gateway: write must return a Promise, not ${show(written)}`)
      }
      this.#pendingWrites++
      return written.finally(() => {
        this.#pendingWrites--
      })
    }
  }

  /** The promise of an asynchronous application has been kept. */
  returned(): void {
    if (this.#pendingWrites > 0) {
      this.#warn(
        `write: ${this.#pendingWrites} calls were not awaited before the body was returned`,
      )
    }
  }

  /** The first `next()` of the body. */
  iterate(): void {
    this.#iterating = true
  }

  /// ## The body
  /// - Every chunk is a Uint8Array or a string; a string is sent as UTF-8. An empty one is allowed
  ///   and sends nothing.
  /// - `startResponse` is called before the first chunk. A generator may do it at its first step.
  /// - If there is a Content-Length, the body has as many bytes.
  /// - The body of 1xx, 204 and 304 is empty. *Warning:* a body for HEAD; the gateway drops it.
  chunk(chunk: unknown, where: string): asserts chunk is Chunk {
    if (!(chunk instanceof Uint8Array) && typeof chunk !== 'string') {
      const hint = chunk instanceof Promise ? '; await it first' : ''
      fail(`${where}: a chunk must be a Uint8Array or a string, not ${show(chunk)}${hint}`)
    }
    if (!this.#started) {
      fail(`${where}: gave a chunk, but startResponse has not yet been called`)
    }
    const before = this.#sent
    this.#sent += typeof chunk === 'string' ? Buffer.byteLength(chunk) : chunk.byteLength
    if (this.#sent === 0) return
    if (isBodiless(this.#code)) {
      fail(`${where}: the status ${this.#code} has no body, but ${this.#sent} bytes came`)
    }
    if (this.#isHead) {
      if (before === 0) this.#warn(`${where}: gave a body for HEAD; the gateway has to drop it`)
    } else if (this.#declared !== undefined && this.#sent > this.#declared) {
      fail(`${where}: Content-Length is ${this.#declared}, but ${this.#sent} bytes came`)
    }
  }

  /** The body came to its end by itself. */
  finish(): void {
    this.#over = true
    if (!this.#started) {
      fail('body: the iteration ended, but startResponse has not been called')
    }
    if (this.#isHead || isBodiless(this.#code)) return
    if (this.#declared !== undefined && this.#sent < this.#declared) {
      fail(`body: Content-Length is ${this.#declared}, but only ${this.#sent} bytes came`)
    }
  }

  /** The body was closed, or failed. */
  abandon(): void {
    this.#over = true
  }
}
