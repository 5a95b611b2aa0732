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

/** Gives the request a body that is read from `chunks` as the application reads. */
export function readFrom(
  request: IncomingMessage,
  chunks: AsyncIterator<Buffer>,
  onRead: () => void,
): void {
  request._read = (size) => {
    prototype._read.call(request, size) // Node's own `_read` sets internal flags.
    void pull(request, chunks, onRead)
  }
}

async function pull(
  request: IncomingMessage,
  chunks: AsyncIterator<Buffer>,
  onRead: () => void,
): Promise<void> {
  try {
    const { done, value } = await chunks.next()
    onRead()
    if (request.complete) return // The response has ended, and the rest is not needed.
    if (!done) {
      request.push(value)
      return
    }
    request.complete = true
    request.push(null)
  } catch (error) {
    request.destroy(error as Error)
  }
}
