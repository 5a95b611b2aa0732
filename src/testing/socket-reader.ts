/**
 * Reads lines and counted bytes from a socket.
 *
 * It takes bytes from the socket as they arrive, because Node discards unread data if a write fails:
 * the early response to a refused request would be lost.
 */
import { Buffer } from 'node:buffer'
import type { Socket } from 'node:net'
import { PeerError } from '../errors.ts'
import { EmptyResponse } from './failures.ts'

/** Bytes above which the socket is paused: sixteen reads of 64 KiB. */
const HIGH_WATER_MARK = 1024 * 1024

export class SocketReader {
  readonly #socket: Socket
  readonly #timeout: number
  #waiting: Buffer[] = []
  #size = 0
  #end: 'open' | 'ended' | PeerError = 'open'
  #wake: (() => void) | undefined
  #buffer: Buffer = Buffer.alloc(0)
  /** Gets a copy of everything that is read, if set. */
  record: Buffer[] | undefined

  /** @param timeout milliseconds without a byte in either direction before a read fails. */
  constructor(socket: Socket, timeout: number) {
    this.#socket = socket
    this.#timeout = timeout
    socket.on('data', (bytes: Buffer) => {
      this.#waiting.push(bytes)
      this.#size += bytes.length
      if (this.#size >= HIGH_WATER_MARK) socket.pause()
      this.#wake?.()
    })
    socket.on('error', (error) => this.#finish(disconnected(error)))
    socket.on('end', () => this.#finish('ended'))
    socket.on('close', () => this.#finish(disconnected(new Error('closed'))))
  }

  /** Resolves to a line without its CRLF, as a byte string. `limit` counts both. */
  async line(limit: number): Promise<string> {
    const parts: Buffer[] = []
    for (let size = 0; ;) {
      const end = this.#buffer.indexOf(0x0a)
      const part = this.#consume(end === -1 ? this.#buffer.length : end + 1)
      size += part.length
      if (size > limit)
        throw new PeerError('PORTICO_TOO_LARGE', 'The head of the response is too long')
      parts.push(part)
      if (end !== -1) break
      if (await this.#fill()) continue
      if (this.#socket.bytesRead === 0) {
        throw new EmptyResponse('PORTICO_DISCONNECTED', 'The response is empty')
      }
      throw new PeerError('PORTICO_DISCONNECTED', 'The connection ended inside the head')
    }
    const line = Buffer.concat(parts).toString('latin1')
    if (!line.endsWith('\r\n')) throw malformed('line end', line)
    return line.slice(0, -2)
  }

  /** Exactly `count` bytes, in chunks as they arrive. */
  async *take(count: number): AsyncGenerator<Buffer, void, undefined> {
    for (let left = count; left > 0;) {
      if (this.#buffer.length === 0 && !(await this.#fill())) {
        throw new PeerError('PORTICO_BODY_CUT_SHORT', `The response body ended ${left} bytes early`)
      }
      const part = this.#consume(Math.min(left, this.#buffer.length))
      left -= part.length
      yield part
    }
  }

  /** All bytes until the peer ends the connection. */
  async *rest(): AsyncGenerator<Buffer, void, undefined> {
    while (this.#buffer.length > 0 || (await this.#fill())) yield this.#consume(this.#buffer.length)
  }

  #consume(count: number): Buffer {
    const part = this.#buffer.subarray(0, count)
    this.#buffer = this.#buffer.subarray(count)
    this.record?.push(part)
    return part
  }

  /** Refills the empty buffer; false at the end. */
  async #fill(): Promise<boolean> {
    if (this.#waiting.length === 0) {
      if (this.#end === 'open') {
        await this.#more()
        return this.#fill()
      }
      if (this.#end === 'ended') return false
      throw this.#end
    }
    this.#buffer = this.#waiting.length === 1 ? this.#waiting[0]! : Buffer.concat(this.#waiting)
    this.#waiting = []
    this.#size = 0
    this.#socket.resume()
    return true
  }

  /** Waits while an upload makes progress: the response may come after its last byte. */
  async #more(): Promise<void> {
    const more = new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    for (;;) {
      const sent = this.#socket.bytesWritten
      try {
        return await within(this.#timeout, 'Nothing was received', more)
      } catch (error) {
        if (this.#socket.bytesWritten === sent) throw error
      }
    }
  }

  /** Only the first end counts: a reset after it changes nothing. */
  #finish(end: 'ended' | PeerError): void {
    if (this.#end === 'open') this.#end = end
    this.#wake?.()
  }
}

/** The value of the promise, unless it takes more than `timeout` milliseconds; Infinity means no limit. */
export async function within<T>(timeout: number, what: string, promise: Promise<T>): Promise<T> {
  if (timeout === Infinity) return promise
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new PeerError('PORTICO_DISCONNECTED', `${what} within ${timeout} ms`))
    }, timeout)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The error for bytes that the protocol does not allow. */
export function malformed(what: string, text: string): PeerError {
  const shown = JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
  return new PeerError('PORTICO_PROTOCOL', `Malformed ${what} in the response: ${shown}`)
}

/** The error for a connection that could not be opened, or failed. */
export function disconnected(error: unknown): PeerError {
  if (error instanceof PeerError) return error
  const message = error instanceof Error ? error.message : String(error)
  const fault = new PeerError('PORTICO_DISCONNECTED', `The connection failed: ${message}`)
  fault.cause = error
  return fault
}

/** Resolves when a socket is open. Rejects if it fails, or is destroyed before. */
export function opened(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed')))
  })
}

/**
 * Destroys `stream` when `signal` aborts. Call what it returns without an argument at the end; with
 * an error, it returns the one to throw: the reason of the signal, if that is the cause.
 */
export function watch(
  stream: { destroy(): unknown },
  signal: AbortSignal | undefined,
): (error?: unknown) => unknown {
  const abort = () => stream.destroy()
  signal?.addEventListener('abort', abort)
  if (signal?.aborted) abort()
  return (error) => {
    signal?.removeEventListener('abort', abort)
    return signal?.aborted ? signal.reason : error
  }
}
