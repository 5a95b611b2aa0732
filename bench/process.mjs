/**
 * The processes that a benchmark starts, and the kernel's accounts of them: time on a processor and
 * resident memory, of a process and all below it. Seen from their parent. Linux only: /proc.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { cleanEnvironment } from './common.mjs'

/** How long a server may take to accept connections, and to end, in ms. */
const START_TIMEOUT = 15_000
const STOP_TIMEOUT = 5_000

const running = new Set()
process.on('exit', () => {
  // Workers, too: a master that is killed like this cannot end them.
  for (const child of running) {
    for (const pid of descendants(child.pid)) signalQuietly(pid, 'SIGKILL')
  }
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

/** A server below this process. */
export class ServerProcess {
  #child
  #ended
  #log

  /**
   * Starts a server; resolves when it accepts connections.
   *
   * @param {string[]} command
   * @param {{ place: string | number, log: string, cwd?: string, environment?: object,
   *   stdin?: number }} options `place` is the socket's path or a port of 127.0.0.1; both outputs
   *   go to the file `log`
   */
  static async start(command, options) {
    const server = new ServerProcess(command, options)
    const deadline = performance.now() + START_TIMEOUT
    while (!(await accepts(options.place))) {
      if (performance.now() > deadline || server.#child.exitCode !== null) {
        await server.stop()
        throw new Error(`${command.join(' ')} did not start:\n${server.log()}`)
      }
      await sleep(10)
    }
    return server
  }

  constructor([program, ...args], { log, cwd, environment = {}, stdin = 'ignore' }) {
    this.#log = log
    const output = openSync(log, 'a')
    this.#child = spawn(program, args, {
      cwd,
      env: { ...cleanEnvironment(), ...environment },
      stdio: [stdin, output, output],
    })
    closeSync(output)
    running.add(this.#child)
    this.#ended = new Promise((resolve) => {
      this.#child.once('error', resolve)
      this.#child.once('exit', resolve)
    })
  }

  get pid() {
    return this.#child.pid
  }

  log() {
    return readFileSync(this.#log, 'utf8')
  }

  async stop() {
    const child = this.#child
    const tree = descendants(child.pid)
    child.kill('SIGTERM')
    const timer = setTimeout(() => {
      for (const pid of tree.toReversed()) signalQuietly(pid, 'SIGKILL')
    }, STOP_TIMEOUT)
    await this.#ended
    clearTimeout(timer)
    // A master may leave its workers behind.
    for (const pid of tree.slice(1)) signalQuietly(pid, 'SIGKILL')
    running.delete(child)
  }
}

function signalQuietly(pid, signal) {
  try {
    process.kill(pid, signal)
  } catch {
    // Ended meanwhile.
  }
}

/** @param {string | number} place a socket's path, or a port of 127.0.0.1 */
function accepts(place) {
  return new Promise((resolve) => {
    const socket = connect(typeof place === 'number' ? { port: place, host: '127.0.0.1' } : place)
    socket.once('connect', () => socket.destroy())
    socket.once('error', () => {})
    socket.once('close', (failed) => resolve(!failed))
  })
}

function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // The process or thread has ended meanwhile.
  }
}

function threads(pid) {
  try {
    return readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

/** The process and all below it, parents first. */
export function descendants(pid) {
  const below = threads(pid).flatMap((thread) =>
    read(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean).map(Number),
  )
  return [pid, ...below.flatMap(descendants)]
}

/**
 * Microseconds that a process and all below it have been on a processor. From schedstat, which
 * counts nanoseconds, where /proc/PID/stat counts hundredths of a second.
 */
export function processorTime(pid) {
  let sum = 0
  for (const each of descendants(pid)) {
    for (const thread of threads(each)) {
      sum += Number(read(`/proc/${each}/task/${thread}/schedstat`).split(' ', 1)[0])
    }
  }
  return sum / 1000
}

/** KiB of resident memory of a process and all below it: now, and at the most (of each). */
export function memory(pid) {
  const sum = (field) => {
    let total = 0
    for (const each of descendants(pid)) total += statusField(each, field)
    return total
  }
  return { now: sum('VmRSS'), peak: sum('VmHWM') }
}

function statusField(pid, field) {
  return Number(
    new RegExp(`^${field}:\\s*(\\d+) kB`, 'm').exec(read(`/proc/${pid}/status`))?.[1] ?? 0,
  )
}

/** Lets the account of the peak begin again from what is resident now (proc(5), clear_refs). */
export function resetPeak(pid) {
  for (const each of descendants(pid)) writeFileSync(`/proc/${each}/clear_refs`, '5')
}
