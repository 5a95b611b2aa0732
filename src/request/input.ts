/**
 * `Input`: `wsgi.input` over a `ByteSource` of the gateway. It handles CONTENT_LENGTH, lines,
 * incomplete bodies and overlapping reads for every gateway.
 */
import { Buffer } from 'node:buffer'
import type { Readable } from 'node:stream'
import type { InputStream } from '../types.ts'
import { ApplicationError, guardSteps, handled, PeerError } from '../errors.ts'

/** Where the bytes of a request body come from. */
export interface ByteSource {
  /**
   * Returns at least one and at most `size` bytes, or null at the end; a promise only if it has to
   * wait. The bytes then belong to the caller.
   *
   * @throws {PeerError} if the connection is gone.
   */
  read(size: number): Buffer | null | Promise<Buffer | null>
  /** True if the rest of the body will not arrive; absent if the source does not know. */
  readonly truncated?: boolean
  /** Makes reads reject after the bytes that have arrived: the rest is not received. */
  discard?(): void
}

/** The largest read from a source, in bytes: enough to make the cost of a call negligible. */
const BLOCK_SIZE = 65_536

/**
 * The largest chunk, in bytes, that `chunks()` yields. V8 collects buffers only after 32 MiB of them
 * or together with other garbage. Chunks of this size make enough other garbage that an upload needs
 * less than 30 MiB. A chunk is a view; nothing is copied.
 */
const CHUNK_SIZE = 16_384

const NEWLINE = 0x0a

/** A source of no bytes. */
export const emptySource: ByteSource = { read: () => null }

/** `source`, with a call of `goOn` before it is read for the first time. */
export function afterContinue(source: ByteSource, goOn: () => void): ByteSource {
  let waiting = true
  return {
    read(size) {
      if (waiting) goOn()
      waiting = false
      return source.read(size)
    },
    discard: () => source.discard?.(),
  }
}

/** A source over bytes in memory. */
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
 * The request body (PEP 3333, "Input and Error Streams").
 *
 * All methods reject with a `PeerError` (`PORTICO_BODY_CUT_SHORT`) if the body ends before
 * CONTENT_LENGTH bytes have arrived, and with an `ApplicationError` if two reads overlap.
 */
export class Input implements InputStream {
  readonly #source: ByteSource
  /** Bytes of CONTENT_LENGTH still to come from the source; Infinity if the source has its own end. */
  #owed: number
  /** Bytes that were read from the source together with a line, and follow it. */
  #pending: Buffer | null = null
  #reading = false
  #didRead = false
  /** How many reads have begun. */
  #reads = 0
  /** Called when a read has ended. */
  #idle: (() => void) | null = null
  /** Resolves when a stream that reads this body is closed. */
  #held: Promise<unknown> | null = null
  /** What `readsOn` has returned. */
  #ended: Promise<void> | null = null

  /** @param length CONTENT_LENGTH in bytes; omit it if the source has its own end. */
  constructor(source: ByteSource, length = Infinity) {
    this.#source = source
    this.#owed = length
  }

  /** Bytes of CONTENT_LENGTH that have not been read from the source. */
  get unread(): number {
    return this.#owed
  }

  /** Whether bytes of the body have been read. */
  get didRead(): boolean {
    return this.#didRead
  }

  /** True if the client disconnected before the whole body had arrived. */
  get truncated(): boolean {
    return this.#source.truncated === true && this.#owed > 0
  }

  /** The application goes on reading after its response, with pauses, until `closed` resolves. */
  hold(closed: Promise<unknown>): void {
    this.#held = closed
  }

