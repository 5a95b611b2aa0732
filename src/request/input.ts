/**
 * `wsgi.input`, from the application's side: one reader over whatever a gateway has to read from.
 *
 * A gateway supplies a `ByteSource`; everything else (CONTENT_LENGTH, lines, a body that ends
 * early, two readers at once) is decided here, so that it is the same behind every web server.
 */
import { Buffer } from 'node:buffer'
import type { Readable } from 'node:stream'
import type { InputStream } from '../types.ts'
import { ApplicationError, PeerError } from '../errors.ts'

/** Where the bytes of a request come from. */
export interface ByteSource {
  /**
   * At least one and at most `size` bytes, which then belong to the caller; null at the end.
   * A source that has the bytes at hand returns them as they are, without a promise.
   *
   * @throws {PeerError} if the connection is gone.
   */
  read(size: number): Buffer | null | Promise<Buffer | null>
}

/** What is asked of a source at once: large enough that the cost of a call does not count. */
const BLOCK_SIZE = 65_536

/**
 * What `chunks()` gives at most at once. V8 collects read buffers only when they come to 32 MiB, or
 * with other garbage: with pieces of this size there is enough of that to keep an upload's memory
 * below 30 MiB. A piece is a view; nothing is copied.
 */
const CHUNK_SIZE = 16_384

const NEWLINE = 0x0a

/** A source without a byte. */
export const emptySource: ByteSource = { read: () => null }

/** A source over bytes that are there already. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  let rest = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return {
    read(size) {
      if (rest.length === 0) return null
      const head = rest.subarray(0, size)
      rest = rest.subarray(head.length)
      return head
    },
  }
}

/**
 * The request's body (PEP 3333, "Input and Error Streams").
 *
 * All methods reject with a `PeerError` (`PORTICO_BODY_CUT_SHORT`) when the body ends before
 * CONTENT_LENGTH bytes have come, and with an `ApplicationError` when two reads overlap.
 */
export class Input implements InputStream {
  readonly #source: ByteSource
  /** Bytes of CONTENT_LENGTH that the source still owes; infinite where the source ends itself. */
  #owed: number
  /** Bytes read from the source but not yet by the application: what follows a line. */
  #pending: Buffer | null = null
  #reading = false

  /** @param length CONTENT_LENGTH in bytes; leave it out where the source itself has an end. */
  constructor(source: ByteSource, length = Infinity) {
    this.#source = source
    this.#owed = length
  }

  /** Bytes of CONTENT_LENGTH that have not been taken from the source. */
  get unread(): number {
    return this.#owed
  }

  read(size?: number): Promise<Buffer> {
    return heard(this.#read(size))
  }

  readline(size?: number): Promise<Buffer> {
    return heard(this.#readline(size))
  }

  async #read(size?: number): Promise<Buffer> {
    const wanted = limitOf(size)
    const parts: Buffer[] = []
    let total = 0
    this.#enter()
    try {
      while (total < wanted) {
        const part = await this.#take(wanted - total)
        if (part === null) break
        parts.push(part)
        total += part.length
      }
    } finally {
      this.#reading = false
    }
    return join(parts, total)
  }

  async #readline(size?: number): Promise<Buffer> {
    const wanted = limitOf(size)
    const parts: Buffer[] = []
    let total = 0
    this.#enter()
    try {
      while (total < wanted) {
        const block = await this.#take(BLOCK_SIZE)
        if (block === null) break
        const newline = block.indexOf(NEWLINE)
        const end = Math.min(newline < 0 ? block.length : newline + 1, wanted - total)
        parts.push(block.subarray(0, end))
        total += end
        if (end < block.length) this.#pending = block.subarray(end)
        if (newline >= 0 && newline < end) break
      }
    } finally {
      this.#reading = false
    }
    return join(parts, total)
  }

  async readlines(hint?: number): Promise<Buffer[]> {
    const lines: Buffer[] = []
    let total = 0
    for await (const line of this) {
      lines.push(line)
      total += line.length
      if (hint !== undefined && hint > 0 && total >= hint) break
    }
    return lines
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    for (let line; (line = await this.readline()).length > 0;) yield line
  }

