/** `WorkerProcess`: one worker, as its master sees it. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { forwardLog } from '../json-log.ts'
import { logEntry } from '../log.ts'
import type { SocketHandle } from '../node-internals/hand-over.ts'
import type { FromWorker, Pulse, Reason, ToWorker, WorkerSettings } from './messages.ts'
import { now } from './clock.ts'

/** Milliseconds after the grace period after which a worker that still runs is killed. */
const KILL_AFTER = 1_000

/** Milliseconds for the end of a channel that the worker's own child processes may hold. */
const LAST_MESSAGES_TIME = 500

/** Milliseconds after which a start that takes long is explained, or half of the time that it may take. */
const EXPLAIN_AFTER = 5_000

/** Milliseconds for the explanation; the main thread of a worker that sends none is blocked. */
const EXPLAIN_TIME = 500

/** Variables that a worker must not have: systemd's protocol is only for the master. */
const MASTERS_VARIABLES = [
  'LISTEN_PID',
  'LISTEN_PIDFDID',
  'LISTEN_FDS',
  'LISTEN_FDNAMES',
  'NOTIFY_SOCKET',
  'WATCHDOG_PID',
  'WATCHDOG_USEC',
]

/** How to start workers. */
export interface Launch {
  readonly descriptors: readonly number[]
  readonly directory: string
  readonly env: NodeJS.ProcessEnv
  readonly execArgv: readonly string[]
  readonly uid: number | undefined
  readonly gid: number | undefined
  readonly log: 'text' | 'json'
  readonly bootTimeout: number
}

export type WorkerState = 'starting' | 'ready' | 'retiring' | 'gone'

/** The worker ended before it was ready, or was too slow. */
export class BootError extends Error {}

/** What a worker reports; `this` is the pool. */
export interface WorkerEvents {
  /** A connection without a process. */
  onConnection(from: WorkerProcess, listener: number, handle: SocketHandle): void
  /** The worker asks for a successor. */
  onReplace(worker: WorkerProcess, reason: Reason): void
  onExit(worker: WorkerProcess): void
}

export class WorkerProcess {
  readonly startedAt = new Date()
  /** Resolves when it serves; rejects with a `BootError`. */
  readonly ready: Promise<void>
  readonly exited: Promise<void>
  state: WorkerState = 'starting'
  /** Takes the connections that this worker gives away. */
  heir: WorkerProcess | null = null
  pulse: Pulse | null = null
  /** When its last message came, on the clock of `now()`. */
  lastSign = now()
  /** What the pool saw when it last looked, and how often nothing had come since. */
  checkedSign = 0
  silentChecks = 0
  /** How it ended: 'exit code 1', 'SIGKILL'. */
  end = ''
  /** When it was ready; 0 before. */
  readyAt = 0
  readonly #child: ChildProcess
  readonly #events: WorkerEvents
  #failure = ''
  /** Why it is not ready. */
  #waitsFor = ''
  #pongs: (() => void)[] = []
  /** Callbacks for connections that have not been sent to the worker yet. */
  readonly #passing = new Set<() => void>()
  #killTimer: NodeJS.Timeout | undefined
  #onGone = (): void => {}

