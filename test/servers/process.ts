/**
 * Runs a real web server as a child of the test: finds its binary, gives it a directory and a port,
 * waits until it responds, stops it. What goes into each server's configuration is in the file of
 * that server.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync, closeSync, readFileSync } from 'node:fs'
import { chmod, chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, delimiter, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { findProgram } from '../../src/servers/find.ts'

export { findProgram }

/** A running web server. */
export interface WebServer {
  readonly port: number
  /** The process to watch or to signal; servers with workers have them below it. */
  readonly pid: number
  /** Configuration, logs and sockets of this server; removed by `stop()`. */
  readonly directory: string
  /** What the server wrote to its error log and to stderr so far; still there after `stop()`. */
  errorLog(): Promise<string>
  stop(): Promise<void>
}

/** What the file of one server contributes. */
export interface Recipe {
  program: ServerProgram
  /** Where the server listens. Default 127.0.0.1. */
  host?: string
  /** Whether it speaks TLS there; any certificate will do. */
  tls?: boolean
  /** The complete configuration. Its response to `readyPath` is a 307. */
  configure(home: Home): string
  /** The arguments that keep the server in the foreground with this configuration. */
  args(config: string, home: Home): string[]
}

export interface Home {
  directory: string
  port: number
}

export type ServerProgram = 'apache2' | 'nginx' | 'lighttpd' | 'haproxy' | 'caddy' | 'h2o'

/** Each server redirects this path itself, so that a response proves which server it is. */
export const readyPath = '/portico-test-is-ready'

/** How long a server may take to respond; Apache on a busy two-core machine takes 2 s. */
const READY_TIMEOUT = 20_000

/** How long a server may take to end after SIGTERM; Apache gives its children 6 s. */
const STOP_TIMEOUT = 10_000

/** A free port can be taken before the server binds it; twice in a row is rare already. */
const PORT_ATTEMPTS = 5

/** The messages of servers whose port is in use: nginx, Apache; lighttpd; HAProxy. */
const PORT_TAKEN = /address already in use|could not bind|cannot bind socket/i

/** Scripts say `#!/usr/bin/env node` and are to get the Node that runs the tests. */
export const serverPath = [dirname(process.execPath), '/usr/bin', '/bin'].join(delimiter)

/**
 * The user of the servers' workers; undefined if the tests do not run as root, because everything
 * then runs as one user. Apache refuses to run its workers as root.
 */
export const workerUser = process.getuid?.() === 0 ? 'www-data' : undefined

/**
 * Whether the program is there, and for the name of a skipped test what would bring it. On CI a
 * missing server is an error: there skipped tests would go unnoticed.
 */
export function installed(program: string): { available: boolean; hint: string } {
  if (findProgram(program) !== undefined) return { available: true, hint: '' }
  const hint = `${program} is not installed: run scripts/install-servers.sh`
  if (process.env['CI'] === 'true') throw new Error(hint)
  return { available: false, hint: ` (${hint})` }
}

/** A new temporary directory that the workers' user can use; what a test puts there it can reach. */
export async function makeDirectory(name = 'portico'): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), `${name}-`))
  // mkdtemp makes it 0700, and only root could pass.
  await chmod(directory, 0o755)
  if (workerUser !== undefined) {
    await chown(directory, workerId('-u'), workerId('-g'))
  }
  return directory
}

/** Whether a process accepts connections on a Unix socket. */
export function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** Lets the workers' user connect to a Unix socket of the test's own user. */
export async function openSocket(path: string): Promise<void> {
  await chmod(path, 0o666)
}

export function workerIds(): { uid: number; gid: number } {
  return { uid: workerId('-u'), gid: workerId('-g') }
}

function workerId(flag: '-u' | '-g'): number {
  return Number(execFileSync('id', [flag, workerUser ?? ''], { encoding: 'utf8' }))
}

/** Throws unless the workers' user can read the path; a 404 or 403 would not say why. */
export function assertReachable(path: string): void {
  if (workerUser === undefined) return
  try {
    execFileSync('test', ['-r', path], workerIds())
  } catch {
    throw new Error(`${path} cannot be read by ${workerUser}: copy it to a makeDirectory()`)
  }
}

