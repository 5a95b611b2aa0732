/**
 * The body of a request whose bytes come when the web server sends them, not when the application
 * asks: a queue between a connection and `wsgi.input`.
 */
import type { Buffer } from 'node:buffer'
import type { Readable } from 'node:stream'
import { PeerError } from '../errors.ts'
import type { ByteSource } from './input.ts'

interface Waiter {
  readonly size: number
  readonly resolve: (chunk: Buffer | null) => void
  readonly reject: (error: PeerError) => void
}

/** Filled by a connection, emptied by an `Input`. */
export class BodyQueue implements ByteSource {
  /** Bytes that wait to be read; what the connection weighs against its high-water mark. */
  queued = 0
  readonly #chunks: Buffer[] = []
  #first = 0
  /** True when all has come, read or not. */
  ended = false
  #failure: PeerError | null = null
  #waiter: Waiter | null = null
  readonly #onRead: (bytes: number) => void

  /** @param onRead called with the number of bytes that have left the queue. */
  constructor(onRead: (bytes: number) => void) {
    this.#onRead = onRead
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.queued += chunk.length
    this.#wake()
  }

  end(): void {
    this.ended = true
    this.#wake()
  }

  /** The rest will not come; what is queued can still be read. */
  fail(error: PeerError): void {
    if (this.ended) return
    this.#failure = error
    this.#wake()
  }

  read(size: number): Buffer | null | Promise<Buffer | null> {
    if (this.queued > 0) return this.#shift(size)
    if (this.ended) return null
    if (this.#failure) throw this.#failure
    return new Promise((resolve, reject) => {
      this.#waiter = { size, resolve, reject }
    })
  }

  #shift(size: number): Buffer {
    const chunk = this.#chunks[this.#first]!
    if (chunk.length > size) {
      this.#chunks[this.#first] = chunk.subarray(size)
    } else if (++this.#first === this.#chunks.length) {
      this.#chunks.length = this.#first = 0
    } else if (this.#first * 2 > this.#chunks.length) {
      // A queue that is never empty must not keep what has left it; done rarely, it costs nothing.
      this.#chunks.splice(0, this.#first)
      this.#first = 0
    }
    const taken = Math.min(chunk.length, size)
    this.queued -= taken
    this.#onRead(taken)
    return chunk.length > size ? chunk.subarray(0, size) : chunk
  }

  #wake(): void {
    const waiter = this.#waiter
    if (waiter === null) return
    this.#waiter = null
    if (this.queued > 0) waiter.resolve(this.#shift(waiter.size))
    else if (this.ended) waiter.resolve(null)
    else if (this.#failure) waiter.reject(this.#failure)
    else this.#waiter = waiter
  }
}

/**
 * The body as a Node stream gives it, chunk by chunk and none of them copied: `stream.read()` would
 * join what has come. The stream is first read when the application first asks.
 *
 * @param highWaterMark bytes that are held before the stream is paused.
 */
export function queueFromStream(stream: Readable, highWaterMark: number): ByteSource {
  let begun = false
  const queue = new BodyQueue(() => {
    if (stream.isPaused() && queue.queued < highWaterMark) stream.resume()
  })

  function begin(): void {
    begun = true
    stream.on('data', (chunk: Buffer) => {
      queue.push(chunk)
      if (queue.queued >= highWaterMark) stream.pause()
    })
    stream.on('end', () => queue.end())
    stream.on('error', () => {}) // 'close' follows.
    stream.on('close', () => {
      // It comes behind each body, and an error with its stack costs as much as a small request.
      if (queue.ended) return
      queue.fail(new PeerError('PORTICO_DISCONNECTED', 'The request body broke off'))
    })
  }

  return {
    read(size) {
      if (!begun) begin()
      return queue.read(size)
    },
  }
}
