/**
 * A queue between a connection and `wsgi.input`: holds the bytes of a request body that have arrived
 * and that the application has not read yet.
 */
import { Buffer } from 'node:buffer'
import type { Readable } from 'node:stream'
import { PeerError } from '../errors.ts'
import type { ByteSource } from './input.ts'

interface Waiter {
  readonly size: number
  readonly resolve: (chunk: Buffer | null) => void
  readonly reject: (error: PeerError) => void
}

/** The connection or stream that fills a queue. */
export interface BodyOwner {
  /** Called when the application has taken bytes from the queue. */
  bodyTaken(queue: BodyQueue): void
}

/**
 * Shorter chunks share memory. A Buffer costs some 200 bytes, so a body in chunks of one byte would
 * take 200 times its size.
 */
const SHORT = 4096

/** Bytes of memory that short chunks share. */
const SHARED = 16_384

/**
 * A body of at most so many bytes is copied into memory of its own length as it arrives, so that
 * `read()` need not join its chunks. A longer one keeps the memory that the connection has read into.
 */
const GATHERED = 65_536

/**
 * While fewer chunks wait, a short one has its own memory: most bodies end with one, and allocating
 * memory to share for it would cost more than the chunk.
 */
const FEW = 4

const NO_CHUNKS: Buffer[] = []
const NO_MEMORY = Buffer.alloc(0)

function discarded(): PeerError {
  return new PeerError(
    'PORTICO_DISCONNECTED',
    'The request body was not read before the end of the response, and discarded',
  )
}

/** Filled by a connection, emptied by an `Input`. */
export class BodyQueue implements ByteSource {
  /** Bytes that have not been read; the owner compares them with its high-water mark. */
  queued = 0
  /** True when the whole body has arrived, even if the application has not read it. */
  ended: boolean
  /** True when the sender has marked the end as well, so that nothing can follow. */
  sealed = false
  /** When the application last took bytes; the owner sets it. */
  lastRead = 0
  readonly #owner: BodyOwner
  #chunks = NO_CHUNKS
  #first = 0
  // The chunk to which others are added: the bytes of `#memory` from `#start` to `#end`.
  #memory = NO_MEMORY
  #start = 0
  #end = 0
  /** Bytes of the body that have not arrived; -1 if its length is unknown. */
  #owed: number
  readonly #gathered: boolean
  #begun = false
  /** Makes the error of a read that the body cannot serve. */
  #failure: (() => PeerError) | null = null
  #waiter: Waiter | null = null

  /** @param announced CONTENT_LENGTH in bytes; NaN or Infinity if it is unknown. */
  constructor(owner: BodyOwner, announced = Infinity) {
    this.#owner = owner
    const known = announced >= 0 && announced !== Infinity
    this.#owed = known ? announced : -1
    this.#gathered = known && announced <= GATHERED
    this.ended = announced === 0
  }

  /** Whether the queue copies the next bytes. */
  get gathers(): boolean {
    return this.#gathered && this.#owed > 0
  }

