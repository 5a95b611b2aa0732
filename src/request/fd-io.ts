/**
 * Input and output of a CGI script: plain reads and writes on descriptors 0, 1 and 2.
 *
 * `process.stdin`, `stdout` and `stderr` are never touched: each costs a CGI request a millisecond
 * and more, and stdout loses what a pipe has not taken when the process is made to exit.
 */
import { Buffer } from 'node:buffer'
import { readSync, writeSync } from 'node:fs'
import { PeerError } from '../errors.ts'
import type { ByteSource } from './input.ts'

/**
 * Bytes that are read at once. The fewer, the sooner V8 collects what has been used: blocks are no
 * burden in its eyes before they come to 32 MiB, unless there is other garbage beside them.
 */
const READ_SIZE = 8_192

/** First and longest pause, in ms, before a descriptor that was not ready is tried again. */
const SHORTEST_PAUSE = 1
const LONGEST_PAUSE = 16

/**
 * Bytes from a descriptor. Reading blocks, as it does in every CGI script: only this one request
 * waits for it, and a read that is under way keeps no process alive. Where the descriptor does not
 * block (a socket whose other end is ours, too) it is tried again after a pause.
 */
export function descriptorSource(fd: number): ByteSource {
  // Filled piece by piece, so that a client who sends single bytes does not make each of them cost
  // a block.
  let block = Buffer.alloc(0)

  function attempt(size: number): Buffer | null | undefined {
    if (block.length === 0) block = Buffer.allocUnsafe(Math.min(size, READ_SIZE))
    try {
      const count = readSync(fd, block, 0, Math.min(size, block.length), null)
      const piece = block.subarray(0, count)
      block = block.subarray(count)
      return count === 0 ? null : piece
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EAGAIN') return undefined
      if (code === 'EOF') return null
      throw new PeerError('PORTICO_DISCONNECTED', `The request body cannot be read (${code})`)
    }
  }

  async function later(size: number): Promise<Buffer | null> {
    for (let pause = SHORTEST_PAUSE; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      await sleep(pause)
      const piece = attempt(size)
      if (piece !== undefined) return piece
    }
  }

  return {
    read(size) {
      const piece = attempt(size)
      return piece === undefined ? later(size) : piece
    },
  }
}

/** Bytes to a descriptor, as much as it takes: an `Output` for SimpleHandler. */
export class DescriptorOutput {
  readonly partialWrites = true
  readonly #fd: number
  #pause = SHORTEST_PAUSE

  constructor(fd: number) {
    this.#fd = fd
  }

  /** The number of bytes that were taken; a promise of 0 after a pause if there was no room. */
  write(bytes: Buffer): number | Promise<number> {
    try {
      const taken = writeSync(this.#fd, bytes)
      this.#pause = SHORTEST_PAUSE
      return taken
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    }
    const pause = sleep(this.#pause)
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE)
    return pause.then(() => 0)
  }
}

/**
 * Writes text to a descriptor for logs. What cannot be written is dropped: there is nowhere left
 * to complain, and no request may fail for it.
 */
export function writeLog(fd: number, text: string): void {
  try {
    for (let rest = Buffer.from(text); rest.length > 0;) {
      rest = rest.subarray(writeSync(fd, rest))
    }
  } catch {
    // Closed by the server, or full and not blocking.
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
