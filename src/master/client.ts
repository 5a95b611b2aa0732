/** `portico status|ping|reload|stop PATH`: sends a command to a master's control socket. */
import { statSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { resolve } from 'node:path'
import type { Command, Line, Result } from './control.ts'
import type { Output } from './settings.ts'

/** Milliseconds for the status, which a master gives within one second. */
const STATUS_TIMEOUT = 10_000

/** Shows the workers and their counters. Resolves to the exit code. */
export async function status(path: string, output: Output): Promise<number> {
  const result = await execute(path, 'status', () => {}, STATUS_TIMEOUT)
  if (result.status === undefined) return fail(result, output)
  if (output.json) {
    output.out(JSON.stringify(result.status))
  } else {
    const { statusText } = await import('./status-text.ts')
    for (const line of statusText(result.status)) output.out(line)
  }
  return result.code
}

/** Checks within `timeout` ms that at least one worker responds. Resolves to the exit code, for health checks. */
export function ping(path: string, output: Output & { readonly timeout: number }): Promise<number> {
  return simple(path, 'ping', 'pong', output, output.timeout)
}

/** Replaces all workers, and shows each step. Resolves to the exit code when it is complete. */
export function reload(path: string, output: Output): Promise<number> {
  return simple(path, 'reload', 'Reloaded', output)
}

/** Stops the master. Resolves to the exit code when its last request is complete. */
export function stop(path: string, output: Output): Promise<number> {
  return simple(path, 'stop', 'Stopped', output)
}

async function simple(
  path: string,
  command: Command,
  success: string,
  output: Output,
  timeout = 0,
): Promise<number> {
  const steps: string[] = []
  const onStep = (step: string): void => {
    steps.push(step)
    if (!output.json) output.out(step)
  }
  const result = await execute(path, command, onStep, timeout)
  if (output.json) {
    output.out(JSON.stringify({ ok: result.code === 0, steps, error: result.error ?? null }))
  } else if (result.code === 0) {
    output.out(success)
  }
  return result.code === 0 ? 0 : fail(result, output)
}

function fail({ error = 'The command failed', code }: Result, output: Output): number {
  output.err(error)
  return code
}

async function execute(
  path: string,
  command: Command,
  onStep: (step: string) => void = () => {},
  timeout = 0,
): Promise<Result> {
  try {
    const lines = await exchange(path, command, onStep, timeout)
    if (typeof lines !== 'number') return lines
    // A master that has ended takes no further connection.
    const isMaster = lines > 0 || !(await closesSilently(path))
    const ended = `The master at ${path} ended before the command did`
    const silent = 'what listens there has closed the connection without a response'
    return { code: 1, error: isMaster ? ended : notControl(path, silent, 'fastcgi') }
  } catch (error) {
    if (error instanceof NotControl) {
      const isHttp = error.message.startsWith('HTTP/')
      const why = `what listens there speaks ${isHttp ? 'HTTP' : 'another protocol'}`
      return { code: 1, error: notControl(path, why, isHttp ? 'http' : 'fastcgi') }
    }
    return { code: 1, error: whyNot(error as NodeJS.ErrnoException, path) }
  }
}

/** Resolves to the result, or to the number of steps if the connection was closed without one. */
async function exchange(
  path: string,
  command: Command,
  onStep: (step: string) => void,
  timeout: number,
): Promise<Result | number> {
  const socket = connect(resolve(path.replace(/^unix:/, '')))
  if (timeout > 0) {
    const error = new Error(`it has not responded for ${timeout / 1000} s`)
    socket.setTimeout(timeout, () => socket.destroy(error))
  }
  let steps = 0
  try {
    socket.write(command.padEnd(PADDED) + '\r\n\r\n')
    for await (const line of linesOf(socket)) {
      if ('result' in line) return line.result
      onStep(line.step)
      steps += 1
    }
    return steps
  } finally {
    socket.destroy()
  }
}

/**
 * A master ignores the spaces. For FastCGI this is a whole header with a wrong version, for HTTP a
 * malformed request, for SCGI not a netstring: their servers close without waiting for more, and log
 * nothing (`src/server/wrong-protocol.ts`).
 */
const PADDED = 16

async function closesSilently(path: string): Promise<boolean> {
  try {
    return (await exchange(path, 'status', () => {}, STATUS_TIMEOUT)) === 0
  } catch {
    return false
  }
}

async function* linesOf(socket: Socket): AsyncGenerator<Line> {
  let rest = ''
  socket.setEncoding('utf8')
  for await (const chunk of socket) {
    const lines = (rest + String(chunk)).split('\n')
    rest = lines.pop()!
    for (const line of lines) yield parse(line)
  }
}

/** A common mistake: the path is the socket of the application. */
function notControl(path: string, why: string, gateway: 'fastcgi' | 'http'): string {
  return `${path} is not a control socket: ${why}. For an application's own socket: portico ping ${gateway}://unix:PATH`
}

/** A line that no master has sent. */
class NotControl extends Error {}

function parse(line: string): Line {
  try {
    return JSON.parse(line) as Line
  } catch {
    throw new NotControl(line)
  }
}

/** What the system's error codes mean for a control socket. */
const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'belongs to another user; run this command as that user or as root',
  ECONNREFUSED: 'is not served: the master has ended',
  ENOENT: 'does not exist: start the master with --control, or name its path',
}

function whyNot({ code = '', message }: NodeJS.ErrnoException, path: string): string {
  if (code === 'ENOENT' && /^[^/]*:\d+$/.test(path)) {
    return `${path} is an address, not the path of a control socket. To ping it: portico ping http://${path}`
  }
  if (code === 'ECONNREFUSED' || code === 'ENOTSOCK') {
    const file = statSync(path.replace(/^unix:/, ''), { throwIfNoEntry: false })
    const what = file?.isDirectory() ? 'a directory' : file?.isSocket() === false ? 'a file' : null
    if (what !== null) {
      return `${path} is ${what}, not a socket. Name the path that the master has as --control`
    }
  }
  return `The control socket ${path} ${REASONS[code] ?? `cannot be reached: ${message}`}`
}
