/**
 * Starts and stops the processes of a benchmark, and reads their CPU time and resident memory from
 * /proc, descendants included. Linux only.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { cleanEnvironment } from './common.mjs'

/** How long a server may take to accept connections, and to exit, in ms. */
const START_TIMEOUT = 15_000
const STOP_TIMEOUT = 5_000

const running = new Set()
process.on('exit', () => {
  // Workers as well: a master that gets SIGKILL cannot stop them.
  for (const child of running) {
    for (const pid of descendants(child.pid)) signalQuietly(pid, 'SIGKILL')
  }
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

/** A server as a child process. */
export class ServerProcess {
  #child
  #ended
  #log

  /**
   * Starts a server; resolves when it accepts connections.
   *
   * @param {string[]} command
   * @param {{ address: string | number, log: string, cwd?: string, environment?: object,
   *   stdin?: number }} options `address` is the path of a socket or a port of 127.0.0.1; stdout
   *   and stderr go to the file `log`
   */
  static async start(command, options) {
    const server = new ServerProcess(command, options)
    const deadline = performance.now() + START_TIMEOUT
    while (!(await accepts(options.address))) {
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
    // A master may exit before its workers.
    for (const pid of tree.slice(1)) signalQuietly(pid, 'SIGKILL')
    running.delete(child)
  }
}

/** Signals a process unless it has ended. */
export function signalQuietly(pid, signal) {
  try {
    process.kill(pid, signal)
  } catch {
    // It has exited.
  }
}

/** The resident processes of a bundle, by its path. */
export function residents(script) {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
        return words[0] === process.execPath && words.at(-2) === script
      } catch {
        return false // Not a process, or it has ended.
      }
    })
}

/** @param {string | number} address the path of a socket, or a port of 127.0.0.1 */
function accepts(address) {
  return new Promise((resolve) => {
    const socket = connect(
      typeof address === 'number' ? { port: address, host: '127.0.0.1' } : address,
    )
    socket.once('connect', () => socket.destroy())
    socket.once('error', () => {})
    socket.once('close', (failed) => resolve(!failed))
  })
}

function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // The process or thread has ended.
  }
}

function threads(pid) {
  try {
    return readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

/** The process and its descendants, parents first. */
export function descendants(pid) {
  const below = threads(pid).flatMap((thread) =>
    read(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean).map(Number),
  )
  return [pid, ...below.flatMap(descendants)]
}

/**
 * The CPU time of a process and its descendants in µs. It comes from schedstat, which counts
 * nanoseconds; /proc/PID/stat counts hundredths of a second.
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

/** The resident memory of a process and its descendants in KiB: now, and the peak of each. */
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

/** Resets the peak to what is resident now (proc(5), clear_refs). */
export function resetPeak(pid) {
  for (const each of descendants(pid)) {
    try {
      writeFileSync(`/proc/${each}/clear_refs`, '5')
    } catch (error) {
      if (each === pid || error.code !== 'ENOENT') throw error // A script may have ended meanwhile.
    }
  }
}
