/** `Pool`: keeps the workers running, replaces them one by one, and passes connections between them. */
import { logEntry } from '../log.ts'
import type { SocketHandle } from '../node-internals/hand-over.ts'
import { Backoff } from './backoff.ts'
import type { Reason, WorkerSettings } from './messages.ts'
import { BootError, WorkerProcess, type Launch } from './worker-process.ts'
import { now } from './clock.ts'

/**
 * Milliseconds that a reload waits for a retired worker before it starts the next one. So only a few
 * more workers than usual are in memory, and a long response does not stop the reload.
 */
const NEXT_AFTER = 1_000

export interface PoolOptions {
  readonly launch: () => Launch
  /** The settings of one worker; called for each. */
  readonly settingsOf: () => WorkerSettings
  readonly shutdownTimeout: number
  /** 0 for no limit. */
  readonly blockTimeout: number
}

/**
 * Milliseconds after `blockTimeout` until the master ends a blocked worker whose watchdog has not: it
 * may be inside native code.
 */
const LAST_RESORT = 5_000

/**
 * How often the pool looks for silent workers, in milliseconds. It counts its looks, because a clock
 * also advances while the machine sleeps.
 */
const WATCH_TIME = 1_000

/** A slot for one worker and its successors. */
interface Slot {
  worker: WorkerProcess | null
  /** A successor is starting. */
  replacing: Promise<WorkerProcess | null> | null
  /** A delayed start. */
  timer: NodeJS.Timeout | undefined
}

/** Takes the steps of a reload, one line each. */
export type Report = (step: string) => void

export class Pool {
  readonly #options: PoolOptions
  readonly #slots: Slot[] = []
  /** The workers that run, and those that complete their last requests. */
  readonly #processes = new Set<WorkerProcess>()
  /** Connections that arrived while no worker was ready. */
  #unassigned: { readonly listener: number; readonly handle: SocketHandle }[] = []
  readonly #backoff = new Backoff()
  #watch: NodeJS.Timeout | undefined
  #started = false
  #stopping = false
  #reloading: Promise<void> | null = null
  #nextReload: Promise<void> | null = null
  /** Why workers have ended since the master started, and how often. */
  readonly ends = new Map<string, number>()
  readonly startedAt = new Date()
  reloads = 0
  /** Requests of workers that have ended. */
  endedRequests = 0
  endedSlow = 0

  constructor(options: PoolOptions) {
    this.#options = options
  }

  /**
   * Starts `count` workers: one first, and the others when it is ready, so that an application that
   * does not start reports its error only once.
   *
   * @throws {BootError} if a worker does not start.
   */
  async start(count: number): Promise<void> {
    for (let i = 0; i < count; i++) this.#addSlot()
    await this.#replace(this.#slots[0]!)
    await Promise.all(this.#slots.slice(1).map((slot) => this.#replace(slot)))
    this.#started = true
    if (this.#options.blockTimeout > 0) {
      this.#watch = setInterval(() => this.#endBlocked(), WATCH_TIME)
      this.#watch.unref()
    }
  }

  #endBlocked(): void {
    for (const worker of this.#processes) {
      if (worker.state !== 'ready' || worker.pulse?.debugged === true) continue
      worker.silentChecks = worker.lastSign === worker.checkedSign ? worker.silentChecks + 1 : 0
      worker.checkedSign = worker.lastSign
      if (worker.silentChecks * WATCH_TIME < this.#options.blockTimeout + LAST_RESORT) continue
      logEntry(`Worker ${worker.pid} does not respond: killing it`, 'error')
      worker.kill()
    }
  }

  get stopping(): boolean {
    return this.#stopping
  }

  /** How many workers there should be. */
  get size(): number {
    return this.#slots.length
  }

  /** All processes, in the order of their start. */
  get workers(): readonly WorkerProcess[] {
    return [...this.#processes]
  }

  #addSlot(): Slot {
    const slot: Slot = { worker: null, replacing: null, timer: undefined }
    this.#slots.push(slot)
    return slot
  }

  #spawn(): WorkerProcess {
    const { launch, settingsOf } = this.#options
    const worker = new WorkerProcess(launch(), settingsOf(), {
      onConnection: (from, listener, handle) => this.#pass(from, listener, handle),
      onReplace: (asking, reason) => this.#onReplace(asking, reason),
      onExit: (ended) => this.#onExit(ended),
    })
    this.#processes.add(worker)
    return worker
  }

