/** `OutputWriter`: writes a response to an `Output`, in order and no faster than it takes bytes. */
import { Buffer } from 'node:buffer'
import { PeerError } from '../errors.ts'
import type { Chunk } from '../types.ts'

/** Where a response is written to. A Node stream is one. */
export interface Output {
  /**
   * Writes bytes. If it returns a number, that many were written, and the rest is offered again. As
   * for a Node stream, `false` means that all were accepted but the caller should wait for 'drain'.
   * A promise of either is awaited.
   */
  write(bytes: Buffer): unknown
  flush?(): unknown
  /** True if partial writes are normal; otherwise the first one emits a warning. */
  readonly partialWrites?: boolean
  on?(event: string, listener: (error: Error) => void): unknown
  off?(event: string, listener: (error: Error) => void): unknown
}

/** Up to this many bytes, parts are copied into one Buffer and sent in one write. */
const JOIN_LIMIT = 65_536

/** Errors of an output whose reader is gone. They are not the application's fault and not logged. */
const GONE = new Set(['EPIPE', 'ECONNRESET', 'ECONNABORTED', 'ERR_STREAM_DESTROYED'])

export class OutputWriter {
  readonly #output: Output
  /** Byte strings and bytes that are not queued yet. */
  #parts: (string | Buffer)[] = []
  /** What is being written, from `#next` on. */
  #queue: Buffer[] = []
  #next = 0
  /** Bytes have been written since the output was last flushed. */
  #unflushed = false
  /** While the output is slower than the application: resolves when all is written. */
  #writing: Promise<void> | null = null
  /** Ends the wait for 'drain'. */
  #wake: (() => void) | null = null
  #dropped = false

  constructor(output: Output) {
    this.#output = output
  }

  /** Adds a byte string. */
  addHead(head: string): void {
    this.#parts.push(head)
  }

  addChunk(chunk: Chunk): void {
    if (typeof chunk !== 'string') {
      this.#parts.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
    } else {
      // ASCII text is its own byte string, and strings are cheaper to join than Buffers.
      this.#parts.push(Buffer.byteLength(chunk) === chunk.length ? chunk : Buffer.from(chunk))
    }
  }

  /** Writes what has been added. Rejects, or throws, if the output fails. */
  flush(): void | Promise<void> {
    if (this.#writing) return this.#writing
    const wait = this.#writeSome()
    if (wait) return (this.#writing = this.#writeRest(wait))
  }

  /** Discards what has not been written, and ends the wait for it. */
  drop(): void {
    this.#dropped = true
    this.#clear()
    this.#wake?.()
  }

  /** Listens to an output that is a Node stream. Returns the function that stops that. */
  listen(onClose: () => void, onError: (error: Error) => void): (() => void) | undefined {
    const output = this.#output
    if (!output.on) return undefined
    ignoreLateErrors(output)
    const listeners: [string, (error: Error) => void][] = [
      ['drain', () => this.#wake?.()],
      ['close', onClose],
      ['error', onError],
    ]
    for (const listener of listeners) output.on(...listener)
    return () => {
      for (const listener of listeners) output.off?.(...listener)
    }
  }

  /** Writes for as long as the output takes bytes at once; returns a promise if it needs time. */
  #writeSome(): Promise<unknown> | undefined {
    const output = this.#output
    try {
      for (let part; (part = this.#peek());) {
        const taken = output.write(part)
        if (taken instanceof Promise) {
          return taken.then(
            (count) => this.#advance(part, count),
            (error: unknown) => this.#fail(error),
          )
        }
        this.#advance(part, taken)
        if (taken === false && output.on && !this.#dropped) {
          return new Promise<void>((resolve) => (this.#wake = resolve))
        }
      }
      if (!this.#unflushed) return undefined
      this.#unflushed = false
      const flushed = output.flush?.()
      return flushed instanceof Promise
        ? flushed.catch((error: unknown) => this.#fail(error))
        : undefined
    } catch (error) {
      return this.#fail(error)
    }
  }

  /** Writes the rest, and what is added meanwhile. A single writer keeps the order. */
  async #writeRest(first: Promise<unknown>): Promise<void> {
    try {
      for (let wait: typeof first | undefined = first; wait; wait = this.#writeSome()) await wait
    } finally {
      this.#writing = null
    }
  }

  #peek(): Buffer | undefined {
    if (this.#next === this.#queue.length) {
      this.#queue = this.#parts.length === 0 ? [] : joinParts(this.#parts)
      this.#parts = []
      this.#next = 0
    }
    return this.#queue[this.#next]
  }

  #advance(part: Buffer, taken: unknown): void {
    this.#unflushed = true
    if (this.#queue[this.#next] !== part) return // Dropped meanwhile.
    if (typeof taken !== 'number' || taken >= part.length) {
      this.#next += 1
    } else {
      warnOfPartialWrites(this.#output)
      this.#queue[this.#next] = part.subarray(taken)
    }
  }

  #fail(error: unknown): never {
    this.#clear()
    throw disconnection(error) ?? error
  }

  #clear(): void {
    this.#parts = []
    this.#queue = []
    this.#next = 0
  }
}

/** Converts an error that means that the client is gone to one that handlers do not log. */
export function disconnection(error: unknown): PeerError | undefined {
  const code = (error as NodeJS.ErrnoException | null)?.code ?? ''
  if (!GONE.has(code)) return undefined
  return new PeerError('PORTICO_DISCONNECTED', `The client disconnected (${code})`)
}

/** The parts as bytes: in one Buffer if they are small. */
function joinParts(parts: readonly (string | Buffer)[]): Buffer[] {
  if (parts.every((part) => typeof part === 'string')) {
    return [Buffer.from(parts.join(''), 'latin1')]
  }
  const buffers = parts.map((part) =>
    typeof part === 'string' ? Buffer.from(part, 'latin1') : part,
  )
  const size = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
  return buffers.length > 1 && size <= JOIN_LIMIT ? [Buffer.concat(buffers)] : buffers
}

const guarded = new WeakSet<Output>()

/** A stream can fail even after the response, and an 'error' without a listener ends the process. */
function ignoreLateErrors(output: Output): void {
  if (guarded.has(output)) return
  guarded.add(output)
  output.on?.('error', () => {})
}

const warned = new WeakSet<Output>()

function warnOfPartialWrites(output: Output): void {
  if (output.partialWrites || warned.has(output)) return
  warned.add(output)
  process.emitWarning('SimpleHandler.stdout.write() should not do partial writes', {
    type: 'DeprecationWarning',
    code: 'PORTICO_PARTIAL_WRITE',
  })
}
