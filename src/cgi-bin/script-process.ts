/** `ScriptProcess`: one run of a script: its process group, its pipes and its limits. */
import type { ChildProcess } from 'node:child_process'
import type { Writable } from 'node:stream'
import { PeerError } from '../errors.ts'
import { type CgiHead, CgiHeadReader } from '../response/cgi-response.ts'
import { describeEnd, type Ending, startError } from './explain.ts'
import { feed, type FeedState } from './feed.ts'
import { OutputQueue } from './output-queue.ts'
import type { ScriptBody } from './request-body.ts'
import { scriptError } from './script-error.ts'
import type { StderrLog } from './stderr-log.ts'

/** Milliseconds between SIGTERM and SIGKILL: time to remove temporary files. */
const KILL_TIME = 2_000

/**
 * Milliseconds between the end of a script's output and the end of its response. Most scripts exit in
 * this time, and a signal that ended them shows that the response is incomplete.
 */
const END_TIME = 100

/**
 * Milliseconds without output after which the output of an ended script is complete, because a process
 * that it has started may keep its stdout open for days.
 */
const LINGER_TIME = 1_000

/** What is started, and with what. */
export interface Launch {
  /** The script, for messages. */
  readonly path: string
  readonly command: readonly [program: string, ...args: string[]]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  readonly body: ScriptBody
}

export interface Limits {
  readonly timeout: number
  readonly maxTime: number
  readonly maxOutput: number
}

/** Groups of processes that work on a response. They end with this process. */
const unfinished = new Set<ScriptProcess>()

let isWatching = false

function endWithThisProcess(): void {
  if (isWatching) return
  isWatching = true
  process.on('exit', () => {
    for (const script of unfinished) script.signalGroup('SIGKILL')
  })
}

