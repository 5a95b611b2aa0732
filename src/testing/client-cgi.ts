/**
 * The client of this folder's common form over CGI, from the side of the web server: a process for
 * each request, whose environment holds the request and nothing else.
 */
import { Buffer } from 'node:buffer'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { isCutShort, parseCgiResponse } from './cgi-response.ts'
import { cgiVariables, type CgiPlace } from './cgi-variables.ts'
import {
  bodyBytes,
  Collector,
  DEFAULT_TIMEOUT,
  type Client,
  type ClientOptions,
  type TestRequest,
  type TestResponse,
} from './client.ts'
import { within } from './socket-reader.ts'

export interface CgiClientOptions extends ClientOptions, CgiPlace {
  /** The program, by its full path, and its arguments. */
  readonly command: readonly [program: string, ...args: string[]]
  /**
   * - `'pipes'` (default): stdin and stdout are a pipe each, as in Apache's mod_cgi and lighttpd;
   * - `'socket'`: one Unix socket is both, as in Apache's mod_cgid.
   */
  readonly stdio?: 'pipes' | 'socket' | undefined
  /** Further variables, as `SetEnv` adds them: PATH, if the program needs it. */
  readonly variables?: Readonly<Record<string, string>> | undefined
}

/** Half of what a pipe holds on Linux; sockets hold more. */
const SMALL_BODY = 32_768

/** Runs `command` for each request. */
export function cgiClient(options: CgiClientOptions): Client {
  return {
    request: (request) => requestCgi(request, options),
    close: () => Promise.resolve(),
  }
}

async function requestCgi(request: TestRequest, options: CgiClientOptions): Promise<TestResponse> {
  const variables = [...cgiVariables(request, options), ...Object.entries(options.variables ?? {})]
  const { command, env } = withBytes(options.command, variables)
  const channel = await (options.stdio === 'socket' ? openSocketPair() : openPipes())
  const { input, output } = channel
  const body = bodyBytes(request.body)
  const stdout = new Collector()
  const stderr = new Collector()
  let reset = false
  output.on('data', (piece: Buffer) => stdout.add(piece))
  input.on('error', () => {}) // A script need not read its input.
  // But a socket with unread input is reset at its end, and Apache then breaks the answer off.
  output.on('error', () => (reset = true))
  input.end(body)
  // Before there is a process: Node throws away what it has not read of a socket when a write to
  // that fails, and a script may end sooner than we would have written.
  if (body.length <= SMALL_BODY) await once(input, 'finish')
  let child: ChildProcess
  try {
    const [program, ...args] = command
    child = spawn(program, args, { env, stdio: [channel.stdin, channel.stdout, 'pipe'] })
  } finally {
    channel.handOver()
  }
  child.stderr?.on('data', (piece: Buffer) => stderr.add(piece))
  try {
    const [[code]] = await within(
      options.timeout ?? DEFAULT_TIMEOUT,
      'the script did not end',
      Promise.all([
        once(child, 'close') as Promise<[number | null]>,
        new Promise<void>((resolve) => output.once('close', resolve)),
      ]),
    )
    const answer = parseCgiResponse(stdout.bytes())
    return {
      status: answer.status,
      headers: answer.headers,
      body: answer.body,
      broken: code !== 0 || reset || isCutShort(answer, request.method),
      errors: stderr.bytes().toString(),
    }
  } finally {
    child.kill('SIGKILL')
    input.destroy()
    output.destroy()
  }
}

/** What joins the web server to one process. */
interface Channel {
  /** For the child. */
  readonly stdin: number | Socket
  readonly stdout: number | Socket
  /** Gives up the child's ends, when it has them. */
  handOver(): void
  /** Our ends; the same for a socket. */
  readonly input: Socket
  readonly output: Socket
}

/** Two pipes. Node's own `'pipe'` is a pair of Unix sockets, so these are made by name. */
async function openPipes(): Promise<Channel> {
  const folder = await mkdtemp(join(tmpdir(), 'portico-cgi-'))
  try {
    const names = ['in', 'out'].map((name) => join(folder, name))
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
    await rm(folder, { recursive: true })
  }
}

/** Both ends of a named pipe. Opening one waits for the other, save for an end that is both. */
function openEnds(path: string): { read: number; write: number } {
  const both = openSync(path, 'r+')
  try {
    return { read: openSync(path, 'r'), write: openSync(path, 'w') }
  } finally {
    closeSync(both)
  }
}

/** A Unix socket, whose end for the child nobody reads here. */
async function openSocketPair(): Promise<Channel> {
  const folder = await mkdtemp(join(tmpdir(), 'portico-cgi-'))
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true })
  try {
    const path = join(folder, 'socket')
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
    await rm(folder, { recursive: true })
  }
}

/**
 * A command and an environment that give the process these variables byte for byte. Node writes
 * an environment as UTF-8; a value that is none goes through the printf of a shell.
 */
function withBytes(
  command: CgiClientOptions['command'],
  variables: [name: string, value: string][],
): { command: [string, ...string[]]; env: Record<string, string> } {
  const env: Record<string, string> = {}
  const odd: string[] = []
  for (const [name, value] of variables) {
    const bytes = Buffer.from(value, 'latin1')
    const text = bytes.toString()
    if (Buffer.from(text).equals(bytes)) env[name] = text
    // The x at the end: a substitution drops line feeds there.
    else odd.push(`${name}=$(printf '${octal(bytes)}x'); ${name}=\${${name}%x}; export ${name}`)
  }
  if (odd.length === 0) return { command: [...command], env }
  const script = `${odd.join('\n')}\nunset PWD OLDPWD SHLVL _\nexec "$@"`
  return { command: ['/bin/sh', '-c', script, 'sh', ...command], env }
}

function octal(bytes: Buffer): string {
  return Array.from(bytes, (byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')
}
