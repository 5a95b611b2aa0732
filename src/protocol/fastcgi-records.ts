/**
 * Cuts a byte stream into FastCGI records (section 3.3), for both sides.
 *
 * The boundaries of records and of received chunks are independent. The content of a stream record is
 * passed on in the chunks in which it arrives, without copying and without waiting for the rest. A
 * discrete record is passed on whole. Padding is always skipped.
 */
import { Buffer } from 'node:buffer'
import {
  FCGI_DATA,
  FCGI_HEADER_LEN,
  FCGI_NULL_REQUEST_ID,
  FCGI_PARAMS,
  FCGI_STDERR,
  FCGI_STDIN,
  FCGI_STDOUT,
  FCGI_VERSION_1,
} from './fastcgi.ts'

const NOTHING: Buffer = Buffer.alloc(0)

/** Section 3.3, "Types of Record Types"; management records are discrete, whatever their type. */
function isStream(type: number, id: number): boolean {
  if (id === FCGI_NULL_REQUEST_ID) return false
  return (
    type === FCGI_PARAMS ||
    type === FCGI_STDIN ||
    type === FCGI_STDOUT ||
    type === FCGI_STDERR ||
    type === FCGI_DATA
  )
}

/** Bytes that arrive in chunks. Grows by doubling, so that n bytes cost O(n) whatever the chunks. */
export class Gathered {
  #bytes = NOTHING
  length = 0

  append(source: Buffer, start: number, end: number): void {
    const length = this.length + end - start
    if (length > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(length, 2 * this.#bytes.length))
      grown.set(this.bytes())
      this.#bytes = grown
    }
    this.#bytes.set(
      start === 0 && end === source.length ? source : source.subarray(start, end),
      this.length,
    )
    this.length = length
  }

  /** The bytes so far; valid until the next `append()`. */
  bytes(): Buffer {
    return this.length === this.#bytes.length ? this.#bytes : this.#bytes.subarray(0, this.length)
  }
}

/**
 * `receive()` chunks, then `read()` until it returns false. After `true` the fields describe a
 * record, or the next chunk of a stream record: `type`, `id`, and its content, which is `bytes` from
 * `start` to `end`. If `start` equals `end`, it is the end of a stream, or a discrete record without
 * content.
 *
 * The chunk is only borrowed: once `read()` has returned false, nothing refers to it.
 */
export class RecordReader {
  type = 0
  id = 0
  bytes = NOTHING
  start = 0
  end = 0
  /** Set permanently by a version other than 1, for which the specification has no rule. */
  fault: string | null = null

  /** The chunk that is being read. It ends at `#size`, which may be before the end of the memory. */
  #chunk = NOTHING
  #size = 0
  #offset = 0
  /** Later chunks in two stacks: new ones with the newest last, and older ones with the oldest last. */
  #arrived: Buffer[] = []
  #next: Buffer[] = []

  /** Bytes of content and padding of the current record that have not arrived yet. */
  #content = 0
  #padding = 0
  /** The beginning of a header or of a discrete record whose rest has not arrived yet. */
  #partial: Gathered | null = null

  /** Takes the first `size` bytes of `chunk`. */
  receive(chunk: Buffer, size = chunk.length): void {
    if (this.#offset === this.#size && this.#next.length + this.#arrived.length === 0) {
      this.#chunk = chunk
      this.#size = size
      this.#offset = 0
    } else {
      this.#arrived.push(chunk.subarray(0, size))
    }
  }

  /** Whether the stream is inside a record, where a peer must not close it. */
  get insideRecord(): boolean {
    return this.#content > 0 || this.#padding > 0 || this.#partial !== null
  }

  read(): boolean {
    while (this.fault === null) {
      const available = this.#size - this.#offset
      if (available === 0) {
        if (!this.#nextChunk()) return false
      } else if (this.#content > 0) {
        if (this.#readContent(available)) return true
      } else if (this.#padding > 0) {
        const skipped = Math.min(available, this.#padding)
        this.#offset += skipped
        this.#padding -= skipped
      } else if (this.#readHeader(available)) {
        return true
      }
    }
    return false
  }

  /** Releases the chunk that has been read. The queue is two stacks, because `shift()` is not O(1). */
  #nextChunk(): boolean {
    if (this.#next.length === 0 && this.#arrived.length > 1) {
      this.#next = this.#arrived.toReversed()
      this.#arrived = []
    }
    const chunk = this.#next.pop() ?? this.#arrived.pop()
    this.#chunk = chunk ?? NOTHING
    this.#size = this.#chunk.length
    this.#offset = 0
    if (chunk === undefined) this.bytes = NOTHING
    return chunk !== undefined
  }

  /** Returns whether a chunk of a stream or a complete discrete record is available. */
  #readContent(available: number): boolean {
    const start = this.#offset
    const length = Math.min(available, this.#content)
    const complete = length === this.#content
    this.#offset = start + length
    this.#content -= length
    if (isStream(this.type, this.id) || (complete && this.#partial === null)) {
      this.bytes = this.#chunk
      this.start = start
      this.end = this.#offset
      return true
    }
    // At most 64 KiB. The memory grows with what has arrived, not with what was announced.
    this.#partial ??= new Gathered()
    this.#partial.append(this.#chunk, start, this.#offset)
    if (!complete) return false
    this.bytes = this.#partial.bytes()
    this.start = 0
    this.end = this.bytes.length
    this.#partial = null
    return true
  }

  /** Returns whether the header is that of a record without content. */
  #readHeader(available: number): boolean {
    let header = this.#chunk
    let at = this.#offset
    if (this.#partial !== null || available < FCGI_HEADER_LEN) {
      this.#partial ??= new Gathered()
      const end = Math.min(at + FCGI_HEADER_LEN - this.#partial.length, this.#size)
      this.#partial.append(header, at, end)
      this.#offset = end
      if (this.#partial.length < FCGI_HEADER_LEN) return false
      header = this.#partial.bytes()
      at = 0
      this.#partial = null
    } else {
      this.#offset += FCGI_HEADER_LEN
    }
    if (header[at] !== FCGI_VERSION_1) {
      this.fault = `FastCGI version ${header[at]} instead of 1`
      return false
    }
    this.type = header[at + 1]!
    this.id = (header[at + 2]! << 8) | header[at + 3]!
    this.#content = (header[at + 4]! << 8) | header[at + 5]!
    this.#padding = header[at + 6]!
    this.bytes = NOTHING
    this.start = 0
    this.end = 0
    return this.#content === 0
  }
}