  /**
   * Starts a worker for `slot`, retires the one that it replaces, and returns that. If a start is in
   * progress, it returns the result of that start.
   *
   * @throws {BootError} if the new worker does not start; the old one stays.
   */
  #replace(slot: Slot): Promise<WorkerProcess | null> {
    slot.replacing ??= this.#startIn(slot).finally(() => (slot.replacing = null))
    return slot.replacing
  }

  async #startIn(slot: Slot): Promise<WorkerProcess | null> {
    clearTimeout(slot.timer)
    let next: WorkerProcess
    try {
      next = this.#spawn()
      await next.ready
    } catch (error) {
      this.#startFailed(slot, error)
      if (!this.#stopping) throw error
      throw new BootError('Portico is stopping', { cause: error })
    }
    if (this.#stopping) throw new BootError('Portico is stopping')
    // The slot may have been removed during the start.
    if (!this.#slots.includes(slot)) {
      next.retire(null, this.#options.shutdownTimeout)
      return null
    }
    const old = slot.worker
    slot.worker = next
    for (const { listener, handle } of this.#unassigned.splice(0))
      this.#pass(next, listener, handle)
    old?.retire(next, this.#options.shutdownTimeout)
    return old
  }

  /** A slot that has had a worker never stays empty. */
  #startFailed(slot: Slot, error: unknown): void {
    if (this.#stopping) return
    logEntry(reasonOf(error), 'error')
    if (this.#started && slot.worker === null) this.#startAfter(this.#backoff.failed(), slot)
  }

  /** Passes a connection of `from` to its heir, or to any worker, or keeps it for the next one. */
  #pass(from: WorkerProcess, listener: number, handle: SocketHandle): void {
    const to = this.#takerFor(from)
    if (to) to.take(listener, handle, () => this.#pass(from, listener, handle))
    else if (this.#stopping) handle.close()
    else this.#unassigned.push({ listener, handle })
  }

  #takerFor(from: WorkerProcess): WorkerProcess | undefined {
    if (from.isReady) return from
    if (from.heir?.isReady) return from.heir
    const ready = this.#slots.flatMap(({ worker }) => (worker?.isReady ? [worker] : []))
    return ready[Math.floor(Math.random() * ready.length)]
  }

  /** A worker asks for a successor. */
  #onReplace(worker: WorkerProcess, reason: Reason): void {
    const slot = this.#slots.find((each) => each.worker === worker)
    if (!slot || this.#stopping) return
    if (reason === 'uncaught error') {
      // It no longer serves.
      slot.worker = null
      worker.retire(null, this.#options.shutdownTimeout)
      this.#count(reason)
      this.#startAfter(this.#backoff.ended(worker.readyAt), slot)
      return
    }
    logEntry(`Replacing worker ${worker.pid} (${reason})`)
    this.#count(reason)
    this.#replace(slot).catch(() => {
      if (this.#stopping || slot.worker !== worker) return
      logEntry(`Worker ${worker.pid} stays, because its successor does not start`, 'error')
      slot.timer = setTimeout(() => this.#onReplace(worker, reason), this.#backoff.failed())
    })
  }

  #onExit(worker: WorkerProcess): void {
    this.#processes.delete(worker)
    this.endedRequests += worker.pulse?.requests ?? 0
    this.endedSlow += worker.pulse?.slow ?? 0
    const slot = this.#slots.find((each) => each.worker === worker)
    if (!slot) return
    slot.worker = null
    if (this.#stopping) return
    const reason = this.#endOf(worker)
    this.#count(reason)
    logEntry(`Worker ${worker.pid} ended unexpectedly (${reason})`, 'error')
    this.#startAfter(this.#backoff.ended(worker.readyAt), slot)
  }

  /** The watchdog of a blocked worker sends SIGKILL, as an administrator may: silence came before. */
  #endOf({ end, lastSign }: WorkerProcess): string {
    const { blockTimeout } = this.#options
    const silent = now() - lastSign >= blockTimeout
    return end === 'SIGKILL' && blockTimeout > 0 && silent ? 'blocked' : end
  }

  #count(reason: string): void {
    this.ends.set(reason, (this.ends.get(reason) ?? 0) + 1)
  }

  /** Fills a slot whose worker has ended, after `delay` ms. */
  #startAfter(delay: number, slot: Slot): void {
    clearTimeout(slot.timer)
    if (delay > 0) logEntry(`The next worker starts in ${delay / 1000} s`, 'warn')
    slot.timer = setTimeout(() => {
      if (this.#stopping || slot.worker !== null || !this.#slots.includes(slot)) return
      this.#replace(slot).catch(() => {}) // `#startFailed` has logged it, and tries again.
    }, delay)
  }

  /**
   * Replaces all workers, one by one. Calls during a reload wait for it, and then share one further
   * reload.
   *
   * @throws {BootError} if a new worker does not start; the workers not replaced yet stay.
   */
  reload(report: Report): Promise<void> {
    if (this.#reloading === null) return this.#begin(report)
    report('Waiting for the reload that is under way')
    this.#nextReload ??= this.#reloading
      .catch(() => {})
      .then(() => {
        this.#nextReload = null
        return this.#begin(report)
      })
    return this.#nextReload
  }

  #begin(report: Report): Promise<void> {
    this.#reloading = this.#reload(report).finally(() => (this.#reloading = null))
    return this.#reloading
  }

  async #reload(report: Report): Promise<void> {
    const retired: WorkerProcess[] = []
    let done = 0
    for (const slot of this.#slots.slice()) {
      if (this.#stopping) throw new BootError('Portico is stopping')
      // It may have loaded the application before the change.
      await slot.replacing?.catch(() => {})
      const old = await this.#replace(slot)
      done += 1
      const what = old ? `replaces worker ${old.pid}` : 'is ready'
      report(`[${done}/${this.#slots.length}] Worker ${slot.worker?.pid ?? 0} ${what}`)
      if (!old) continue
      retired.push(old)
      await Promise.race([old.exited, after(NEXT_AFTER)])
    }
    for (const worker of retired) {
      if (worker.state === 'gone') continue
      report(`Waiting for the requests of worker ${worker.pid}`)
      await worker.exited
    }
    this.reloads += 1
  }

  /** Adds or removes one worker, but not the last one. Returns the new number. */
  scale(change: 1 | -1): number {
    if (change === 1) {
      this.#startAfter(0, this.#addSlot())
    } else if (this.#slots.length > 1) {
      const { worker, timer } = this.#slots.pop()!
      clearTimeout(timer)
      worker?.retire(null, this.#options.shutdownTimeout)
    }
    return this.#slots.length
  }

  /**
   * Ends all workers when their requests are complete.
   *
   * @param takeWaiting whether connections that wait to be accepted are served.
   */
  async stop(takeWaiting: boolean): Promise<void> {
    this.#stopping = true
    clearInterval(this.#watch)
    for (const { timer } of this.#slots) clearTimeout(timer)
    for (const { handle } of this.#unassigned.splice(0)) handle.close()
    const all = this.workers
    for (const worker of all) worker.close(this.#options.shutdownTimeout, takeWaiting)
    await Promise.all(all.map(({ exited }) => exited))
  }

  /** Ends all workers now. */
  kill(): void {
    this.#stopping = true
    for (const worker of this.#processes) worker.kill()
  }
}

function reasonOf(error: unknown): string {
  return error instanceof BootError ? error.message : String(error)
}

function after(time: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, time).unref())
}