  /**
   * For the end of a response: resolves when the application has stopped reading this body, which is
   * when it starts no further read within a turn of the event loop. Null if it has never begun.
   */
  readsOn(): Promise<void> | null {
    if (!this.#didRead && !this.#reading && this.#held === null) return null
    return (this.#ended ??= this.#stopped())
  }

  async #stopped(): Promise<void> {
    let last
    do {
      last = this.#reads
      await this.#held
      if (this.#reading) await new Promise<void>((resolve) => (this.#idle = resolve))
      await new Promise((resolve) => setImmediate(resolve))
    } while (this.#owed > 0 && (this.#reading || this.#reads !== last))
  }

  /** The rest of the body is not received: a read beyond what has arrived rejects. */
  discard(): void {
    this.#source.discard?.()
  }

  read(size?: number): Promise<Buffer> {
    return handled(this.#read(size))
  }

  readline(size?: number): Promise<Buffer> {
    return handled(this.#readline(size))
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
      this.#leave()
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
      this.#leave()
    }
    return join(parts, total)
  }

  readlines(hint?: number): Promise<Buffer[]> {
    return handled(this.#readlines(hint))
  }

  async #readlines(hint?: number): Promise<Buffer[]> {
    const lines: Buffer[] = []
    let total = 0
    for await (const line of this) {
      lines.push(line)
      total += line.length
      if (hint !== undefined && hint > 0 && total >= hint) break
    }
    return lines
  }

  [Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    return guardSteps(this.#lines(), handled)
  }

  async *#lines(): AsyncGenerator<Buffer, void, undefined> {
    for (let line; (line = await this.readline()).length > 0;) yield line
  }

  chunks(): AsyncGenerator<Buffer, void, undefined> {
    return guardSteps(this.#chunks(), handled)
  }

  async *#chunks(): AsyncGenerator<Buffer, void, undefined> {
    while (true) {
      this.#enter()
      let chunk
      try {
        chunk = await this.#take(CHUNK_SIZE)
      } finally {
        this.#leave()
      }
      if (chunk === null) return
      yield chunk
    }
  }

  stream(): Readable {
    // Loaded here, because most CGI scripts never ask for a stream.
    const { Readable } = process.getBuiltinModule('node:stream')
    const stream = Readable.from(this.chunks(), { objectMode: false })
    // Without a listener a disconnect would end the process of an application that only pipes it.
    return stream.on('error', () => {})
  }

  #enter(): void {
    if (this.#reading)
      throw new ApplicationError('wsgi.input is already being read', 'PORTICO_INPUT_BUSY')
    this.#reading = true
    this.#reads += 1
  }

  #leave(): void {
    this.#reading = false
    this.#idle?.()
  }

  /** The next bytes, at most `size`; null at the end. Waits only if the source has to. */
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
      this.#didRead = true
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

/** Refuses fractions, which no read could fill, and values that are not numbers. */
function limitOf(size: number | null | undefined): number {
  if (size === undefined || size === null || size < 0) return Infinity
  if (Number.isInteger(size) || size === Infinity) return size
  throw new ApplicationError(
    `The size to read must be a whole number (got ${String(size)})`,
    'PORTICO_INVALID_ARGUMENT',
  )
}

function join(parts: Buffer[], total: number): Buffer {
  const [first] = parts
  if (first === undefined) return Buffer.alloc(0)
  let end = first.byteOffset
  for (const part of parts) {
    if (part.buffer !== first.buffer || part.byteOffset !== end) return Buffer.concat(parts, total)
    end += part.length
  }
  // They are neighbours in one block of memory.
  return parts.length === 1 ? first : Buffer.from(first.buffer, first.byteOffset, total)
}

/**
 * A source over a Node stream that reads no faster than the application does. A stream that is
 * destroyed before its end has lost bytes, even without an error.
 */
export function streamSource(stream: Readable): ByteSource {
  let rest: Buffer | null = null
  // Without a listener the process would end; `wait` reads `stream.errored`.
  stream.on('error', () => {})

  function next(size: number): Buffer | null {
    const chunk = rest ?? bytesOf(stream.read())
    if (chunk === null) return null
    rest = chunk.length > size ? chunk.subarray(size) : null
    return chunk.subarray(0, size)
  }

  /** A stream yields strings if it decodes its bytes or was made from text. */
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
      `The request body was aborted (${stream.errored?.message ?? 'closed'})`,
    )
  }

  return { read: (size) => next(size) ?? wait(size) }
}

const WAKING = ['readable', 'end', 'error', 'close'] as const
