/** Writes several parts to a socket at once, and waits for slow peers. */
import type { EventEmitter } from 'node:events'
import type { Writable } from 'node:stream'
import type { Part } from '../protocol/part.ts'

/** Callers that wait for the same stream share one promise and one listener. */
const waiting = new WeakMap<Writable, Promise<void>>()

/**
 * Returns a promise if the caller has to wait before it writes more. The promise also resolves when
 * `connection` closes; pass it if it is not the stream itself.
 */
export function drained(stream: Writable, connection: EventEmitter = stream): void | Promise<void> {
  // 'close' may not have been emitted yet, and a body that never waits would keep it from being emitted.
  if (stream.destroyed) return new Promise((resolve) => setImmediate(resolve))
  if (!stream.writableNeedDrain) return
  let promise = waiting.get(stream)
  if (promise === undefined) {
    promise = new Promise((resolve) => {
      const done = () => {
        waiting.delete(stream)
        stream.off('drain', done)
        connection.off('close', done)
        resolve()
      }
      stream.on('drain', done)
      connection.on('close', done)
    })
    waiting.set(stream, promise)
  }
  return promise
}

/** Writes the parts with one system call, if the kernel has room for them. */
export function writeParts(stream: Writable, parts: readonly Part[]): void {
  if (parts.length > 1) stream.cork()
  for (const part of parts) {
    if (typeof part === 'string') stream.write(part, 'latin1')
    else stream.write(part)
  }
  if (parts.length > 1) stream.uncork()
}
