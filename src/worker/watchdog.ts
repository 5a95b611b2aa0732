/**
 * Watches the main thread from another one. A blocked main thread cannot log anything itself, and no
 * other process can see its stack without the rights of a debugger.
 */
import { url as inspectorUrl } from 'node:inspector'
import { Worker as Thread } from 'node:worker_threads'

/** How often the main thread shows that it is alive, in milliseconds. */
export const BEAT_TIME = 250

/** Indices of the memory that both threads share. */
export const BEATS = 0
export const DEBUGGED = 1

/** What the thread needs. Times in milliseconds; 0 for no limit. */
export interface WatchdogData {
  readonly shared: Int32Array
  readonly blockTimeout: number
  readonly slow: number
  /** Whether the log is JSON. */
  readonly json: boolean
}

/** The symbol of the global `Questions`, which the thread calls while the main thread is paused. */
export const QUESTIONS = 'portico.watchdog'

/** What the thread can ask the main thread. */
export interface Questions {
  /** The lines of the slow log for the requests that are held, as JSON. */
  slow(ms: number): string[]
  /** One line for each request that is held: 'GET /path'. */
  held(): string[]
}

/** Starts the thread if there is a limit. The returned function stops it. */
export function startWatchdog(
  limits: Omit<WatchdogData, 'shared'>,
  questions: Questions,
): () => void {
  if (limits.blockTimeout === 0 && limits.slow === 0) return () => {}
  Object.defineProperty(globalThis, Symbol.for(QUESTIONS), { value: questions, configurable: true })
  const shared = new Int32Array(new SharedArrayBuffer(8))
  const beat = setInterval(() => {
    Atomics.add(shared, BEATS, 1)
    // At a breakpoint of a debugger nothing is wrong.
    Atomics.store(shared, DEBUGGED, inspectorUrl() === undefined ? 0 : 1)
  }, BEAT_TIME)
  beat.unref()
  const workerData: WatchdogData = { ...limits, shared }
  const thread = new Thread(new URL('../worker/watchdog-thread.js', import.meta.url), {
    workerData,
    execArgv: [],
    // It allocates next to nothing.
    resourceLimits: { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 16 },
  })
  thread.on('error', () => {}) // The worker goes on, and its master still ends it.
  thread.unref()
  return () => {
    clearInterval(beat)
    void thread.terminate()
  }
}
