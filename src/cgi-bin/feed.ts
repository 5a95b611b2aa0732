/** Passes a request body to a script. */
import type { Writable } from 'node:stream'

/** Shows whether the client is slow, so that the script does not count as silent. */
export interface FeedState {
  /** The script has read everything that the client has sent so far. */
  waitsForClient: boolean
}

/**
 * Passes chunks on, no faster than the script reads them, until it closes its stdin.
 *
 * @param progress called whenever the script or the client has done something.
 * @throws what reading the body throws.
 */
export async function feed(
  stdin: Writable,
  chunks: AsyncIterable<Buffer>,
  state: FeedState,
  progress: () => void,
): Promise<void> {
  stdin.on('error', () => {}) // A script need not read its body.
  const iterator = chunks[Symbol.asyncIterator]()
  try {
    for (;;) {
      state.waitsForClient = true
      const { done, value } = await iterator.next()
      state.waitsForClient = false
      if (done || stdin.destroyed) break
      progress()
      if (!stdin.write(value)) await drained(stdin)
      progress()
    }
    stdin.end()
    await iterator.return?.()
  } finally {
    state.waitsForClient = false
  }
}

/** Resolves when a stream takes more, or has closed. */
function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done)
      stream.off('close', done)
      resolve()
    }
    stream.on('drain', done)
    stream.on('close', done)
    if (stream.destroyed) done()
  })
}
