/** The counters that a worker sends to its master once a second. */
import { url as inspectorUrl } from 'node:inspector'
import { PULSE_TIME, type WorkerSettings } from '../master/messages.ts'
import { residentMemory } from '../resident-memory.ts'
import type { Channel } from './channel.ts'

/** How often the number of requests is compared with `maxRequests`, in milliseconds. */
const COUNT_TIME = 100

/** The source of the numbers. */
export interface PulseSource {
  requests(): number
  active(): number
  connections(): number
  /** How many requests were slow. */
  slow(): number
}

/**
 * The kinds of resources that mean that a job of the application is running. Servers, connections and
 * pipes do not count, because they may be open forever.
 */
const JOBS = new Set([
  'Timeout',
  'Immediate',
  'FSReqCallback',
  'FSReqPromise',
  'GetAddrInfoReqWrap',
  'ProcessWrap',
  'Worker',
  'ZLIB',
])

export interface PulseSender {
  /** Sends the counters as they are. */
  readonly send: () => void
  /** Sends them for the last time. */
  readonly stop: () => void
}

/** Sends a pulse now and every second, and asks for a successor after `maxRequests`. */
export function startPulse(
  channel: Channel,
  settings: WorkerSettings,
  source: PulseSource,
): PulseSender {
  let due = performance.now()
  let load = performance.eventLoopUtilization()
  let delay = 0
  let utilization = 0
  const measure = (): void => {
    const now = performance.now()
    const current = performance.eventLoopUtilization()
    delay = Math.max(0, now - due)
    utilization = performance.eventLoopUtilization(current, load).utilization
    load = current
    due = now + PULSE_TIME
  }
  const send = (): void => {
    channel.send({
      portico: 'pulse',
      pulse: {
        requests: source.requests(),
        active: source.active(),
        connections: source.connections(),
        slow: source.slow(),
        rss: residentMemory(),
        delay,
        utilization,
        debugged: inspectorUrl() !== undefined,
        busy: process.getActiveResourcesInfo().some((kind) => JOBS.has(kind)),
      },
    })
  }
  const beat = (): void => {
    measure()
    send()
  }
  beat()
  const timers = [setInterval(beat, PULSE_TIME)]
  const { maxRequests } = settings
  if (maxRequests > 0) {
    const counting = setInterval(() => {
      if (source.requests() < maxRequests) return
      clearInterval(counting)
      channel.send({ portico: 'replace', reason: 'max-requests' })
    }, COUNT_TIME)
    timers.push(counting)
  }
  for (const timer of timers) timer.unref()
  return {
    send,
    stop: () => {
      for (const timer of timers) clearInterval(timer)
      send()
    },
  }
}
