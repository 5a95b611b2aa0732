/** The thread of `watchdog.ts`: finds out what a blocked main thread does, and ends the process. */
import { writeSync } from 'node:fs'
import { Session, type Debugger } from 'node:inspector'
import { workerData } from 'node:worker_threads'
import { jsonEntry } from '../json-log.ts'
import { asLogEntry } from '../text.ts'
import { BEATS, BEAT_TIME, DEBUGGED, QUESTIONS, type WatchdogData } from './watchdog.ts'

/**
 * Milliseconds for the main thread to stop at a statement. If it does not, it is inside a system
 * call or of native code.
 */
const PAUSE_TIME = 2_000

/** Frames of a stack in the log. */
const MAX_FRAMES = 20

/** What the main thread was found at. */
interface Finding {
  readonly stack: readonly string[]
  /** The response to the question. */
  readonly lines: readonly string[]
}

const NOT_FOUND: Finding = { stack: ['in native code or a system call'], lines: [] }

const { shared, blockTimeout, slow, json } = workerData as WatchdogData

// Counts its own ticks: after the process was stopped, a clock would show a long silence.
let last = -1
let silent = 0
let examined = false
let busy = false

setInterval(() => {
  const beat = Atomics.load(shared, BEATS)
  if (beat !== last || Atomics.load(shared, DEBUGGED) === 1) {
    last = beat
    silent = 0
    examined = false
    return
  }
  silent += BEAT_TIME
  if (busy) return
  if (blockTimeout > 0 && silent >= blockTimeout) void end()
  else if (slow > 0 && silent >= slow && !examined) void logSlow()
}, BEAT_TIME)

async function logSlow(): Promise<void> {
  busy = examined = true
  const { stack, lines } = await examine(`slow(${silent})`)
  for (const line of lines) {
    write(`${JSON.stringify({ ...(JSON.parse(line) as object), stack })}\n`)
  }
  busy = false
}

async function end(): Promise<void> {
  busy = true
  const { stack, lines } = await examine('held()')
  // It may have come back just now.
  if (Atomics.load(shared, BEATS) !== last) {
    busy = false
    return
  }
  const what = `Worker ${process.pid} was blocked for ${silent / 1000} s and ends`
  const requests = lines.length === 0 ? [] : ['Requests that it held:', ...lines]
  const text = [`${what}. Its main thread was at:`, ...stack, ...requests].join('\n')
  const origin = { worker: process.pid }
  write(json ? jsonEntry(what, 'error', origin, { stack, requests: lines }) : asLogEntry(text))
  process.kill(process.pid, 'SIGKILL')
}

/** `process.stderr` of a thread goes through the main thread. */
function write(text: string): void {
  try {
    writeSync(2, text)
  } catch {
    // The log is gone.
  }
}

/** Pauses the main thread, and asks it a question. */
function examine(question: string): Promise<Finding> {
  return new Promise((resolve) => {
    const session = new Session()
    const timer = setTimeout(() => done(NOT_FOUND), PAUSE_TIME)
    function done(finding: Finding): void {
      clearTimeout(timer)
      session.disconnect()
      resolve(finding)
    }
    session.connectToMainThread()
    const urls = new Map<string, string>()
    session.on('Debugger.scriptParsed', ({ params }) => urls.set(params.scriptId, params.url))
    session.on('Debugger.paused', ({ params: { callFrames } }) => {
      const stack = callFrames.slice(0, MAX_FRAMES).map((frame) => showFrame(frame, urls))
      const expression = `globalThis[Symbol.for('${QUESTIONS}')].${question}`
      session.post(
        'Debugger.evaluateOnCallFrame',
        { callFrameId: callFrames[0]!.callFrameId, expression, returnByValue: true },
        (error, reply) => {
          const lines = error ? [] : ((reply.result.value ?? []) as string[])
          session.post('Debugger.resume', () => done({ stack, lines }))
        },
      )
    })
    session.post('Debugger.enable', () => session.post('Debugger.pause'))
  })
}

function showFrame(
  { functionName, location }: Debugger.CallFrame,
  urls: ReadonlyMap<string, string>,
): string {
  const { scriptId, lineNumber, columnNumber = 0 } = location
  const at = `${urls.get(scriptId) ?? ''}:${lineNumber + 1}:${columnNumber + 1}`
  return `at ${functionName || '<anonymous>'} (${at})`
}
