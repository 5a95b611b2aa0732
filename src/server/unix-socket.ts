/**
 * A Unix socket's name in the file system: who may connect, whether an old name is in the way,
 * and that only our own name is ever taken away.
 *
 * The socket is bound under a name of its own, gets its owner there, and is then linked to the
 * name it is known by. So that name never shows with the wrong rights, nothing that appears there
 * meanwhile is overwritten, and libuv, which at close unlinks whatever has the name it bound
 * (`uv__pipe_close`), cannot hit a successor's socket.
 */
import { chownSync, linkSync, lstatSync, readFileSync, statSync, unlinkSync } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import type { Server } from 'node:net'
import { ConfigurationError } from '../errors.ts'
import { OPTIONS, type Options } from '../options.ts'

export type SocketFileOptions = Pick<Options, 'mode' | 'owner' | 'group'>

/**
 * Binds `server` to `path` by way of `bind`, and takes the name away when the server has closed.
 *
 * `bind` starts the listening synchronously, as `server.listen` does outside of cluster workers:
 * the umask is the whole process's and is changed only while `bind` is called.
 */
export async function bindSocketFile(
  server: Server,
  path: string,
  options: SocketFileOptions,
  bind: (path: string) => Promise<void>,
): Promise<void> {
  const mode = parseMode(options.mode)
  const owner = parseId('owner', options.owner, '/etc/passwd')
  const group = parseId('group', options.group, '/etc/group')
  statSync(dirname(path)) // bind(2) says EACCES for a folder that is not there (libuv).
  const stale = await findStale(path)

  const temporary = `${path}.${process.pid}`
  const umask = process.umask(0o777 & ~mode)
  let bound: Promise<void>
  try {
    bound = bind(temporary)
  } finally {
    process.umask(umask)
  }
  await bound
  try {
    // The group first: a socket that is another's already is not ours to change.
    if (group !== undefined) give('group', () => chownSync(temporary, -1, group), options, path)
    if (owner !== undefined) give('owner', () => chownSync(temporary, owner, -1), options, path)
    if (stale !== undefined && isSame(look(path), stale)) unlinkSync(path)
    linkSync(temporary, path)
    const ours = look(path)
    names.set(server, () => {
      if (isSame(look(path), ours)) unlinkSync(path)
    })
    // Where the process dies before this the name stays, and the next start removes it.
    server.once('close', () => releaseSocketFile(server))
  } finally {
    unlinkSync(temporary)
  }
}

/** Whom the system lets change it. */
const GIVERS = {
  group: 'root, or a process in that group',
  owner: 'root',
} as const

/** @throws ConfigurationError saying what was asked for; the system says EPERM and no more. */
function give(
  option: keyof typeof GIVERS,
  change: () => void,
  options: SocketFileOptions,
  path: string,
): void {
  try {
    change()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new ConfigurationError(
      `${option}: ${JSON.stringify(options[option])} cannot be given '${path}'` +
        (code === 'EPERM' ? `; that takes ${GIVERS[option]} (EPERM)` : ` (${code})`),
      { cause: error },
    )
  }
}

/** What takes away the name under which a server is known. */
const names = new WeakMap<Server, () => void>()

/** Takes the server's name away, if it has one and it is still its own. */
export function releaseSocketFile(server: Server): void {
  names.get(server)?.()
  names.delete(server)
}

/**
 * Finds a socket that nobody listens on any more.
 *
 * @throws ConfigurationError if somebody answers, or if what has the name is not a socket.
 */
async function findStale(path: string): Promise<BigIntStats | undefined> {
  const stat = look(path)
  if (stat === undefined) return undefined
  if (!stat.isSocket()) {
    throw new ConfigurationError(
      `listen: '${path}' exists and is not a socket; it is left alone, choose another name`,
    )
  }
  const error = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy()
      resolve(undefined)
    })
    probe.once('error', resolve)
  })
  if (error?.code === 'ECONNREFUSED' || error?.code === 'ENOENT') return stat
  throw new ConfigurationError(`listen: '${path}' is in use by another process`, { cause: error })
}

function look(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true, throwIfNoEntry: false })
  } catch {
    // What is wrong with the folder comes out when the socket is bound.
    return undefined
  }
}

/** The time of birth as well: some file systems hand an inode's number out again at once. */
function isSame(a: BigIntStats | undefined, b: BigIntStats | undefined): boolean {
  return a?.ino === b?.ino && a?.dev === b?.dev && a?.birthtimeNs === b?.birthtimeNs && a != null
}

function parseMode(mode: number | string = OPTIONS.mode.default): number {
  const bits =
    typeof mode === 'string' && /^(?:0o?)?[0-7]{3}$/.test(mode)
      ? Number.parseInt(mode.slice(-3), 8)
      : mode
  if (typeof bits === 'number' && Number.isInteger(bits) && bits >= 0 && bits <= 0o777) return bits
  throw new ConfigurationError(
    `mode: ${JSON.stringify(mode)} is not a file mode; accepted are 0o000 to 0o777 or '0660'`,
  )
}

/** Node has no getpwnam; names that do not come from these files must be given as numbers. */
function parseId(option: string, id: number | string | undefined, file: string) {
  if (id === undefined) return undefined
  if (/^\d{1,9}$/.test(String(id))) return Number(id)
  let lines: string[] = []
  try {
    lines = readFileSync(file, 'utf8').split('\n')
  } catch {
    // Then there are no names.
  }
  const found = lines.map((line) => line.split(':')).find(([name]) => name === id)?.[2]
  if (found !== undefined && found !== '') return Number(found)
  throw new ConfigurationError(
    `${option}: ${JSON.stringify(id)} is not in ${file}; accepted are its names, and numbers`,
  )
}
