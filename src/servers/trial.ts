/** Starts a web server of its own with a generated configuration, and tries it. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigurationError } from '../errors.ts'
import type { Found } from './find.ts'
import type { InstanceSettings, ServerDescription, Site } from './site.ts'

/** How long a server may take until it accepts connections; Apache on a busy machine takes 2 s. */
const START_TIMEOUT = 20_000

/** How long a server may take to end after SIGTERM; Apache gives its children 6 s. */
const STOP_TIMEOUT = 10_000

/** How often a port is tried that nothing accepts on yet, in ms. */
const POLL = 20

/** A web server that runs for a trial. */
export interface Trial {
  readonly port: number
  /** What the server has written to its log. */
  log(): Promise<string>
  stop(): Promise<void>
}

/** A directory that the web server's user can enter. Its caller removes it. */
export async function makeTrialDirectory(
  uid: number | undefined,
  gid: number | undefined,
): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'portico-try-'))
  // mkdtemp makes it 0700, and only root could pass.
  await chmod(directory, 0o755)
  if (uid !== undefined && gid !== undefined) await chown(directory, uid, gid)
  return directory
}

/**
 * Starts the server on a free port of 127.0.0.1; resolves when it accepts connections.
 *
 * @throws {ConfigurationError} if it does not start, with what it says
 */
export async function startTrial(
  description: ServerDescription,
  site: Site,
  found: Found,
  { directory, user }: Omit<InstanceSettings, 'listen'>,
): Promise<Trial> {
  const port = await freePort()
  const settings: InstanceSettings = { directory, user, listen: `127.0.0.1:${port}` }
  const file = join(directory, `${description.name}.conf`)
  await writeFile(file, description.instance!([site], settings))
  const child = spawn(found.path, description.args!(file, settings), {
    cwd: directory,
    env: { PATH: process.env['PATH'], LANG: 'C.UTF-8', HOME: directory },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  // A program that cannot be started has no pid; its reason is in the log.
  child.once('error', (error) => (output += `${error.message}\n`))
  let output = ''
  const collect = (chunk: Buffer): void => void (output += chunk.toString())
  child.stdout.on('data', collect)
  child.stderr.on('data', collect)
  const log = async (): Promise<string> =>
    output + (await readFile(join(directory, 'error.log'), 'utf8').catch(() => ''))
  const stop = async (): Promise<void> => {
    await stopChild(child)
    await rm(file, { force: true })
  }
  if (await accepts(child, { port })) return { port, log, stop }
  await stop()
  throw new ConfigurationError(`${description.title} does not start:\n${(await log()).trim()}`)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Whether something accepts there before the child ends or the time is over. */
export async function accepts(
  child: ChildProcess,
  where: { port: number } | { path: string },
): Promise<boolean> {
  const deadline = Date.now() + START_TIMEOUT
  while (isRunning(child) && Date.now() < deadline) {
    const socket = connect({ host: '127.0.0.1', ...where })
    try {
      await once(socket, 'connect')
      return true
    } catch {
      await sleep(POLL)
    } finally {
      socket.destroy()
    }
  }
  return false
}

function isRunning({ pid, exitCode, signalCode }: ChildProcess): boolean {
  return pid !== undefined && exitCode === null && signalCode === null
}

/** SIGTERM, and SIGKILL if that does not help. */
export async function stopChild(child: ChildProcess): Promise<void> {
  if (!isRunning(child)) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT)
  await ended
  clearTimeout(timer)
}
