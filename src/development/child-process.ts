/** The child, which runs the application, as its parent sees it. */
import { spawn, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { logEntry } from '../log.ts'
import type { BoundSocket } from '../master/bind.ts'
import {
  reportDescriptor,
  SETTINGS_VARIABLE,
  STOP_TIME,
  type ChildSettings,
  type FromChild,
  type ToChild,
} from './messages.ts'
import { reportsFrom } from './reports.ts'

const CHILD = fileURLToPath(new URL('../development/child.cjs', import.meta.url))

/** Milliseconds until a child that does not stop is killed: it may be blocked. */
const KILL_TIME = 2_000

/** Milliseconds after which a start that takes long is explained. */
const EXPLAIN_AFTER = 5_000

/** Milliseconds for the explanation; the main thread of a child that sends none is blocked. */
const EXPLAIN_TIME = 500

export interface ChildLaunch {
  readonly directory: string
  readonly env: NodeJS.ProcessEnv
  readonly execArgv: readonly string[]
  readonly sockets: readonly BoundSocket[]
  readonly settings: Omit<ChildSettings, 'listeners'>
  /** Whether the parent reads the terminal, and passes lines on. */
  readonly hasKeys: boolean
}

export interface ChildEvents {
  onReport(message: FromChild): void
  /** It has ended by itself, or was killed; not called after `stop()`. */
  onEnd(how: string): void
}

export function notSpawned({ directory }: ChildLaunch, error: unknown): FromChild {
  const { message } = error as Error
  const text = `the application cannot be started in ${directory}: ${message}`
  return { portico: 'refused', text, inUse: false }
}

export class Child {
  readonly startedAt = Date.now()
  readonly #process: ChildProcess
  #isReady = false
  #isStopping = false
  /** What a start that takes long waits for. */
  #waitsFor = ''
  #explaining: NodeJS.Timeout | undefined

  /** @throws an error of `spawn`: Node emits 'error' for some codes, and throws for others. */
  constructor(launch: ChildLaunch, events: ChildEvents) {
    const child = start(launch)
    this.#process = child
    const take = reportsFrom((message) => {
      if (message.portico === 'ready') this.#ready()
      if (message.portico === 'waits') this.#waitsFor = message.text
      else events.onReport(message)
    })
    child.once('error', (error) => events.onReport(notSpawned(launch, error)))
    if (child.pid === undefined) return // 'error' follows, and the streams may be missing.
    const fd = reportDescriptor(launch.sockets)
    const reports = child.stdio[fd] as NodeJS.ReadableStream
    reports.setEncoding('utf8').on('data', take)
    child.stdin?.on('error', () => {}) // It has ended.
    // After the last report.
    child.once('close', (code, signal) => {
      clearTimeout(this.#explaining)
      if (!this.#isStopping) events.onEnd(signal ?? `exit code ${code}`)
    })
    this.#explaining = setTimeout(() => this.#explain(), EXPLAIN_AFTER)
  }

  get isReady(): boolean {
    return this.#isReady
  }

  #ready(): void {
    this.#isReady = true
    clearTimeout(this.#explaining)
  }

  #explain(): void {
    this.#send({ portico: 'explain' })
    this.#explaining = setTimeout(() => {
      const what = this.#waitsFor || 'the code of the application blocks its main thread'
      logEntry(`Not ready after ${EXPLAIN_AFTER / 1000} s: ${what}`)
    }, EXPLAIN_TIME)
  }

  #send(message: ToChild): void {
    if (this.#process.connected) this.#process.send(message, () => {})
  }

  write(line: string): void {
    this.#process.stdin?.write(`${line}\n`)
  }

  /** Ends it: it completes its requests, unless that takes too long. */
  async stop(): Promise<void> {
    this.#isStopping = true
    clearTimeout(this.#explaining)
    const { exitCode, signalCode } = this.#process
    if (exitCode !== null || signalCode !== null) return
    const gone = new Promise((settle) => this.#process.once('exit', settle))
    this.#send({ portico: 'stop' })
    // One that is not ready has no requests.
    const timer = setTimeout(() => this.kill(), this.#isReady ? KILL_TIME : STOP_TIME)
    await gone
    clearTimeout(timer)
  }

  kill(): void {
    this.#process.kill('SIGKILL')
  }
}

function start({ directory, env, execArgv, sockets, settings, hasKeys }: ChildLaunch) {
  const all: ChildSettings = { ...settings, listeners: sockets.map((socket) => socket.settings) }
  return spawn(process.execPath, [...execArgv, CHILD], {
    cwd: directory,
    env: {
      ...env,
      [SETTINGS_VARIABLE]: JSON.stringify(all),
      WATCH_REPORT_DEPENDENCIES: '1',
    },
    stdio: [
      hasKeys ? 'pipe' : 'inherit', // The application may read from the terminal.
      'inherit',
      'inherit',
      ...sockets.map(({ fd }) => fd),
      'pipe',
      'ipc',
    ],
  })
}