export class ScriptProcess {
  readonly output: OutputQueue
  readonly #launch: Launch
  readonly #limits: Limits
  readonly #log: StderrLog
  readonly #signal: AbortSignal
  readonly #child: ChildProcess
  readonly #reader = new CgiHeadReader(true)
  readonly #head: Promise<CgiHead>
  #settleHead!: {
    readonly resolve: (head: CgiHead) => void
    readonly reject: (error: unknown) => void
  }
  #ending: Ending | null = null
  #closed = false
  #received = 0
  #outputEnded = false
  #finished = false
  #killed = false
  readonly #input: FeedState = { waitsForClient: false }
  readonly #timers = new Set<NodeJS.Timeout>()
  #silence: NodeJS.Timeout | undefined
  #overtime: NodeJS.Timeout | undefined

  /**
   * @param signal ends the script: the client has left.
   * @param onExit called once, when the process has ended or could not be started.
   */
  constructor(
    launch: Launch,
    limits: Limits,
    log: StderrLog,
    signal: AbortSignal,
    onExit: () => void,
  ) {
    this.#launch = launch
    this.#signal = signal
    this.#limits = limits
    this.#log = log
    this.#head = new Promise((resolve, reject) => (this.#settleHead = { resolve, reject }))
    this.#head.catch(() => {})
    this.#child = this.#spawn(onExit)
    const { stdout, stderr, stdin } = this.#child
    this.output = new OutputQueue(stdout!)
    if (this.#child.pid === undefined) return // 'error' follows.
    endWithThisProcess()
    unfinished.add(this)
    signal.addEventListener('abort', this.#leave)
    stdout!.on('data', (chunk: Buffer) => this.#receive(chunk))
    stdout!.once('close', () => this.#endOfOutput())
    stdout!.on('error', ignore)
    stderr!.on('data', (chunk: Buffer) => log.add(chunk))
    stderr!.on('error', ignore)
    if (stdin) void this.#feed(stdin)
    if (limits.timeout > 0) this.#silence = this.#after(limits.timeout, () => this.#silent())
    if (limits.maxTime > 0) {
      this.#overtime = this.#after(limits.maxTime, () =>
        this.#overdue(`it ran for ${limits.maxTime} ms (maxTime)`),
      )
    }
  }

  readonly #leave = (): void => this.fail(this.#signal.reason)

  /** @throws {PeerError} if there is no response. */
  get head(): Promise<CgiHead> {
    return this.#head
  }

  #spawn(onExit: () => void): ChildProcess {
    const { command, env, cwd, body } = this.#launch
    const [program, ...args] = command
    // Loaded on demand: 'portico/middleware' is also imported by CGI scripts.
    const child = process.getBuiltinModule('node:child_process').spawn(program, args, {
      cwd,
      env,
      // A group of its own, which can be ended as a whole.
      detached: true,
      stdio: [
        body.kind === 'none' ? 'ignore' : body.kind === 'file' ? body.fd : 'pipe',
        'pipe',
        'pipe',
      ],
    })
    child.once('error', (error) => {
      if (child.pid !== undefined) return
      this.#closed = true
      this.#stopTimers()
      onExit()
      this.fail(startError(error, this.#launch.path, env['PATH'] ?? ''))
    })
    child.once('exit', (code, signal) => {
      this.#ending = { code, signal }
      onExit()
      this.#exited()
    })
    child.once('close', () => {
      this.#closed = true
      this.#stopTimers()
      this.#log.end()
      unfinished.delete(this)
      if (this.#outputEnded) this.#finish()
    })
    return child
  }

  async #feed(stdin: Writable): Promise<void> {
    const { body } = this.#launch
    if (body.kind !== 'chunks') return
    try {
      await feed(stdin, body.chunks, this.#input, () => this.#progress())
    } catch (error) {
      // The script must not take what has arrived for the whole body.
      if (!this.#outputEnded && this.#ending === null) this.fail(error)
    }
  }

  #receive(chunk: Buffer): void {
    this.#progress()
    if (this.#finished) return
    let rest = chunk
    if (this.#reader.head === null) {
      try {
        const start = this.#reader.add(chunk)
        if (start === null) return
        this.#settleHead.resolve(this.#reader.head!)
        rest = chunk.subarray(start)
      } catch (error) {
        this.fail(this.#malformed(error))
        return
      }
    }
    this.#received += rest.length
    const { maxOutput } = this.#limits
    if (this.#received > maxOutput) {
      this.fail(
        new PeerError(
          'PORTICO_TOO_LARGE',
          `${this.#launch.path} sent more than ${maxOutput} bytes (maxOutput)`,
          '500 Internal Server Error',
        ),
      )
    } else if (rest.length > 0) this.output.add(rest)
  }

  #malformed(error: unknown): unknown {
    if (!(error instanceof PeerError)) return error
    const { path } = this.#launch
    const isNph = /\/nph-[^/]*$/.test(path)
    return scriptError(
      `${path}: ${error.message}. A response begins with a header such as Content-Type: text/html, and an empty line`,
      isNph ? '502 Bad Gateway' : '500 Internal Server Error',
    )
  }

  #endOfOutput(): void {
    this.#outputEnded = true
    this.#progress()
    if (this.#closed) this.#finish()
    else this.#after(END_TIME, () => this.#finish())
  }

  #exited(): void {
    for (const timer of [this.#silence, this.#overtime]) clearTimeout(timer)
    if (this.#killed) this.signalGroup('SIGKILL') // What the script has started.
    const linger = this.#after(LINGER_TIME, () => {
      const { stdout, stderr } = this.#child
      // A slow client has not taken yet what is in the pipe.
      if (!this.#outputEnded && !this.output.wanted && !this.#finished) linger.refresh()
      else {
        stdout!.destroy()
        stderr!.destroy()
      }
    })
    this.#child.stdout!.on('data', () => linger.refresh())
  }

  /** The output has ended. The response is complete unless a signal has ended the script. */
  #finish(): void {
    if (this.#finished) return
    if (this.#reader.head === null) {
      const { path, env } = this.#launch
      const end = this.#ending && describeEnd(this.#ending, path, env['PATH'] ?? '')
      const { message } = this.#reader.incomplete()
      this.fail(
        this.#malformed(
          new PeerError('PORTICO_PROTOCOL', end === null ? message : `${message}; ${end}`),
        ),
      )
    } else if (this.#ending?.signal) {
      this.fail(scriptError(`${this.#launch.path}: it was killed by ${this.#ending.signal}`))
    } else {
      this.#settle()
      unfinished.delete(this)
      this.output.end()
    }
  }

  #silent(): void {
    // A client that reads or sends slowly is not the script's fault.
    if (this.#input.waitsForClient || (this.#reader.head !== null && !this.output.wanted)) {
      if (!this.#outputEnded) {
        this.#silence!.refresh()
        return
      }
    }
    this.#overdue(`it did nothing for ${this.#limits.timeout} ms (timeout)`)
  }

  #overdue(what: string): void {
    const { path } = this.#launch
    const error = new PeerError('PORTICO_TIMEOUT', `${path}: ${what}`, '504 Gateway Timeout')
    if (!this.#finished) this.fail(error)
    else {
      // It has closed its output, and the response is complete.
      this.#log.note(`${path}: ${what} after its response, and was killed`)
      this.kill()
    }
  }

  /** Ends the script, and its response with this error, unless that is complete. */
  fail(error: unknown): void {
    if (this.#finished) return
    this.kill()
    this.#settle()
    this.#settleHead.reject(error)
    this.output.end(error)
    this.#child.stdout?.destroy()
    this.#child.stdin?.destroy()
  }

  /** Nothing of the script's output is of use any more. */
  #settle(): void {
    this.#finished = true
    this.#signal.removeEventListener('abort', this.#leave)
  }

  /** Lets the script run to its end, without its output, whatever the client does. */
  drain(): void {
    if (this.#finished) return
    this.#signal.removeEventListener('abort', this.#leave)
    this.output.discard()
  }

  /** Ends the process group: the script and what it has started. */
  kill(): void {
    if (this.#killed || this.#child.pid === undefined || this.#closed) return
    this.#killed = true
    this.signalGroup('SIGTERM')
    if (this.#ending === null) this.#after(KILL_TIME, () => this.signalGroup('SIGKILL'))
  }

  signalGroup(signal: NodeJS.Signals): void {
    try {
      process.kill(-this.#child.pid!, signal)
    } catch {
      // All of it has ended.
    }
  }

  #progress(): void {
    // Refreshing a timer that was cleared would start it again.
    if (this.#ending === null) this.#silence?.refresh()
  }

  #after(time: number, call: () => void): NodeJS.Timeout {
    const timer = setTimeout(call, time)
    this.#timers.add(timer)
    return timer
  }

  #stopTimers(): void {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
    this.#silence = undefined
  }
}

function ignore(): void {}
