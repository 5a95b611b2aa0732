/**
 * The path of a Unix socket: its permissions, and what happens if the path already exists.
 *
 * The socket is bound to a temporary path, gets its owner there, and is then linked to its final
 * path. So the final path never has the wrong permissions, and another file that appears there
 * meanwhile is not overwritten. libuv unlinks the path that it bound (`uv__pipe_close`), which
 * cannot be another process's socket.
 */
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
} from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { connect } from 'node:net'
import type { Server } from 'node:net'
import { dirname } from 'node:path'
import { ConfigurationError } from '../errors.ts'
import type { Options } from '../options/options.ts'
import { OPTIONS } from '../options/table.ts'

export type SocketFileOptions = Pick<Options, 'mode' | 'owner' | 'group'>

/** Binds `server` to `path` as `claimPath` does, and removes the path when the server has closed. */
export async function bindSocketFile(
  server: Server,
  path: string,
  options: SocketFileOptions,
  bind: (path: string) => Promise<void>,
): Promise<void> {
  const publish = await claimPath(path, options, bind)
  paths.set(server, publish())
  // If the process dies earlier, the path stays, and the next start removes it.
  server.once('close', () => releaseSocketFile(server))
}

/**
 * Binds a socket at a temporary path through `bind`, with its permissions. The returned function
 * gives it its final path, and returns another one that removes this path.
 *
 * `bind` must bind synchronously, as `server.listen` does outside cluster workers: the umask
 * belongs to the whole process, and changes only while `bind` runs.
 *
 * @throws {ConfigurationError} if a process listens at `path`, or if it is not a socket.
 */
export async function claimPath(
  path: string,
  options: SocketFileOptions,
  bind: (path: string) => Promise<void>,
): Promise<() => () => void> {
  const rights = parseRights(options)
  statSync(dirname(path)) // Throws ENOENT; libuv would report EACCES for a missing directory.
  const stale = await findStale(path)
  const temporary = `${path}.${process.pid}`
  // A process with the same pid, such as 1 in a container, may have been killed during its start.
  const remains = await findStale(temporary)
  if (remains !== undefined) removeStale(temporary, remains)

  const umask = process.umask(0o777 & ~rights.mode)
  let bound: Promise<void>
  try {
    bound = bind(temporary)
  } finally {
    process.umask(umask)
  }
  await bound
  try {
    giveAway(temporary, rights, options, path)
  } catch (error) {
    unlinkSync(temporary)
    throw error
  }
  return () => {
    try {
      if (stale !== undefined) removeStale(path, stale)
      linkSync(temporary, path)
    } finally {
      unlinkSync(temporary)
    }
    const own = statOf(path)
    return () => {
      if (isSame(statOf(path), own)) unlinkSync(path)
    }
  }
}

/**
 * Binds in a worker of node:cluster. There the primary process creates the socket at its final path,
 * with the permissions of the umask, so each worker sets the permissions again.
 */
export async function bindInWorker(
  path: string,
  options: SocketFileOptions,
  bind: (path: string) => Promise<void>,
): Promise<void> {
  const rights = parseRights(options)
  // A socket in use belongs to the other workers; if it does not, the primary process reports it.
  const stale = await findStale(path, true)
  if (stale !== undefined) removeStale(path, stale)
  await bind(path)
  giveAway(path, rights, options, path)
  chmodSync(path, rights.mode)
}

interface Rights {
  readonly mode: number
  readonly owner: number | undefined
  readonly group: number | undefined
}

function parseRights(options: SocketFileOptions): Rights {
  return {
    mode: parseMode(options.mode),
    owner: parseId('owner', options.owner, '/etc/passwd'),
    group: parseId('group', options.group, '/etc/group'),
  }
}

/** Sets the owner and group of `file`, which messages call `path`. */
function giveAway(file: string, rights: Rights, options: SocketFileOptions, path: string): void {
  const { owner, group } = rights
  // The group first: after a change of owner this process may no longer change the group.
  if (group !== undefined) give('group', () => chownSync(file, -1, group), options, path)
  if (owner !== undefined) give('owner', () => chownSync(file, owner, -1), options, path)
}

/** Who is allowed to change the group and the owner of a file. */
const GIVERS = {
  group: 'root, or a process in that group',
  owner: 'root',
} as const

