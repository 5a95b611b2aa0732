/**
 * `serve`: the master of `portico serve`. It binds the sockets, never accepts, does not load the
 * application, and keeps the workers running.
 */
import { existsSync } from 'node:fs'
import { ConfigurationError } from '../errors.ts'
import { GATEWAYS } from '../gateways.ts'
import { logEntry } from '../log.ts'
import { OPTIONS } from '../options/table.ts'
import { bindAll, type BoundSocket } from './bind.ts'
import { ControlServer, type Command, type Result } from './control.ts'
import { inFlags } from './in-flags.ts'
import { identityOf, ownedBy, type Identity } from './identity.ts'
import type { WorkerSettings } from './messages.ts'
import { Pool } from './pool.ts'
import { requestLimit } from './request-limit.ts'
import { applicationFiles, DEFAULTS, type ServeSettings } from './settings.ts'
import { onSignals } from './signals.ts'
import { statusOf, type Status, type StatusSource } from './status.ts'
import { BootError, type Launch } from './worker-process.ts'
import { now } from './clock.ts'

/** What `serve` resolves to; docs/operate.md lists them. */
const EXIT_OK = 0
const EXIT_ERROR = 1
const EXIT_NOT_STARTED = 3

/**
 * For workers that only start scripts. On Linux libuv starts a process with fork(2), which copies the
 * page tables of the worker, and afterwards each page that it writes. So these workers get a small
 * young generation, a small heap, no optimizing compilers and few threads: a bare Node that started a
 * Perl script again and again did so a third less often with 20 MiB more. Node's own arguments come after
 * these, and replace them; those in NODE_OPTIONS do not.
 */
const SMALL_FLAGS = [
  '--max-semi-space-size=1',
  '--no-opt',
  '--no-maglev',
  '--optimize-for-size',
  '--v8-pool-size=1',
]

/** glibc: a fork writes to each arena, and each thread has one. */
const SMALL_ENV = { MALLOC_ARENA_MAX: '1' }

/** Milliseconds for the last lines of the log, whose reader may have stopped reading. */
const LAST_LINES_TIME = 1_000

/** How often the master checks whether it is idle, in milliseconds. */
const IDLE_CHECK_TIME = 1_000

/**
 * Serves an application with several workers until it is stopped.
 *
 * Resolves to the exit code: 0 if it was asked to stop or was idle, 1 for an error such as an address
 * in use, 3 if the application does not exist or does not start.
 */
export async function serve(settings: ServeSettings): Promise<number> {
  try {
    return await new Master(settings, identityOf(settings.user, settings.group)).run()
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    logEntry(inFlags(error.message), 'error')
    return EXIT_ERROR
  } finally {
    setTimeout(() => process.exit(), LAST_LINES_TIME).unref()
  }
}

class Master implements StatusSource {
  readonly pool: Pool
  readonly limits: Readonly<Record<string, number>>
  sockets: readonly BoundSocket[] = []
  readonly #settings: ServeSettings
  readonly #identity: Identity
  #started = false
  #reloads = 0
  #stopped: Promise<void> | null = null
  #settled = (): Promise<void> => Promise.resolve()
  #stopRequested: (stopped: Promise<void>) => void = () => {}

  constructor(settings: ServeSettings, identity: Identity) {
    this.#settings = settings
    this.#identity = identity
    const shutdownTimeout = settings.shutdownTimeout ?? OPTIONS.shutdownTimeout.default
    this.limits = limitsOf(settings, shutdownTimeout)
    this.pool = new Pool({
      launch: () => launchOf(settings, identity, this.sockets),
      settingsOf: () => workerSettings(settings, this.sockets),
      shutdownTimeout,
      blockTimeout: settings.blockTimeout ?? DEFAULTS.blockTimeout,
    })
  }

  get file(): string {
    return this.#settings.file
  }

