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
  let next: Reading | null = null
  while (ready.length < 2) {
    next = reader.read()
    const step = await atOnce(next)
    if (step === null) break
    if (step.done) return ready
    ready.push(step.value)
    next = null
  }
  next?.catch(() => {}) // It may fail before it is awaited below, and is reported there.
  if (ready.length === 0) await write('')
  return streamed(reader, ready, next, environ['portico.signal'])
}

type Reading = ReturnType<ReadableStreamDefaultReader<Chunk>['read']>

/** Cancels the stream on an abort: a generator's `return` would wait for the read in progress. */
function streamed(
  reader: ReadableStreamDefaultReader<Chunk>,
  ready: readonly Chunk[],
  next: Reading | null,
  signal: AbortSignal,
): Body {
  // An error of the stream has already rejected a read.
  const cancel = () => reader.cancel(signal.reason).catch(() => {})
  const end = () => {
    signal.removeEventListener('abort', cancel)
    return cancel()
  }
  if (signal.aborted) void cancel()
  else signal.addEventListener('abort', cancel)
  return {
    async *[Symbol.asyncIterator]() {
      yield* ready
      const first = next ?? reader.read()
      next = null
      for (let step = await first; !step.done; step = await reader.read()) yield step.value
      // A cancelled stream looks like one that has ended.
      if (signal.aborted) throw new PeerError('PORTICO_DISCONNECTED', 'The client disconnected')
    },
    close() {
      if (next === null) return end()
      void settled(next).then(end)
    },
  }
}

/**
 * Waits for the first read, which may still be in progress when a HEAD request ends. If the stream
 * was made of an async iterable, such as a Readable, and is cancelled while a read of its end is in
 * progress, Node (20 to 26) throws an uncaught error.
 */
function settled(reading: Reading): Promise<unknown> {
  const late = new Promise((resolve) => setTimeout(resolve, MAX_WAIT).unref())
  return Promise.race([reading.catch(() => {}), late])
}

/** How long, in ms, a stream that is not needed may take to be cancelled. */
const MAX_WAIT = 1_000

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