/** @throws {ConfigurationError} that names the option and the path: the system reports only EPERM. */
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
      `${option}: cannot set the ${option} of '${path}' to ${JSON.stringify(options[option])}` +
        (code === 'EPERM' ? `; only ${GIVERS[option]} may do that (EPERM)` : ` (${code})`),
      { cause: error },
    )
  }
}

/** For each server, the function that removes its path. */
const paths = new WeakMap<Server, () => void>()

/** Removes the server's path, if it has one and the path is still its own socket. */
export function releaseSocketFile(server: Server): void {
  paths.get(server)?.()
  paths.delete(server)
}

/**
 * Returns the file at `path` if it is a socket on which no process listens. With `inUse`, a socket
 * on which a process listens is not an error.
 *
 * @throws {ConfigurationError} if a process listens on it, or if the file is not a socket.
 */
async function findStale(path: string, inUse = false): Promise<BigIntStats | undefined> {
  const stat = statOf(path)
  if (stat === undefined) return undefined
  if (!stat.isSocket()) {
    throw new ConfigurationError(
      `listen: '${path}' exists and is not a socket. Remove it, or choose another path`,
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
  if (inUse) return undefined
  throw new ConfigurationError(
    `listen: '${path}' is in use by another process. Stop that process, or choose another path`,
    { cause: error },
  )
}

/**
 * Removes a stale socket, unless another process has replaced it meanwhile. No system call unlinks a
 * file only if it is still the same file. So this renames the file, which only one process can do,
 * checks it again, and puts it back if it is another file.
 */
function removeStale(path: string, stale: BigIntStats): void {
  if (!isSame(statOf(path), stale)) return
  const aside = `${path}.${process.pid}.stale`
  try {
    renameSync(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  try {
    if (!isSame(statOf(aside), stale)) linkSync(aside, path)
  } finally {
    unlinkSync(aside)
  }
}

function statOf(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true, throwIfNoEntry: false })
  } catch {
    // Binding the socket will report a problem with the directory.
    return undefined
  }
}

/** Compares the time of creation, too: some file systems reuse an inode number at once. */
function isSame(a: BigIntStats | undefined, b: BigIntStats | undefined): boolean {
  return a?.ino === b?.ino && a?.dev === b?.dev && a?.birthtimeNs === b?.birthtimeNs && a != null
}

/** The permissions of a Unix socket as `ls -l` and log lines show them: "0660 root:www-data". */
export function describeRights(path: string): string {
  const stat = statOf(path)
  if (stat === undefined) return ''
  const mode = (Number(stat.mode) & 0o777).toString(8).padStart(4, '0')
  const owner = nameOf(Number(stat.uid), '/etc/passwd')
  return `${mode} ${owner}:${nameOf(Number(stat.gid), '/etc/group')}`
}

/** @throws {ConfigurationError} for a mode that is not from 0 to 0o777. */
export function parseMode(
  mode: number | string = OPTIONS.mode.default,
  option: string = 'mode',
): number {
  const bits =
    typeof mode === 'string' && /^(?:0o?)?[0-7]{3}$/.test(mode)
      ? Number.parseInt(mode.slice(-3), 8)
      : mode
  if (typeof bits === 'number' && Number.isInteger(bits) && bits >= 0 && bits <= 0o777) return bits
  throw new ConfigurationError(
    `${option}: ${JSON.stringify(mode)} is not a file mode; use a number such as 0o660 or a string such as '0660'`,
  )
}

/** Node has no getpwnam. For a name that is not in `file`, the user must give the number. */
export function parseId(
  option: string,
  id: number | string | undefined,
  file: string,
): number | undefined {
  if (id === undefined) return undefined
  if (/^\d{1,9}$/.test(String(id))) return Number(id)
  const found = entriesOf(file).find(([name]) => name === id)?.[2]
  if (found !== undefined && found !== '') return Number(found)
  throw new ConfigurationError(
    `${option}: ${JSON.stringify(id)} is not in ${file}; use one of its names, or a number`,
  )
}

function nameOf(id: number, file: string): string {
  return entriesOf(file).find((entry) => entry[2] === String(id))?.[0] ?? String(id)
}

function entriesOf(file: string): string[][] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .map((line) => line.split(':'))
  } catch {
    return [] // This system has no such file.
  }
}