  async *chunks(): AsyncGenerator<Buffer, void, undefined> {
    while (true) {
      this.#enter()
      let chunk
      try {
        chunk = await this.#take(CHUNK_SIZE)
      } finally {
        this.#reading = false
      }
      if (chunk === null) return
      yield chunk
    }
  }

  stream(): Readable {
    // Reached this way so that a CGI script that never asks for a stream does not load one.
    const { Readable } = process.getBuiltinModule('node:stream')
    return Readable.from(this.chunks(), { objectMode: false })
  }

  #enter(): void {
    if (this.#reading) throw new ApplicationError('wsgi.input is already being read')
    this.#reading = true
  }

  /** The next bytes, at most `size`; null at the end. Waits only where the source has to. */
  #take(size: number): Buffer | null | Promise<Buffer | null> {
    const pending = this.#pending
    if (pending !== null) {
      this.#pending = pending.length > size ? pending.subarray(size) : null
      return pending.subarray(0, size)
    }
    if (this.#owed === 0) return null
    const chunk = this.#source.read(Math.min(size, this.#owed, BLOCK_SIZE))
    return chunk instanceof Promise ? chunk.then((it) => this.#account(it)) : this.#account(chunk)
  }

  #account(chunk: Buffer | null): Buffer | null {
    if (chunk !== null) {
      this.#owed -= chunk.length
    } else if (this.#owed === Infinity) {
      this.#owed = 0
    } else {
      throw new PeerError(
        'PORTICO_BODY_CUT_SHORT',
        `The request body ended ${this.#owed} bytes before its CONTENT_LENGTH`,
      )
    }
    return chunk
  }
}

/**
 * The same promise. Whoever awaits it later, or has forgotten to, must not have a client that goes
 * away end the process, as the rejection of a promise to which nobody listens yet would.
 */
function heard<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

/**
 * How much to read at most. A fraction, which no read could ever fill, must not get any further,
 * and neither must anything else that only looks like a number.
 */
function limitOf(size: number | null | undefined): number {
  if (size === undefined || size === null || size < 0) return Infinity
  if (Number.isInteger(size) || size === Infinity) return size
  throw new ApplicationError(`The size to read must be a whole number (got ${String(size)})`)
}

function join(parts: Buffer[], total: number): Buffer {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts, total)
}

/**
 * A source over a Node stream, which is read no faster than the application asks. A stream that is
 * destroyed before its end has lost bytes, whether it says why or not.
 */
export function streamSource(stream: Readable): ByteSource {
  let rest: Buffer | null = null
  stream.on('error', () => {}) // `stream.errored` tells; without a listener the process would end.

  function next(size: number): Buffer | null {
    const chunk = rest ?? bytesOf(stream.read())
    if (chunk === null) return null
    rest = chunk.length > size ? chunk.subarray(size) : null
    return chunk.subarray(0, size)
  }

  /** A stream of strings is one that decodes its bytes, or was made of text. */
  function bytesOf(chunk: Buffer | string | null): Buffer | null {
    return typeof chunk === 'string'
      ? Buffer.from(chunk, stream.readableEncoding ?? undefined)
      : chunk
  }

  async function wait(size: number): Promise<Buffer | null> {
    while (!stream.readableEnded && !stream.destroyed) {
      await new Promise<void>((resolve) => {
        function woken(): void {
          for (const event of WAKING) stream.off(event, woken)
          resolve()
        }
        for (const event of WAKING) stream.on(event, woken)
      })
      const chunk = next(size)
      if (chunk !== null) return chunk
    }
    if (stream.readableEnded) return null
    throw new PeerError(
      'PORTICO_DISCONNECTED',
      `The request body broke off (${stream.errored?.message ?? 'closed'})`,
    )
  }

  return { read: (size) => next(size) ?? wait(size) }
}

const WAKING = ['readable', 'end', 'error', 'close'] as const
