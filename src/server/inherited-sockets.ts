/**
 * Sockets that this process has inherited: descriptor 0 from spawn-fcgi, mod_fcgid and lighttpd
 * (FastCGI 1.0, section 2.2), and those of systemd (`sd_listen_fds(3)`).
 *
 * This file is synchronous and loads only `node:fs`, because `run` uses it even under CGI.
 */
import { fstatSync, readFileSync, readlinkSync } from 'node:fs'

/**
 * The kinds of descriptors that a server distinguishes. Only 'listening' accepts connections; a
 * 'bound' one does once a process listens on it.
 */
export type DescriptorKind = 'listening' | 'bound' | 'connected' | 'not-a-socket' | 'closed'

/** The first descriptor that systemd passes: SD_LISTEN_FDS_START. */
const FIRST_SYSTEMD_FD = 3

/** More than any unit has. An invalid LISTEN_FDS must not become a long list. */
const MAX_SYSTEMD_FDS = 1024

/**
 * The kernel's tables of sockets. A listening Unix socket has the flag __SO_ACCEPTCON there, a
 * listening TCP socket the state TCP_LISTEN. A Unix socket of type SOCK_STREAM (0001) in the state
 * SS_UNCONNECTED (01) is bound, or unused; a bound TCP socket is in no table.
 */
const SOCKET_TABLES = [
  {
    path: '/proc/net/unix',
    row: String.raw`\S+: \S+ \S+ (\S+ \S+ \S+)`,
    listening: '00010000 0001 01',
    bound: '00000000 0001 01',
  },
  { path: '/proc/net/tcp', row: String.raw` *\d+:(?: \S+){2} (\S+)(?: +\S+){5}`, listening: '0A' },
  { path: '/proc/net/tcp6', row: String.raw` *\d+:(?: \S+){2} (\S+)(?: +\S+){5}`, listening: '0A' },
]

/**
 * Distinguishes a listening socket from a connected one. Under mod_cgid a CGI script's stdin is a
 * connected Unix socket, and so are the pipes between Node processes.
 *
 * Node has no getpeername or getsockopt for a bare descriptor, so this reads Linux's tables. Other
 * systems have none, and a socket of another network namespace (systemd's PrivateNetwork=) is not in
 * them. Such a socket counts as listening; if it is not, `listen(2)` reports an error.
 */
export function describeDescriptor(fd: number): DescriptorKind {
  try {
    if (!fstatSync(fd).isSocket()) return 'not-a-socket'
  } catch {
    return 'closed'
  }
  try {
    const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1]
    for (const { path, row, listening, bound } of inode === undefined ? [] : SOCKET_TABLES) {
      const state = new RegExp(`^${row} +${inode}(?: |$)`, 'm').exec(readTable(path))?.[1]
      if (state === listening) return 'listening'
      if (state !== undefined) return state === bound ? 'bound' : 'connected'
    }
  } catch {
    // This system has no /proc.
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
  /** FileDescriptorName= of the unit; 'unknown' if it is not set, as in sd_listen_fds(3). */
  readonly name: string
}

let systemd: readonly SystemdSocket[] = []

/**
 * The sockets that systemd passed to this process. If LISTEN_PID names another process, the list is
 * empty.
 *
 * The first call removes LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES from `process.env`, so that no
 * child process uses them. Later calls return the same list.
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