  /** @throws {BootError} if the system refuses a process. */
  constructor(launch: Launch, settings: WorkerSettings, events: WorkerEvents) {
    this.#events = events
    const child = start(launch)
    this.#child = child
    this.exited = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#failure = notSpawned(launch, error)
        this.#ended('cannot start', resolve)
      })
      child.once('exit', (code, signal) => {
        const ended = (): void => this.#ended(signal ?? `exit code ${code ?? 'unknown'}`, resolve)
        if (!child.connected) {
          ended()
          return
        }
        // Its last messages, such as its counters, are still to be read.
        child.once('disconnect', ended)
        setTimeout(ended, LAST_MESSAGES_TIME).unref()
      })
    })
    this.ready = this.#becomesReady(launch.bootTimeout)
    this.ready.catch(() => {}) // The pool waits for it later.
    if (child.pid === undefined) return // 'error' follows, and the streams may be missing.
    if (child.stderr !== null) forwardLog(child.stderr, child.pid)
    this.#send({ portico: 'start', settings })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Whether it can take connections. */
  get isReady(): boolean {
    return this.state === 'ready' && this.#child.connected
  }

  #becomesReady(bootTimeout: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const why = this.#waitsFor && `: ${this.#waitsFor}`
        this.#failure = `Worker ${this.pid} was not ready after ${bootTimeout / 1000} s${why}`
        this.kill()
      }, bootTimeout)
      const waited = Math.min(EXPLAIN_AFTER, bootTimeout / 2)
      const explaining = setTimeout(() => {
        const rest = (bootTimeout - waited) / 1000
        void this.#explain(waited / 1000, `Waiting for ${rest} s more (--boot-timeout)`)
      }, waited)
      this.#child.on('message', (message: FromWorker | null, handle: unknown) => {
        if (message?.portico === 'ready') {
          clearTimeout(timer)
          clearTimeout(explaining)
          this.state = 'ready'
          this.readyAt = now()
          resolve()
        }
        this.#receive(message, handle as SocketHandle | undefined)
      })
      this.#onGone = () => {
        clearTimeout(timer)
        clearTimeout(explaining)
        const text = this.#failure || `Worker ${this.pid} ended before it was ready (${this.end})`
        reject(new BootError(text))
      }
    })
  }

  /** Logs what a start that takes long waits for. */
  async #explain(seconds: number, rest: string): Promise<void> {
    if (!(await this.responds(EXPLAIN_TIME))) {
      this.#waitsFor = 'the code of the application blocks its main thread'
    }
    if (this.state !== 'starting') return
    const what = `Worker ${this.pid} is not ready after ${seconds} s`
    logEntry(`${what}: ${this.#waitsFor}. ${rest}`, 'warn')
  }

  #receive(message: FromWorker | null, handle: SocketHandle | undefined): void {
    this.lastSign = now()
    switch (message?.portico) {
      case 'failed':
        this.#failure = message.text
        break
      case 'pulse':
        this.pulse = message.pulse
        break
      case 'pong':
        this.#waitsFor = message.waitsFor ?? ''
        for (const resolve of this.#pongs.splice(0)) resolve()
        break
      case 'replace':
        this.#events.onReplace(this, message.reason)
        break
      case 'connection':
        // Without a handle, the connection has closed on its way.
        if (handle) this.#events.onConnection(this, message.listener, handle)
        break
      default: // The application's own message.
    }
  }

  #ended(end: string, resolve: () => void): void {
    if (this.state === 'gone') return
    this.state = 'gone'
    this.end = end
    clearTimeout(this.#killTimer)
    for (const settle of this.#pongs.splice(0)) settle()
    this.#onGone()
    resolve()
    this.#events.onExit(this)
    const failed = [...this.#passing]
    this.#passing.clear()
    for (const reroute of failed) reroute()
  }

  #send(
    message: ToWorker,
    handle?: SocketHandle,
    sent: (error: Error | null) => void = ignore,
  ): void {
    if (!this.#child.connected) {
      sent(new Error('The worker is gone'))
      return
    }
    // Node passes on libuv handles, but its types allow only sockets.
    this.#child.send(message, handle as never, {}, sent)
  }

  /** Passes a connection on; `failed` is called if the worker cannot take it. */
  take(listener: number, handle: SocketHandle, failed: () => void): void {
    // Node drops handles that wait for a process if it ends.
    this.#passing.add(failed)
    this.#send({ portico: 'connection', listener }, handle, (error) => {
      if (!this.#passing.delete(failed)) return
      if (error) failed()
      else handle.close()
    })
  }

  /** Gives its idle connections to `heir`, completes its requests, and ends. */
  retire(heir: WorkerProcess | null, timeout: number): void {
    if (this.state === 'retiring' || this.state === 'gone') return
    this.state = 'retiring'
    this.heir = heir
    this.#send({ portico: 'retire', timeout })
    this.#killIn(timeout + KILL_AFTER)
  }

  /** Completes its requests and ends, without a successor. */
  close(timeout: number, takeWaiting: boolean): void {
    if (this.state === 'gone') return
    if (this.state === 'starting') {
      this.kill()
      return
    }
    this.state = 'retiring'
    this.#send({ portico: 'close', timeout, takeWaiting })
    this.#killIn(timeout + KILL_AFTER)
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  /** Whether it responds within `timeout` ms; a worker whose main thread is blocked does not. */
  async responds(timeout: number): Promise<boolean> {
    if (!this.#child.connected) return false
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, timeout, false)
    })
    const pong = new Promise<boolean>((resolve) => this.#pongs.push(() => resolve(true)))
    this.#send({ portico: 'ping' })
    const responded = await Promise.race([pong, late])
    clearTimeout(timer)
    return responded && this.#child.connected
  }

  #killIn(time: number): void {
    clearTimeout(this.#killTimer)
    this.#killTimer = setTimeout(() => this.kill(), time)
  }
}

/**
 * Starts a worker in its own process group: a terminal sends Ctrl-C to the whole group, but the
 * workers have to end in order.
 */
function start(launch: Launch): ChildProcess {
  const stderr = launch.log === 'json' ? 'pipe' : 'inherit'
  const stdio: StdioOptions = ['ignore', 'inherit', stderr, ...launch.descriptors, 'ipc']
  const env = { ...launch.env }
  for (const name of MASTERS_VARIABLES) delete env[name]
  const { uid, gid } = launch
  const program = fileURLToPath(new URL('../worker/main.js', import.meta.url))
  try {
    return spawn(process.execPath, [...launch.execArgv, ...ownInspector(launch), program], {
      cwd: launch.directory,
      env,
      stdio,
      detached: true,
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    })
  } catch (error) {
    // Node emits 'error' for some codes, such as EAGAIN, and throws for others, such as ENOMEM.
    throw new BootError(notSpawned(launch, error as Error), { cause: error })
  }
}

function notSpawned({ directory }: Launch, { message }: Error): string {
  return `A worker cannot be started in ${directory}: ${message}`
}

/** Gives the worker another inspector port, because the master has the usual one. */
function ownInspector({ execArgv, env }: Launch): string[] {
  const debugs = [...execArgv, env['NODE_OPTIONS'] ?? ''].some((text) => text.includes('--inspect'))
  return debugs ? ['--inspect-port=0'] : []
}

function ignore(): void {}
