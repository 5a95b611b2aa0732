/** An `http.IncomingMessage` that a gateway fills instead of Node's parser. */
import type { Buffer } from 'node:buffer'
import { IncomingMessage } from '../node-http.ts'

/** What Node's parser calls. */
interface Internals {
  _addHeaderLines(lines: string[], count: number): void
  _read(size: number): void
}

const prototype = IncomingMessage.prototype as unknown as Internals

/** Fills `rawHeaders`. Node makes `headers` from it, by its own rules, when they are first used. */
export function addHeaderLines(request: IncomingMessage, lines: string[]): void {
  ;(request as IncomingMessage & Internals)._addHeaderLines(lines, lines.length)
}

/** What notes the progress of a body. */
interface Reader {
  /** Something was read. */
  active(): void
  /** The error with which the request is destroyed, if reading fails with `error`. */
  failed(error: unknown): Error
}

/** Gives the request a body that is read from `chunks` as the application reads. */
export function readFrom(
  request: IncomingMessage,
  chunks: AsyncIterator<Buffer>,
  reader: Reader,
): void {
  request._read = (size) => {
    prototype._read.call(request, size) // Node's own `_read` sets internal flags.
    void pull(request, chunks, reader)
  }
}

async function pull(
  request: IncomingMessage,
  chunks: AsyncIterator<Buffer>,
  reader: Reader,
): Promise<void> {
  try {
    const { done, value } = await chunks.next()
    reader.active()
    if (request.complete) return // The response has ended, and the rest is not needed.
    if (!done) {
      request.push(value)
      return
    }
    request.complete = true
    request.push(null)
  } catch (error) {
    request.destroy(reader.failed(error))
  }
}
