/** What a master knows about itself and its workers. */
import { residentMemory } from '../resident-memory.ts'
import { PULSE_TIME } from './messages.ts'
import type { Pool } from './pool.ts'
import type { BoundSocket } from './bind.ts'
import type { WorkerProcess } from './worker-process.ts'
import { now } from './clock.ts'

/**
 * Milliseconds without a response after which a worker counts as blocked. That is enough for a busy
 * one, and lets `portico status` respond within a second, the start of its process included.
 */
const RESPONSE_TIME = 300

/** Milliseconds without a message after which there is no need to ask: three pulses are missing. */
const SILENT = 3 * PULSE_TIME

/** 'blocked': its main thread does not come back from the application. */
export type ProcessState = 'starting' | 'ready' | 'blocked' | 'retiring'

export interface ProcessStatus {
  readonly pid: number
  readonly state: ProcessState
  /** ISO 8601. */
  readonly since: string
  readonly requests: number
  readonly active: number
  readonly connections: number
  /** Connections without a request. */
  readonly idle: number
  readonly slow: number
  readonly rssBytes: number
  /** How late the event loop was when it last reported, in milliseconds. */
  readonly loopDelayMs: number
  /** Part of the last second in which the event loop was busy, from 0 to 1. */
  readonly utilization: number
  /** Milliseconds since its last sign of life. */
  readonly silentMs: number
}

export interface Status {
  readonly state: 'starting' | 'running' | 'reloading' | 'stopping'
  readonly pid: number
  readonly file: string
  readonly since: string
  readonly rssBytes: number
  readonly listeners: readonly { readonly gateway: string; readonly url: string }[]
  readonly workers: {
    readonly configured: number
    readonly ready: number
    readonly blocked: number
  }
  /** Since the start, ended workers included; `active`, `connections` and `idle` are current. */
  readonly totals: {
    readonly requests: number
    readonly active: number
    readonly connections: number
    readonly idle: number
    readonly slow: number
    readonly reloads: number
  }
  /** How many workers have ended, by reason. Reloads and stops are not counted. */
  readonly restarts: Readonly<Record<string, number>>
  /** The limits that are configured; 0 for no limit, times in milliseconds. */
  readonly limits: Readonly<Record<string, number>>
  readonly processes: readonly ProcessStatus[]
}

export interface StatusSource {
  readonly pool: Pool
  readonly sockets: readonly BoundSocket[]
  readonly file: string
  readonly limits: Readonly<Record<string, number>>
  readonly state: Status['state']
}

/** The current status. Asks all workers whether they respond. */
export async function statusOf(source: StatusSource): Promise<Status> {
  const { pool } = source
  const processes = await Promise.all(pool.workers.map(processStatus))
  const sum = (name: 'requests' | 'active' | 'connections' | 'idle' | 'slow'): number => {
    let total = 0
    for (const each of processes) total += each[name]
    return total
  }
  const count = (state: ProcessState): number =>
    processes.filter((each) => each.state === state).length
  return {
    state: source.state,
    pid: process.pid,
    file: source.file,
    since: pool.startedAt.toISOString(),
    rssBytes: residentMemory(),
    listeners: source.sockets.map(({ settings, url }) => ({ gateway: settings.gateway, url })),
    workers: { configured: pool.size, ready: count('ready'), blocked: count('blocked') },
    totals: {
      requests: sum('requests') + pool.endedRequests,
      active: sum('active'),
      connections: sum('connections'),
      idle: sum('idle'),
      slow: sum('slow') + pool.endedSlow,
      reloads: pool.reloads,
    },
    restarts: Object.fromEntries(pool.ends),
    limits: source.limits,
    processes,
  }
}

async function isBlocked(worker: WorkerProcess): Promise<boolean> {
  if (worker.state !== 'ready' && worker.state !== 'retiring') return false
  return now() - worker.lastSign > SILENT || !(await worker.responds(RESPONSE_TIME))
}

async function processStatus(worker: WorkerProcess): Promise<ProcessStatus> {
  const blocked = await isBlocked(worker)
  const { pulse } = worker
  const connections = pulse?.connections ?? 0
  const active = pulse?.active ?? 0
  return {
    pid: worker.pid,
    state: blocked ? 'blocked' : worker.state === 'gone' ? 'retiring' : worker.state,
    since: worker.startedAt.toISOString(),
    requests: pulse?.requests ?? 0,
    active,
    connections,
    idle: Math.max(0, connections - active),
    slow: pulse?.slow ?? 0,
    rssBytes: pulse?.rss ?? 0,
    loopDelayMs: Math.round(pulse?.delay ?? 0),
    utilization: Math.round((pulse?.utilization ?? 0) * 100) / 100,
    silentMs: Math.round(now() - worker.lastSign),
  }
}
