/**
 * The control socket: JSON, one object per line. A client sends one command; the master responds
 * with any number of `step`s and one `result`.
 */
import { mkdirSync, statSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { ConfigurationError } from '../errors.ts'
import { bindSocketFile } from '../server/unix-socket.ts'
import { listenError, parseListen } from '../server/listen.ts'
import type { Status } from './status.ts'

/** The commands that a master takes. */
export const COMMANDS = ['status', 'ping', 'reload', 'stop'] as const
export type Command = (typeof COMMANDS)[number]

/** The largest size of a command in bytes: more than any command needs. */
const MAX_COMMAND = 1024

/** Milliseconds that a client may take to send its command. */
const COMMAND_TIME = 5_000

/** Milliseconds for the results of commands when the master ends. */
const LAST_RESULTS_TIME = 1_000

/** The result of a command. */
export interface Result {
  /** 0 or 1: the exit code of the command line. */
  readonly code: number
  /** Why, if it failed. */
  readonly error?: string
  readonly status?: Status
}

/** A line of a response. */
export type Line = { readonly step: string } | { readonly result: Result }

/** Runs a command. */
export type Execute = (command: Command, report: (step: string) => void) => Promise<Result>

export class ControlServer {
  readonly #server: Server
  readonly #clients = new Set<Socket>()
  readonly #running = new Set<Promise<void>>()

  private constructor(execute: Execute) {
    this.#server = createServer((socket) => this.#serve(socket, execute))
  }

  /**
   * Listens at `path` with mode 0600, and creates its directory with mode 0700 if it is missing.
   *
   * @throws {ConfigurationError} if the path cannot be used, or another master listens there.
   */
  static async open(path: string, execute: Execute): Promise<ControlServer> {
    const control = new ControlServer(execute)
    const listenOn = `unix:${path}`
    try {
      const target = parseListen(listenOn)
      makeDirectory(dirname(path))
      await bindSocketFile(control.#server, path, { mode: 0o600 }, (temporary) =>
        control.#listen(temporary),
      ).catch((error: unknown) => {
        throw listenError(error, listenOn, target)
      })
    } catch (error) {
      control.#server.close()
      throw controlError(error)
    }
    control.#server.unref()
    return control
  }

  #listen(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(path, () => {
        this.#server.off('error', reject)
        this.#server.on('error', () => {}) // No descriptor is free; the next attempt may succeed.
        resolve()
      })
    })
  }

  #serve(socket: Socket, execute: Execute): void {
    this.#clients.add(socket)
    socket.on('error', () => {}) // 'close' follows.
    socket.on('close', () => this.#clients.delete(socket))
    socket.setTimeout(COMMAND_TIME, () => socket.destroy())
    socket.setEncoding('utf8')
    let text = ''
    socket.on('data', (chunk) => {
      text += String(chunk)
      if (text.length > MAX_COMMAND) socket.destroy()
      if (!text.includes('\n')) return
      socket.removeAllListeners('data').resume()
      socket.setTimeout(0)
      const command = run(socket, text.slice(0, text.indexOf('\n')), execute)
      this.#running.add(command)
      void command.finally(() => this.#running.delete(command))
    })
  }

  /** Waits for the results of the commands that run: what they wait for has ended. */
  async settled(): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise((resolve) => (timer = setTimeout(resolve, LAST_RESULTS_TIME)))
    await Promise.race([Promise.allSettled(this.#running), late])
    clearTimeout(timer)
  }

  /** Removes the path, and closes when the last responses have been sent. */
  close(): void {
    this.#server.close()
    for (const socket of this.#clients) socket.destroySoon()
  }
}

/**
 * Creates a directory with mode 0700, and those above it, where they are missing. `recursive` of
 * mkdirSync never returns for a path below /proc.
 */
function makeDirectory(path: string): void {
  const existing = statSync(path, { throwIfNoEntry: false })
  if (existing?.isDirectory()) return
  if (existing !== undefined) throw new Error(`'${path}' is not a directory. Choose another path`)
  makeDirectory(dirname(path))
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return // Another process has just created it.
    throw new Error(`the directory '${path}' cannot be created (${code}). Choose another path`, {
      cause: error,
    })
  }
}

/** An error about the path, as one about the option `control`. */
export function controlError(error: unknown): ConfigurationError {
  const { message } = error as Error
  const text = message.replace(/^listen: /, '').replaceAll(/(['"])unix:/g, '$1')
  return new ConfigurationError(`control: ${text}`, { cause: error })
}

async function run(socket: Socket, text: string, execute: Execute): Promise<void> {
  const write = (line: Line): void => {
    if (socket.writable) socket.write(`${JSON.stringify(line)}\n`)
  }
  const command = COMMANDS.find((name) => name === text.trim())
  let result: Result
  if (command === undefined) {
    const known = COMMANDS.join(', ')
    result = { code: 1, error: `Unknown command ${JSON.stringify(text)}; there are ${known}` }
  } else {
    try {
      result = await execute(command, (step) => write({ step }))
    } catch (error) {
      result = { code: 1, error: error instanceof Error ? error.message : String(error) }
    }
  }
  write({ result })
  socket.end()
}
