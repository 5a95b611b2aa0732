/** When a connection whose peer sends too little is closed, on a clock that the test advances. */
import { Socket } from 'node:net'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ReadDeadline } from '../../src/server/connections/read-deadline.ts'
import { coarseTime, type Expirable, sweep, SWEEP_TIME } from '../../src/server/deadlines.ts'

const HEADERS_TIMEOUT = 3 * SWEEP_TIME
const IDLE_TIMEOUT = 2 * SWEEP_TIME

let connections: Map<Socket, Expirable>
let stop: () => void
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] })
  connections = new Map()
  stop = sweep(connections, { bodyTimeout: Infinity, writeTimeout: Infinity })
})
afterEach(() => {
  stop()
  vi.useRealTimers()
})

/** Milliseconds until the connection is closed; `act` runs after each 10 ms. */
function closedAfter(connection: { readonly deadline: number }, act?: (time: number) => void) {
  const destroy = vi.fn()
  connections.set(new Socket(), {
    get deadline() {
      return connection.deadline
    },
    destroy,
  })
  let time = 0
  while (destroy.mock.calls.length === 0 && time < 100 * SWEEP_TIME) {
    vi.advanceTimersByTime(10)
    time += 10
    act?.(time)
  }
  return time
}

function newDeadline() {
  const reading = new ReadDeadline({ headersTimeout: HEADERS_TIMEOUT, idleTimeout: IDLE_TIMEOUT })
  return {
    reading,
    get deadline() {
      return reading.at
    },
  }
}

test.each([0, 10, 500, 940, 990])(
  'A deadline that is set %i ms after a sweep passes in time, not earlier, and at most two sweeps later',
  (offset) => {
    vi.advanceTimersByTime(SWEEP_TIME + offset)
    const time = closedAfter({ deadline: coarseTime() + IDLE_TIMEOUT })
    expect(time).toBeGreaterThanOrEqual(IDLE_TIMEOUT)
    expect(time).toBeLessThanOrEqual(IDLE_TIMEOUT + 2 * SWEEP_TIME)
  },
)

test.each([10, 300, 1000])(
  'Heads that a FastCGI peer begins and does not complete extend idleTimeout by headersTimeout once, however often, every %i ms',
  (interval) => {
    const connection = newDeadline()
    const time = closedAfter(connection, (now) => {
      if (now % interval !== 0) return
      connection.reading.expect('request')
      connection.reading.expect('head')
    })
    expect(time).toBeGreaterThanOrEqual(HEADERS_TIMEOUT)
    expect(time).toBeLessThanOrEqual(IDLE_TIMEOUT + HEADERS_TIMEOUT + 2 * SWEEP_TIME)
  },
)

test('A head that begins while a request runs has headersTimeout, however long ago the last request ended', () => {
  const connection = newDeadline()
  connection.reading.expect('nothing')
  vi.advanceTimersByTime(10 * IDLE_TIMEOUT)
  connection.reading.expect('head')
  expect(closedAfter(connection)).toBeGreaterThanOrEqual(HEADERS_TIMEOUT)
})
