/**
 * Sockets that this process has inherited: descriptor 0 from spawn-fcgi, mod_fcgid and lighttpd
 * (FastCGI 1.0, section 2.2), and those of systemd (`sd_listen_fds(3)`).
 *
 * Synchronous, and loads `node:fs` only: `run` asks before it knows which gateway will run.
 */
import { fstatSync, readFileSync, readlinkSync } from 'node:fs'

/** What a descriptor is, for a server that wants to accept connections on it. */
export type DescriptorKind = 'listening' | 'connected' | 'not-a-socket' | 'closed'

/** The first descriptor systemd passes: SD_LISTEN_FDS_START. */
const FIRST_SYSTEMD_FD = 3

/** More than any unit has; keeps a nonsensical LISTEN_FDS from becoming a long list. */
const MAX_SYSTEMD_FDS = 1024

/**
 * The kernel's tables of sockets. A listening Unix socket has the flag __SO_ACCEPTCON there, a
 * listening TCP socket the state TCP_LISTEN.
 */
const SOCKET_TABLES = [
  { path: '/proc/net/unix', row: String.raw`\S+: \S+ \S+ (\S+) \S+ \S+`, listening: '00010000' },
  { path: '/proc/net/tcp', row: String.raw` *\d+:(?: \S+){2} (\S+)(?: +\S+){5}`, listening: '0A' },
  { path: '/proc/net/tcp6', row: String.raw` *\d+:(?: \S+){2} (\S+)(?: +\S+){5}`, listening: '0A' },
]

/**
 * Distinguishes a listening socket from a connected one. Under mod_cgid a CGI script's stdin is a
 * connected Unix socket, and so are the pipes between Node processes.
 *
 * Node has no getpeername or getsockopt for a bare descriptor, so Linux's tables are read. A socket
 * that is in none of them (another system, or another network namespace, as with systemd's
 * PrivateNetwork=) is taken for a listening one; `listen(2)` then reports an error.
 */
export function describeDescriptor(fd: number): DescriptorKind {
  try {
    if (!fstatSync(fd).isSocket()) return 'not-a-socket'
  } catch {
    return 'closed'
  }
  try {
    const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1]
    for (const { path, row, listening } of inode === undefined ? [] : SOCKET_TABLES) {
      const state = new RegExp(`^${row} +${inode}(?: |$)`, 'm').exec(readTable(path))?.[1]
      if (state !== undefined) return state === listening ? 'listening' : 'connected'
    }
  } catch {
    // No /proc.
  }
  return 'listening'
}

/** A kernel without IPv6 has no tcp6. */
function readTable(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

export interface SystemdSocket {
  readonly fd: number
  /** FileDescriptorName= of the unit; 'unknown' if there is none, as in sd_listen_fds(3). */
  readonly name: string
}

let systemd: readonly SystemdSocket[] = []

/**
 * The sockets that systemd passed to this process: none if LISTEN_PID names another.
 *
 * The first call removes LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES from `process.env`, so that no
 * child process uses them; later calls return the same.
 */
export function systemdSockets(): readonly SystemdSocket[] {
  const { LISTEN_PID, LISTEN_FDS = '', LISTEN_FDNAMES = '' } = process.env
  if (LISTEN_PID === undefined) return systemd
  for (const name of ['LISTEN_PID', 'LISTEN_PIDFDID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) {
    delete process.env[name]
  }
  const count = LISTEN_PID === String(process.pid) && /^\d{1,9}$/.test(LISTEN_FDS) ? +LISTEN_FDS : 0
  const names = LISTEN_FDNAMES.split(':')
  systemd = Array.from({ length: Math.min(count, MAX_SYSTEMD_FDS) }, (_, index) => ({
    fd: FIRST_SYSTEMD_FD + index,
    name: names[index] || 'unknown',
  }))
  return systemd
}

/** The descriptors of systemd's sockets except the first, which `listen: 'systemd'` names. */
export function otherSystemdSockets(): number[] {
  return systemdSockets()
    .slice(1)
    .map(({ fd }) => fd)
}