  get state(): Status['state'] {
    if (this.pool.stopping) return 'stopping'
    if (!this.#started) return 'starting'
    return this.#reloads > 0 ? 'reloading' : 'running'
  }

  async run(): Promise<number> {
    const settings = this.#settings
    if (!existsSync(settings.file)) {
      logEntry(`The application '${settings.file}' does not exist`, 'error')
      return EXIT_NOT_STARTED
    }
    this.sockets = await bindAll(ownedBy(this.#identity, settings.listeners))
    const cleanups: (() => void)[] = [() => this.#closeSockets()]
    try {
      if (settings.control !== undefined) {
        const control = await ControlServer.open(settings.control, this.#execute)
        cleanups.push(() => control.close())
        this.#settled = () => control.settled()
      }
      if (settings.metrics !== undefined) {
        const { serveMetrics } = await import('./metrics.ts')
        cleanups.push(await serveMetrics(settings.metrics, this.sockets, () => statusOf(this)))
      }
      const stopRequested = new Promise<Promise<void>>((resolve) => (this.#stopRequested = resolve))
      cleanups.push(onSignals(this))
      try {
        await this.pool.start(settings.workers)
      } catch (error) {
        if (this.#stopped) return await this.#end()
        if (!(error instanceof BootError)) throw error
        logEntry(`The application does not start: ${settings.file}`, 'error')
        return EXIT_NOT_STARTED
      }
      this.#announce()
      this.#started = true
      if ((settings.idleExit ?? DEFAULTS.idleExit) > 0) cleanups.push(this.#watchIdleness())
      await stopRequested
      return await this.#end()
    } finally {
      this.pool.kill()
      for (const cleanup of cleanups) cleanup()
    }
  }

  /** Waits for the workers, and for the responses to `portico stop` and to a reload that it aborts. */
  async #end(): Promise<number> {
    await this.#stopped
    await this.#settled()
    return EXIT_OK
  }

  #announce(): void {
    const where = this.sockets.map((socket) => {
      const { label } = GATEWAYS[socket.settings.gateway]
      return `${label} on ${socket.publish()}`
    })
    const { size } = this.pool
    const workers = size === 1 ? '1 worker' : `${size} workers`
    logEntry(`Serving ${this.file} over ${where.join(' and ')} with ${workers}`)
  }

  #closeSockets(): void {
    for (const socket of this.sockets) socket.close()
  }

  readonly #execute = async (command: Command, report: (step: string) => void): Promise<Result> => {
    if (command === 'stop') {
      await this.stop()
      return { code: EXIT_OK }
    }
    if (command === 'reload') {
      if (!this.#started) return { code: EXIT_ERROR, error: 'Portico is still starting' }
      await this.reload(report)
      return { code: EXIT_OK }
    }
    const status = await statusOf(this)
    if (command === 'status') return { code: EXIT_OK, status }
    if (status.workers.ready > 0) return { code: EXIT_OK }
    const { configured, blocked } = status.workers
    return {
      code: EXIT_ERROR,
      error: `No worker responds: ${blocked} of ${configured} blocked, the application is ${status.state}`,
    }
  }

  /** @throws {BootError} if a new worker does not start. */
  async reload(report: (step: string) => void): Promise<void> {
    this.#reloads += 1
    try {
      await this.pool.reload((step) => {
        logEntry(`Reload: ${step}`)
        report(step)
      })
    } catch (error) {
      const step = 'aborted; workers that were not replaced go on'
      logEntry(`Reload: ${step}`, 'error')
      report(step)
      throw error
    } finally {
      this.#reloads -= 1
    }
  }

  /**
   * Completes running requests and ends.
   *
   * @param takeWaiting false leaves connections that wait to be accepted to the socket's owner.
   */
  stop(takeWaiting = true): Promise<void> {
    if (this.#stopped === null) {
      // From now on only the workers hold the sockets, which close with the last worker.
      this.#closeSockets()
      this.#stopped = this.pool.stop(takeWaiting)
      this.#stopRequested(this.#stopped)
    }
    return this.#stopped
  }

  /** Ends all workers now. */
  kill(): void {
    void this.stop()
    this.pool.kill()
  }

  scale(change: 1 | -1): void {
    const size = this.pool.scale(change)
    logEntry(`${change === 1 ? 'One more worker' : 'One worker fewer'}: ${size} in all`)
  }

  /** Stops when there was no request, no connection and no job of the application for `idleExit`. */
  #watchIdleness(): () => void {
    const { idleExit = DEFAULTS.idleExit } = this.#settings
    let idleSince = now()
    let requests = -1
    const timer = setInterval(() => {
      const { pool } = this
      let count = pool.endedRequests
      let quiet = true
      for (const { state, pulse } of pool.workers) {
        count += pulse?.requests ?? 0
        const busy = pulse === null || pulse.connections > 0 || pulse.busy
        if (state !== 'ready' || busy) quiet = false
      }
      if (!quiet || count !== requests) idleSince = now()
      requests = count
      if (now() - idleSince < idleExit) return
      clearInterval(timer)
      logEntry(`Idle for ${idleExit / 1000} s: ending until the next connection`)
      // What has arrived since waits in the kernel for the process that starts next.
      void this.stop(false)
    }, IDLE_CHECK_TIME)
    timer.unref()
    return () => clearInterval(timer)
  }
}

function launchOf(
  settings: ServeSettings,
  { uid, gid, env }: Identity,
  sockets: readonly BoundSocket[],
): Launch {
  const execArgv = settings.execArgv ?? process.execArgv
  const isSmall = onlyScripts(settings)
  return {
    descriptors: sockets.map(({ fd }) => fd),
    directory: settings.directory,
    env: { ...(isSmall ? SMALL_ENV : {}), ...(settings.env ?? process.env), ...env },
    execArgv: isSmall ? [...SMALL_FLAGS, ...execArgv] : execArgv,
    uid,
    gid,
    log: settings.log ?? 'text',
    bootTimeout: settings.bootTimeout ?? DEFAULTS.bootTimeout,
  }
}

function onlyScripts({ file, mounts = [] }: ServeSettings): boolean {
  return applicationFiles(file, mounts).length === 0
}

function workerSettings(settings: ServeSettings, sockets: readonly BoundSocket[]): WorkerSettings {
  const { maxRequests = DEFAULTS.maxRequests, maxRequestsJitter } = settings
  return {
    file: settings.file,
    args: settings.args ?? [],
    listeners: sockets.map(({ settings: listener }) => listener),
    mounts: settings.mounts ?? [],
    accessLog: settings.accessLog,
    log: settings.log ?? 'text',
    envFiles: settings.envFiles ?? [],
    maxRequests: requestLimit(maxRequests, maxRequestsJitter),
    // The thread that this needs makes each fork of a script more expensive, and no application can block.
    blockTimeout: settings.blockTimeout ?? (onlyScripts(settings) ? 0 : DEFAULTS.blockTimeout),
    slow: settings.slow ?? DEFAULTS.slow,
  }
}

function limitsOf(settings: ServeSettings, shutdownTimeout: number): Record<string, number> {
  const { options = {} } = settings.listeners[0] ?? {}
  return {
    workers: settings.workers,
    maxConnections: options.maxConnections ?? OPTIONS.maxConnections.default,
    backlog: options.backlog ?? OPTIONS.backlog.default,
    maxRequests: settings.maxRequests ?? DEFAULTS.maxRequests,
    blockTimeout: settings.blockTimeout ?? DEFAULTS.blockTimeout,
    slow: settings.slow ?? DEFAULTS.slow,
    shutdownTimeout,
    idleExit: settings.idleExit ?? DEFAULTS.idleExit,
  }
}
