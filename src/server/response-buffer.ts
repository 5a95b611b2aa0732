/** `ResponseBuffer`: the part of a response that waits to be sent, for FastCGI, SCGI and node-fastcgi. */
import { Buffer } from 'node:buffer'
import { NO_PARTS, type Part } from '../protocol/part.ts'
import type { Chunk } from '../types.ts'

/** Collects a head and chunks of the body until the gateway takes them. */
export class ResponseBuffer {
  #parts: Part[] = NO_PARTS as Part[]

  /** Adds the head, a byte string. */
  addHead(head: string): void {
    this.#push(head)
  }

  /** Adds a chunk of the body, which has `size` bytes. */
  add(chunk: Chunk, size: number): void {
    this.#push(partOf(chunk, size))
  }

  /** Returns everything that was added since the last call. */
  take(): readonly Part[] {
    const parts = this.#parts
    this.#parts = NO_PARTS as Part[]
    return parts
  }

  #push(part: Part): void {
    const parts = this.#parts
    // Usually there are two parts, but push() on an empty array reserves room for seventeen.
    if (parts.length === 0) this.#parts = [part]
    else if (parts.length === 1) this.#parts = [parts[0]!, part]
    else parts.push(part)
  }
}

/** A chunk of `size` bytes as it is sent: ASCII text stays a string, anything else becomes bytes. */
function partOf(chunk: Chunk, size: number): Part {
  if (chunk instanceof Buffer) return chunk
  if (typeof chunk !== 'string') {
    return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  }
  return chunk.length === size ? chunk : Buffer.from(chunk)
}
