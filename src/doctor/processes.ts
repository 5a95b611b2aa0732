/** Processes of this machine, from Linux's /proc. Elsewhere nothing is found. */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { basename } from 'node:path'
import type { Address } from './address.ts'

/** A process, as far as this user may see it. */
export interface Process {
  readonly pid: number
  /** The program's name, such as `nginx`. */
  readonly name: string
  readonly args: readonly string[]
  /** Its real user. */
  readonly uid: number
  readonly parent: number
}

/** The state of a TCP socket that listens, in /proc/net/tcp. */
const TCP_LISTEN = '0A'

/** SO_ACCEPTCON, the flag of a Unix socket that listens, in /proc/net/unix. */
const ACCEPTS = 0x10000

/** The text of a file; `''` if it cannot be read. */
export function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** The target of a symbolic link of /proc; undefined if this user may not see it. */
export function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

export function processOf(pid: number): Process | undefined {
  const status = textOf(`/proc/${pid}/status`)
  const command = textOf(`/proc/${pid}/cmdline`)
  if (status === '') return undefined
  const field = (name: string): string =>
    new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? ''
  // nginx writes its title over its arguments, with spaces between them.
  const args = command.includes('\0') ? command.replace(/\0+$/, '').split('\0') : command.split(' ')
  const title = /^nginx: master process (.*)/.exec(args.join(' '))?.[1]
  return {
    pid,
    // Newer versions of Node call their thread MainThread.
    name:
      [field('Name')].find((name) => name !== '' && name !== 'MainThread') ??
      basename(args[0] ?? ''),
    args: title === undefined ? args : title.trim().split(/\s+/),
    uid: Number(field('Uid')),
    parent: Number(field('PPid')),
  }
}

export function processes(): Process[] {
  let names: string[]
  try {
    names = readdirSync('/proc')
  } catch {
    return []
  }
  return names
    .filter((name) => /^\d+$/.test(name))
    .map((name) => processOf(Number(name)))
    .filter((each) => each !== undefined)
}

/** Local addresses on which a port is listened to, with the numbers of the sockets. */
function tcpListeners(port: number): { address: string; inode: string }[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  return ['tcp', 'tcp6'].flatMap((table) =>
    textOf(`/proc/net/${table}`)
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local = '', , state]) => state === TCP_LISTEN && local.endsWith(suffix))
      .map((columns) => ({ address: columns[1]!.slice(0, -suffix.length), inode: columns[9]! })),
  )
}

/** Which families listen to a port: 'IPv4', 'IPv6'. `::` takes IPv4, too, unless it is set otherwise. */
export function familiesOf(port: number): Set<'IPv4' | 'IPv6'> {
  const found = tcpListeners(port)
  return new Set(found.map(({ address }) => (address.length === 8 ? 'IPv4' : 'IPv6')))
}

/** The process that listens to a TCP port; its master where it has workers. */
export function listenerOnPort(port: number): Process | undefined {
  return ownerOf(new Set(tcpListeners(port).map(({ inode }) => inode)))
}

/** Unix sockets that listen. Portico binds PATH.PID and renames it, which the kernel does not show. */
function unixListeners(): { path: string; inode: string }[] {
  return textOf('/proc/net/unix')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , flags = '', , , , path = '']) => {
      return path.startsWith('/') && (Number.parseInt(flags, 16) & ACCEPTS) !== 0
    })
    .map((columns) => ({ path: columns[7]!.replace(/\.\d+$/, ''), inode: columns[6]! }))
}

/** The process that listens at an address of this machine, unless it is this process. */
export function listenerAt({ path, host = '', port = 0 }: Address): Process | undefined {
  const local = path === undefined && isLocal(host) ? listenerOnPort(port) : undefined
  const owner = path === undefined ? local : listenerOnPath(path)
  return owner?.pid === process.pid ? undefined : owner
}

/** The process that listens on a Unix socket. */
export function listenerOnPath(wanted: string): Process | undefined {
  const found = unixListeners().filter(({ path }) => path === wanted.replace(/\.\d+$/, ''))
  return ownerOf(new Set(found.map(({ inode }) => inode)))
}

function ownerOf(inodes: ReadonlySet<string>): Process | undefined {
  if (inodes.size === 0) return undefined
  const holders = processes().filter(({ pid }) => holds(pid, inodes))
  const pids = new Set(holders.map(({ pid }) => pid))
  return holders.find(({ parent }) => !pids.has(parent)) ?? holders[0]
}

function holds(pid: number, inodes: ReadonlySet<string>): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`) ?? '') ?? []
      return inode !== undefined && inodes.has(inode)
    })
  } catch {
    return false
  }
}

/** The user that a server's workers run as: that of a child that is not root, else its own. */
export function workerUid({ pid, uid }: Process): number {
  const children = processes().filter(({ parent }) => parent === pid)
  return children.find((child) => child.uid !== 0)?.uid ?? uid
}

/** The environment that a process was started with. */
export function environmentOf(pid: number): Record<string, string> {
  const entries = textOf(`/proc/${pid}/environ`)
    .split('\0')
    .filter((entry) => entry.includes('='))
    .map((entry): [string, string] => [
      entry.slice(0, entry.indexOf('=')),
      entry.slice(entry.indexOf('=') + 1),
    ])
  return Object.fromEntries(entries)
}

/** Whether a process has file systems of its own: PrivateTmp of systemd, a container, a chroot. */
export function hasOtherFiles(pid: number): boolean {
  const own = linkOf('/proc/self/ns/mnt')
  const other = linkOf(`/proc/${pid}/ns/mnt`)
  const root = linkOf(`/proc/${pid}/root`)
  return (other !== undefined && own !== other) || (root !== undefined && root !== '/')
}

/** Whether a path exists as the process sees it. */
export function existsFor(pid: number, path: string): boolean {
  try {
    statSync(`/proc/${pid}/root${path}`)
    return true
  } catch {
    return false
  }
}

/** Whether a host name is this machine, so that its processes and files are here. */
export function isLocal(host: string): boolean {
  const plain = host.replace(/^\[|\]$/g, '')
  if (plain === 'localhost' || plain === '::1' || plain.startsWith('127.')) return true
  return Object.values(networkInterfaces())
    .flat()
    .some((each) => each?.address === plain)
}
