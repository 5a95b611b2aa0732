/**
 * Runs the two load generators. `wrk` sends requests to nginx; `load.c` sends nginx's requests
 * straight to a server, so that only the server itself is measured.
 */
import { execFile } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findProgram } from '../common.mjs'
import { memory, processorTime, resetPeak } from '../process.mjs'
import { encodeRequest } from './requests.mjs'

const run = promisify(execFile)
export function wrkProgram() {
  return findProgram('wrk')
}

/** How much longer than planned a generator may run, in ms. */
const PATIENCE = 60_000

/**
 * @typedef {object} Result
 * @property {number} rate requests per second
 * @property {number} time CPU time of the server's processes for a request, in µs
 * @property {number} p50 median time until a response was complete, in ms
 * @property {number} p99
 * @property {number} peak peak of the resident memory of the server's processes, in MiB
 * @property {number} bad responses other than 200, and connections that failed
 */

/**
 * Sends requests to nginx.
 *
 * @param {number} pid the process of the upstream server
 * @param {{ port: number, host: string, path: string, size: number, expected: number,
 *   connections: number, seconds: number }} work `size` is that of the request body, `expected`
 *   that of the response body, in bytes; whole seconds
 * @returns {Promise<Result>}
 */
export function driveNginx(pid, { port, host, path, size, expected, connections, seconds }) {
  const script = join(import.meta.dirname, 'wrk.lua')
  const url = `http://127.0.0.1:${port}${path}`
  const settings = ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', script, '-H', `Host: ${host}`]
  return account(pid, { seconds, expected }, [wrkProgram(), ...settings, url, '--', `${size}`])
}

/**
 * Sends requests to a server as nginx does.
 *
 * @param {number} pid the server
 * @param {{ program: string, protocol: string, socket: string, connections: number, kept: boolean,
 *   seconds: number, expected?: number, path: string, size?: number, headers?: number,
 *   parameters?: object }} work `program` is load.c, compiled; `expected` is the size of the
 *   response body; `encodeRequest` documents the last four
 * @returns {Promise<Result>}
 */
export async function driveEngine(pid, work) {
  const { program, protocol, socket, connections, kept, seconds } = work
  const file = `${socket}.request`
  writeFileSync(file, encodeRequest(protocol, work))
  const settings = [protocol, socket, file, `${connections}`, kept ? '1' : '0', `${seconds}`]
  try {
    return await account(pid, work, [program, ...settings])
  } finally {
    rmSync(file)
  }
}

/** @returns {Promise<Result>} */
async function account(pid, { seconds, expected = 1 }, [program, ...args]) {
  resetPeak(pid)
  const before = processorTime(pid)
  const { stdout } = await run(program, args, { timeout: seconds * 1000 + PATIENCE })
  const used = processorTime(pid) - before
  const report = JSON.parse(stdout.trim().split('\n').at(-1))
  if (report.bytes / report.requests < expected) throw new Error('The responses are too short')
  return {
    rate: (report.requests / report.elapsed) * 1e6,
    time: used / report.requests,
    p50: report.p50 / 1000,
    p99: report.p99 / 1000,
    peak: memory(pid).peak / 1024,
    bad: report.errors + report.failures,
  }
}
