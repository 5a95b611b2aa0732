/** `readStream`: the stream of a Response as the body of an application. */
import { PeerError } from '../errors.ts'
import type { Body, Chunk, Environ, Write } from '../types.ts'

/**
 * Reads a stream. If all of it is available at once the result is a list, so that the handler can
 * announce its length. Otherwise the head is sent before the first chunk exists: an event stream
 * may take long to produce one.
 */
export async function readStream(
  stream: ReadableStream<Chunk>,
  write: Write,
  environ: Environ,
): Promise<Body> {
  const reader = stream.getReader()
  const ready: Chunk[] = []
  let next = reader.read()
  while (ready.length < 2) {
    const step = await atOnce(next)
    if (step === null) break
    if (step.done) return ready
    ready.push(step.value)
    next = reader.read()
  }
  next.catch(() => {}) // It may fail before it is awaited below, and is reported there.
  if (ready.length === 0) await write('')
  return streamed(reader, ready, next, environ['portico.signal'])
}

/** Cancels the stream on an abort: a generator's `return` would wait for the read in progress. */
function streamed(
  reader: ReadableStreamDefaultReader<Chunk>,
  ready: readonly Chunk[],
  next: ReturnType<typeof reader.read>,
  signal: AbortSignal,
): Body {
  // An error of the stream has already rejected a read.
  const cancel = () => reader.cancel(signal.reason).catch(() => {})
  if (signal.aborted) void cancel()
  else signal.addEventListener('abort', cancel)
  return {
    async *[Symbol.asyncIterator]() {
      yield* ready
      for (let step = await next; !step.done; step = await reader.read()) yield step.value
      // A cancelled stream looks like one that has ended.
      if (signal.aborted) throw new PeerError('PORTICO_DISCONNECTED', 'The client disconnected')
    },
    close() {
      signal.removeEventListener('abort', cancel)
      return cancel()
    },
  }
}

/**
 * The result of a promise that settles in this turn of the event loop; null if it takes longer.
 * Most take only a few microtasks, and waiting for those costs less than a turn.
 */
async function atOnce<T>(promise: Promise<T>): Promise<T | null> {
  const wait = { over: false }
  const end = () => {
    wait.over = true
  }
  promise.then(end, end)
  for (let i = 0; i < MICROTASKS && !wait.over; i += 1) await NOTHING
  if (wait.over) return promise
  return Promise.race([promise, new Promise<null>((resolve) => setImmediate(resolve, null))])
}

/** A form with files takes 7 microtasks for a chunk, other bodies in memory take 3 (Node 20). */
const MICROTASKS = 8
const NOTHING = Promise.resolve()
