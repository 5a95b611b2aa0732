/**
 * What comes over a socket, by lines and by counts, from the side of whoever waits for it.
 *
 * Bytes are taken off the socket as they come, because Node drops what it holds when a write
 * fails: a server's early answer would be lost with the request that it refuses.
 */
import { Buffer } from 'node:buffer'
import type { Socket } from 'node:net'
import { PeerError } from '../errors.ts'

/** What may wait here; the socket is paused above it. Sixteen of Node's reads of 64 KiB. */
const HIGH_WATER_MARK = 1024 * 1024

export class SocketReader {
  readonly #socket: Socket
  readonly #timeout: number
  #waiting: Buffer[] = []
  #size = 0
  #end: 'open' | 'ended' | PeerError = 'open'
  #wake: (() => void) | undefined
  #buffer: Buffer = Buffer.alloc(0)
  /** Gets a copy of everything that is read, if somebody sets it. */
  record: Buffer[] | undefined

  /** `timeout`: milliseconds without a byte, either way, that a read waits. */
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
    const pieces: Buffer[] = []
    for (let size = 0; ;) {
      const end = this.#buffer.indexOf(0x0a)
      const piece = this.#consume(end === -1 ? this.#buffer.length : end + 1)
      size += piece.length
      if (size > limit) throw new PeerError('PORTICO_TOO_LARGE', 'the head of the answer')
      pieces.push(piece)
      if (end !== -1) break
      if (!(await this.#fill())) {
        throw new PeerError('PORTICO_DISCONNECTED', 'the connection ended within the head')
      }
    }
    const line = Buffer.concat(pieces).toString('latin1')
    if (!line.endsWith('\r\n')) throw malformed('line end', line)
    return line.slice(0, -2)
  }

  /** Exactly so many bytes, in the pieces in which they come. */
  async *take(count: number): AsyncGenerator<Buffer, void, undefined> {
    for (let left = count; left > 0;) {
      if (this.#buffer.length === 0 && !(await this.#fill())) {
        throw new PeerError('PORTICO_BODY_CUT_SHORT', `the body ended ${left} bytes early`)
      }
      const piece = this.#consume(Math.min(left, this.#buffer.length))
      left -= piece.length
      yield piece
    }
  }

  /** Everything until the peer ends the connection. */
  async *rest(): AsyncGenerator<Buffer, void, undefined> {
    while (this.#buffer.length > 0 || (await this.#fill())) yield this.#consume(this.#buffer.length)
  }

  #consume(count: number): Buffer {
    const piece = this.#buffer.subarray(0, count)
    this.#buffer = this.#buffer.subarray(count)
    this.record?.push(piece)
    return piece
  }

  /** Waits for more; false at the end. Only for when the buffer is empty. */
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

  /** An upload that makes progress is no silence: its answer may come after the last byte. */
  async #more(): Promise<void> {
    const more = new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    for (;;) {
      const sent = this.#socket.bytesWritten
      try {
        return await within(this.#timeout, 'nothing came', more)
      } catch (error) {
        if (this.#socket.bytesWritten === sent) throw error
      }
    }
  }

  /** What happened first stays: a reset after the end is no news. */
  #finish(end: 'ended' | PeerError): void {
    if (this.#end === 'open') this.#end = end
    this.#wake?.()
  }
}

/** The promise's value, unless the time (milliseconds) runs out. */
export async function within<T>(timeout: number, what: string, promise: Promise<T>): Promise<T> {
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

/** The peer sent what the protocol does not allow. */
export function malformed(what: string, text: string): PeerError {
  const shown = JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
  return new PeerError('PORTICO_PROTOCOL', `malformed ${what} in the answer: ${shown}`)
}

/** The connection could not be made, or broke. */
export function disconnected(error: unknown): PeerError {
  if (error instanceof PeerError) return error
  const message = error instanceof Error ? error.message : String(error)
  const fault = new PeerError('PORTICO_DISCONNECTED', `the connection failed: ${message}`)
  fault.cause = error
  return fault
}
