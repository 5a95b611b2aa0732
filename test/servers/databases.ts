/** Real databases for tests: Redis or Valkey, and PostgreSQL, in temporary directories. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { accepts, findProgram, makeDirectory, workerIds, workerUser } from './process.ts'

export interface DatabaseServer {
  /** What a client connects to: a path for Redis, a URL for PostgreSQL. */
  readonly address: string
  stop(): Promise<void>
}

/** How long the clients of PostgreSQL may take to disconnect. */
const DISCONNECT_TIME = 5_000

/** Milliseconds to start, or to end after SIGTERM. */
const TIMEOUT = 30_000

export function redisProgram(): string {
  return findProgram('valkey-server') ? 'valkey-server' : 'redis-server'
}

/** Debian has PostgreSQL's programs in a directory with the version. */
export function postgresProgram(name: 'initdb' | 'postgres'): string {
  const root = '/usr/lib/postgresql'
  try {
    const [version] = readdirSync(root).toSorted((a, b) => Number(b) - Number(a))
    if (version !== undefined) return join(root, version, 'bin', name)
  } catch {
    // Another system.
  }
  return findProgram(name) ?? name
}

export async function startRedis(): Promise<DatabaseServer> {
  const directory = await makeDirectory('portico-redis')
  const address = join(directory, 'redis.sock')
  const args = ['--port', '0', '--unixsocket', address, '--save', '', '--dir', directory]
  const child = spawn(findProgram(redisProgram())!, args, { stdio: 'ignore' })
  return started(child, directory, address, address)
}

/** PostgreSQL refuses to run as root, so it gets the web servers' user. */
export async function startPostgres(): Promise<DatabaseServer> {
  const directory = await makeDirectory('portico-postgres')
  const user = workerUser === undefined ? {} : workerIds()
  const data = join(directory, 'data')
  const options = { cwd: directory, env: { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' }, ...user }
  execFileSync(
    postgresProgram('initdb'),
    ['-D', data, '-U', 'portico', '--auth=trust', '--no-sync', '-E', 'UTF8'],
    { ...options, stdio: 'ignore' },
  )
  const child = spawn(
    postgresProgram('postgres'),
    ['-D', data, '-k', directory, '-c', 'listen_addresses=', '-F'],
    { ...options, stdio: 'ignore' },
  )
  const url = `postgresql://portico@localhost/postgres?host=${encodeURIComponent(directory)}`
  return started(child, directory, join(directory, '.s.PGSQL.5432'), url)
}

async function started(
  child: ChildProcess,
  directory: string,
  socket: string,
  address: string,
): Promise<DatabaseServer> {
  const ended = once(child, 'close')
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      // PostgreSQL waits for its clients on SIGTERM, and ends their connections on SIGINT: a client
      // that is about to disconnect would report that as an error.
      child.kill('SIGTERM')
      const timers = [
        setTimeout(() => child.kill('SIGINT'), DISCONNECT_TIME),
        setTimeout(() => child.kill('SIGKILL'), TIMEOUT),
      ]
      await ended
      for (const timer of timers) clearTimeout(timer)
    }
    await rm(directory, { recursive: true, force: true })
  }
  for (const deadline = Date.now() + TIMEOUT; !(await accepts(socket)); await sleep(20)) {
    if (child.exitCode === null && Date.now() < deadline) continue
    await stop()
    throw new Error(`${child.spawnfile} did not start`)
  }
  // PostgreSQL accepts connections a moment before it serves them.
  if (address !== socket) await ready(join(directory, 'data', 'postmaster.pid'))
  return { address, stop }
}

/** The last line of postmaster.pid becomes 'ready'. */
async function ready(file: string): Promise<void> {
  for (const deadline = Date.now() + TIMEOUT; Date.now() < deadline; await sleep(20)) {
    if (/^ready/m.test(await readFile(file, 'utf8').catch(() => ''))) return
  }
}
