/**
 * The two generators of load, and what each says about the server under it. `wrk` drives nginx with
 * what stands behind it; `load.c` takes nginx's place, so that only the server itself is measured.
 */
import { execFile } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findProgram } from '../common.mjs'
import { memory, processorTime, resetPeak } from '../process.mjs'
import { encodeRequest } from './requests.mjs'

const run = promisify(execFile)
export const wrkProgram = findProgram('wrk')

/** A program that has not ended so much later than it should, in ms, never will. */
const PATIENCE = 60_000

/**
 * @typedef {object} Result
 * @property {number} rate requests per second
 * @property {number} time µs of a processor that the server's processes have used for a request
 * @property {number} p50 median of the time in ms until an answer was complete
 * @property {number} p99
 * @property {number} peak MiB of resident memory of the server's processes at the most
 * @property {number} bad answers that were not a 200, and connections that broke
 */

/**
 * Sends requests to nginx.
 *
 * @param {number} pid the server behind it
 * @param {{ port: number, host: string, path: string, size: number, answer: number,
 *   connections: number, seconds: number }} work `size` and `answer` are bytes of the two bodies;
 *   whole seconds
 * @returns {Promise<Result>}
 */
export function driveNginx(pid, { port, host, path, size, answer, connections, seconds }) {
  const script = join(import.meta.dirname, 'wrk.lua')
  const url = `http://127.0.0.1:${port}${path}`
  const settings = ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', script, '-H', `Host: ${host}`]
  return account(pid, { seconds, answer }, [wrkProgram, ...settings, url, '--', `${size}`])
}

/**
 * Sends requests to a server as nginx would.
 *
 * @param {number} pid the server
 * @param {{ program: string, protocol: string, socket: string, connections: number, kept: boolean,
 *   seconds: number, answer?: number, path: string, size?: number, headers?: number,
 *   parameters?: object }} work `program` is load.c, compiled; `answer` the bytes of the answer's
 *   body; for the last four see `encodeRequest`
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
async function account(pid, { seconds, answer = 1 }, [program, ...args]) {
  resetPeak(pid)
  const before = processorTime(pid)
  const { stdout } = await run(program, args, { timeout: seconds * 1000 + PATIENCE })
  const used = processorTime(pid) - before
  const said = JSON.parse(stdout.trim().split('\n').at(-1))
  if (said.bytes / said.requests < answer) throw new Error('The answers are too short')
  return {
    rate: (said.requests / said.elapsed) * 1e6,
    time: used / said.requests,
    p50: said.p50 / 1000,
    p99: said.p99 / 1000,
    peak: memory(pid).peak / 1024,
    bad: said.errors + said.failures,
  }
}