/** Starts a server on a free port and resolves when it responds there. */
export async function startServer(recipe: Recipe): Promise<WebServer> {
  const { program } = recipe
  const binary = findProgram(program)
  if (binary === undefined) {
    throw new Error(`${program} is not installed: run scripts/install-servers.sh`)
  }
  for (let attempt = 1; ; attempt += 1) {
    const home = { directory: await makeDirectory(`portico-${program}`), port: await freePort() }
    const config = join(home.directory, `${program}.conf`)
    await writeFile(config, recipe.configure(home))
    const server = new RunningServer(binary, recipe, config, home)
    try {
      await server.ready()
      return server
    } catch (error) {
      const log = await server.errorLog()
      await server.stop()
      if (attempt < PORT_ATTEMPTS && PORT_TAKEN.test(log)) continue
      throw new Error(`${program} did not start: ${String(error)}\n${log}`, { cause: error })
    }
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** Servers that are stopped at the end if a test has not stopped them. */
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGTERM')
})

class RunningServer implements WebServer {
  readonly port: number
  readonly pid: number
  readonly directory: string
  readonly #recipe: Recipe
  readonly #child: ChildProcess
  readonly #ended: Promise<string>
  #hasEnded = false
  #lastLog: string | undefined

  constructor(binary: string, recipe: Recipe, config: string, home: Home) {
    const { directory, port } = home
    this.#recipe = recipe
    this.port = port
    this.directory = directory
    const output = openSync(join(directory, 'output.log'), 'a')
    this.#child = spawn(binary, recipe.args(config, home), {
      cwd: directory,
      // Nothing of the test's own environment gets to the scripts.
      env: { PATH: serverPath, LANG: 'C.UTF-8' },
      stdio: ['ignore', output, output],
      // At a restart Apache signals its whole process group, which must not be that of the tests.
      detached: basename(binary) === 'apache2',
    })
    closeSync(output)
    this.pid = this.#child.pid ?? 0
    running.add(this.#child)
    this.#ended = new Promise((resolve) => {
      const end = (how: string): void => {
        this.#hasEnded = true
        running.delete(this.#child)
        resolve(how)
      }
      this.#child.once('error', (error) => end(error.message))
      this.#child.once('exit', (code, signal) => end(`ended with ${signal ?? code}`))
    })
  }

  async ready(): Promise<void> {
    const deadline = Date.now() + READY_TIMEOUT
    for (;;) {
      if (this.#hasEnded) throw new Error(await this.#ended)
      if (Date.now() > deadline) throw new Error(`no response within ${READY_TIMEOUT} ms`)
      if (await this.#responds()) return
      await sleep(20)
    }
  }

  async #responds(): Promise<boolean> {
    const { host = '127.0.0.1', tls = false } = this.#recipe
    const options = {
      host,
      port: this.port,
      path: readyPath,
      timeout: 2_000,
      agent: false,
      rejectUnauthorized: false,
    }
    return new Promise((resolve) => {
      const request = (tls ? https : http).get(options, (response) => {
        response.resume()
        resolve(response.statusCode === 307)
      })
      request.on('timeout', () => request.destroy(new Error('no response')))
      request.on('error', () => resolve(false))
    })
  }

  async errorLog(): Promise<string> {
    if (this.#lastLog !== undefined) return this.#lastLog
    const texts = ['output.log', 'error.log'].map((name) =>
      readFile(join(this.directory, name), 'utf8').catch(() => ''),
    )
    return (await Promise.all(texts)).join('')
  }

  async stop(): Promise<void> {
    if (!this.#hasEnded) {
      this.#child.kill('SIGTERM')
      const timer = setTimeout(() => killTree(this.pid), STOP_TIMEOUT)
      await this.#ended
      clearTimeout(timer)
    }
    this.#lastLog ??= await this.errorLog()
    await rm(this.directory, { recursive: true, force: true })
  }
}

/** SIGKILL for a process and its workers, which would outlive it. Knows them on Linux only. */
function killTree(pid: number): void {
  let workers = ''
  try {
    workers = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  } catch {
    // Ended meanwhile, or no /proc.
  }
  try {
    // The master first: it would replace its workers.
    process.kill(pid, 'SIGKILL')
  } catch {
    // Ended meanwhile.
  }
  for (const worker of workers.split(' ').filter(Boolean)) killTree(Number(worker))
}