  /**
   * Whether the sender has to send more: it has announced more, or begun with a body of unknown length,
   * or the application waits for such a body. Not every sender marks the end of a body that has no byte.
   */
  get expected(): boolean {
    return !this.ended && (this.#owed > 0 || this.#begun || this.#waiter !== null)
  }

  /**
   * The body is complete when the announced bytes are there: the sender need not mark its end. Bytes
   * beyond them are dropped.
   *
   * @param borrowed true if the caller reuses the memory of `chunk` after this returns
   */
  push(chunk: Buffer, borrowed = false): void {
    if (this.#owed >= 0 && chunk.length > this.#owed) chunk = chunk.subarray(0, this.#owed)
    const { length } = chunk
    if (length === 0) return
    const missing = borrowed && this.#gathered ? this.#owed : 0
    const isShort = length < SHORT && this.#chunks.length - this.#first >= FEW
    if (missing === 0 && !isShort) {
      this.#add(borrowed ? Buffer.from(chunk) : chunk)
    } else {
      if (length > this.#memory.length - this.#end) this.#share(Math.max(length, missing || SHARED))
      this.#memory.set(chunk, this.#end)
      this.#end += length
    }
    this.#begun = true
    if (this.#owed > 0) {
      this.#owed -= length
      this.ended = this.#owed === 0
    }
    this.queued += length
    this.#wake()
  }

  /** Whether the application waits for more of the body. */
  get awaited(): boolean {
    return this.#waiter !== null
  }

  get truncated(): boolean {
    return this.#failure !== null
  }

  /** The sender has marked the end. */
  end(): void {
    this.sealed = true
    if (this.#failure === null) this.ended = true
    this.#wake()
  }

  /** The rest of the body will not arrive. The application can still read the queued bytes. */
  fail(error: PeerError): void {
    if (this.ended) return
    this.#failure = () => error
    this.#wake()
  }

  /**
   * The response is complete, so the rest of the body is not received. Most applications never read
   * it, and an error costs as much as a small request.
   */
  discard(): void {
    if (this.ended || this.#failure) return
    this.#failure = discarded
    this.#wake()
  }

  read(size: number): Buffer | null | Promise<Buffer | null> {
    if (this.queued > 0) return this.#shift(size)
    if (this.ended) return null
    if (this.#failure) throw this.#failure()
    return new Promise((resolve, reject) => {
      this.#waiter = { size, resolve, reject }
    })
  }

  #add(chunk: Buffer): void {
    this.#closeShared()
    if (this.#chunks === NO_CHUNKS) this.#chunks = [chunk]
    else this.#chunks.push(chunk)
  }

  /** Allocates new memory for chunks to share. */
  #share(size: number): void {
    this.#closeShared()
    this.#memory = Buffer.allocUnsafe(size)
    this.#start = this.#end = 0
  }

  /** Adds what is in the shared memory to the queue, as one chunk. */
  #closeShared(): void {
    if (this.#start === this.#end) return
    const chunk = this.#memory.subarray(this.#start, this.#end)
    this.#start = this.#end
    this.#add(chunk)
  }

  #shift(size: number): Buffer {
    if (this.#first === this.#chunks.length) this.#closeShared()
    const chunk = this.#chunks[this.#first]!
    if (chunk.length > size) {
      this.#chunks[this.#first] = chunk.subarray(size)
    } else if (++this.#first === this.#chunks.length) {
      this.#chunks.length = this.#first = 0
    } else if (this.#first * 2 > this.#chunks.length) {
      // Releases chunks that have been read, if the queue is never empty.
      this.#chunks.splice(0, this.#first)
      this.#first = 0
    }
    const taken = Math.min(chunk.length, size)
    this.queued -= taken
    this.#owner.bodyTaken(this)
    return chunk.length > size ? chunk.subarray(0, size) : chunk
  }

  #wake(): void {
    const waiter = this.#waiter
    if (waiter === null) return
    this.#waiter = null
    if (this.queued > 0) waiter.resolve(this.#shift(waiter.size))
    else if (this.ended) waiter.resolve(null)
    else if (this.#failure) waiter.reject(this.#failure())
    else this.#waiter = waiter
  }
}

/**
 * A source over a Node stream that does not copy: `stream.read()` would join the chunks. The stream
 * starts to flow at the application's first read.
 *
 * @param highWaterMark bytes that are held before the stream is paused
 * @param isTruncated whether the rest of the body will not arrive
 */
export function queueFromStream(
  stream: Readable,
  highWaterMark: number,
  isTruncated: () => boolean = () => false,
): ByteSource {
  let begun = false
  const queue = new BodyQueue({
    bodyTaken() {
      if (stream.isPaused() && queue.queued < highWaterMark) stream.resume()
    },
  })

  function begin(): void {
    begun = true
    stream.on('data', (chunk: Buffer) => {
      queue.push(chunk)
      if (queue.queued >= highWaterMark) stream.pause()
    })
    stream.on('end', () => queue.end())
    stream.on('error', () => {}) // 'close' follows.
    stream.on('close', closed)
    // It closed before the first read, and emits nothing more.
    if (stream.closed) closed()
  }

  function closed(): void {
    // 'close' comes after every body, and creating an error costs as much as a small request.
    if (queue.ended) return
    queue.fail(
      new PeerError(
        'PORTICO_DISCONNECTED',
        'The request body is incomplete: the connection was closed',
      ),
    )
  }

  return {
    get truncated() {
      return isTruncated()
    },
    read(size) {
      if (!begun) begin()
      return queue.read(size)
    },
    discard: () => queue.discard(),
  }
}
