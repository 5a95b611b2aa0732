/** A client for CGI scripts: it starts a process for each request, as a web server does. */
import { Buffer } from 'node:buffer'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { withBytes } from '../environ/to-process.ts'
import { checkClientOptions, CLIENT, VARIABLES } from './check-options.ts'
import { bodyBytes, DEFAULT_TIMEOUT, type Client, type ClientOptions } from './client.ts'
import { CgiResponseReader, collect, pauseFor, type Exchange } from './exchange.ts'
import { disconnected, within } from './socket-reader.ts'
import { variablesFor, type VariableOptions } from './variables.ts'

export interface CgiClientOptions extends ClientOptions, VariableOptions {
  /** The absolute path of the program, and its arguments. */
  readonly command: readonly [program: string, ...args: string[]]
  /** The directory in which it runs. Default: that of this process; web servers use the script's. */
  readonly cwd?: string | undefined
  /**
   * - `'pipes'` (default): stdin and stdout are a pipe each, as in Apache's mod_cgi and lighttpd;
   * - `'socket'`: one Unix socket is both, as in Apache's mod_cgid.
   */
  readonly stdio?: 'pipes' | 'socket' | undefined
}

/** Bytes: half the size of a pipe on Linux. */
const SMALL_BODY = 32_768

/**
 * Runs `command` for each request.
 *
 * @throws {ConfigurationError} for an unknown option, or a value of the wrong kind.
 */
export function cgiClient(options: CgiClientOptions): Client {
  const names = [...CLIENT, ...VARIABLES, 'command', 'cwd', 'stdio'] as const
  checkClientOptions('cgiClient', options, names)
  const exchange = cgiExchange(options)
  return {
    request: (request) => collect(exchange, request, true),
    close: () => Promise.resolve(),
  }
}

/** Runs `command` for each request. */
export function cgiExchange(options: CgiClientOptions): Exchange {
  return async (request, receiver, signal) => {
    const variables = variablesFor(request, options, { gateway: 'cgi' })
    const { command, env } = withBytes(options.command, variables)
    const channel = await (options.stdio === 'socket' ? openSocketPair() : openPipes())
    const { input, output } = channel
    const body = bodyBytes(request.body)
    const reader = new CgiResponseReader(receiver, request.method)
    let reset = false
    output.on('data', (chunk: Buffer) => pauseFor(output, reader.add(chunk)))
    input.on('error', () => {}) // A script need not read its input.
    // Closing a socket with unread input resets it, and Apache then aborts the response.
    output.on('error', () => (reset = true))
    input.end(body)
    // Written before the process starts: a script may end before it reads the body, and Node discards
    // unread data of a socket if a write fails.
    if (body.length <= SMALL_BODY) await once(input, 'finish')
    let child: ChildProcess
    try {
      const [program, ...args] = command
      child = spawn(program, args, {
        env,
        stdio: [channel.stdin, channel.stdout, 'pipe'],
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      })
    } finally {
      channel.handOver()
    }
    child.once('spawn', () => receiver.connected?.())
    child.stderr?.on('data', (chunk: Buffer) => receiver.log?.(chunk))
    const kill = () => child.kill('SIGKILL')
    signal?.addEventListener('abort', kill)
    if (signal?.aborted) kill()
    try {
      const [[code, by]] = await within(
        options.timeout ?? DEFAULT_TIMEOUT,
        'The script did not end',
        Promise.all([
          once(child, 'close') as Promise<[number | null, string | null]>,
          new Promise<void>((resolve) => output.once('close', () => resolve())),
        ]),
      )
      signal?.throwIfAborted()
      const broken = reader.end()
      if (code !== 0) return `the script ended with ${by ?? `exit code ${code}`}`
      return reset ? 'the connection was reset' : broken
    } catch (error) {
      throw child.pid === undefined ? disconnected(error) : error
    } finally {
      signal?.removeEventListener('abort', kill)
      kill()
      input.destroy()
      output.destroy()
    }
  }
}

/** The connection between the web server and one process. */
interface Channel {
  /** Ends for the child process. */
  readonly stdin: number | Socket
  readonly stdout: number | Socket
  /** Closes the ends of the child process here. */
  handOver(): void
  /** The ends of this process; both are the same for a socket. */
  readonly input: Socket
  readonly output: Socket
}

/** Two pipes. Node's `'pipe'` is a pair of Unix sockets, so these are named pipes. */
async function openPipes(): Promise<Channel> {
  const directory = await mkdtemp(join(tmpdir(), 'portico-cgi-'))
  try {
    const names = ['in', 'out'].map((name) => join(directory, name))
    await promisify(execFile)('mkfifo', names)
    const [stdin, stdout] = names.map(openEnds)
    return {
      stdin: stdin!.read,
      stdout: stdout!.write,
      handOver() {
        closeSync(stdin!.read)
        closeSync(stdout!.write)
      },
      input: new Socket({ fd: stdin!.write, readable: false, writable: true }),
      output: new Socket({ fd: stdout!.read, readable: true, writable: false }),
    }
  } finally {
    await rm(directory, { recursive: true })
  }
}

/** Both ends of a named pipe. Opening one end waits for the other, unless it is opened for both. */
function openEnds(path: string): { read: number; write: number } {
  const both = openSync(path, 'r+')
  try {
    return { read: openSync(path, 'r'), write: openSync(path, 'w') }
  } finally {
    closeSync(both)
  }
}

/** A pair of Unix sockets; this process does not read the end of the child. */
async function openSocketPair(): Promise<Channel> {
  const directory = await mkdtemp(join(tmpdir(), 'portico-cgi-'))
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true })
  try {
    const path = join(directory, 'socket')
    server.listen(path)
    await once(server, 'listening')
    const socket = connect({ path, allowHalfOpen: true })
    const [[accepted]] = await Promise.all([
      once(server, 'connection') as Promise<[Socket]>,
      once(socket, 'connect'),
    ])
    return {
      stdin: accepted,
      stdout: accepted,
      handOver: () => accepted.destroy(),
      input: socket,
      output: socket,
    }
  } finally {
    server.close()
    await rm(directory, { recursive: true })
  }
}
