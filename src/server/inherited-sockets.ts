/**
 * Sockets that whoever started this process opened for it: fd 0 as spawn-fcgi, mod_fcgid and
 * lighttpd hand it over (FastCGI 1.0, section 2.2), and systemd's (`sd_listen_fds(3)`).
 *
 * Synchronous, and loads `node:fs` only: it is asked before it is known which gateway will run.
 */
import { fstatSync, readFileSync, readlinkSync } from 'node:fs'

/** What a descriptor is, as far as it matters to somebody who wants to accept on it. */
export type DescriptorKind = 'listening' | 'connected' | 'not-a-socket' | 'closed'

/** The first descriptor systemd passes: SD_LISTEN_FDS_START. */
const FIRST_SYSTEMD_FD = 3

/** More than any unit has; keeps a nonsensical LISTEN_FDS from becoming a long list. */
const MAX_SYSTEMD_FDS = 1024

/**
 * The kernel's tables of sockets, and how a row says which state the socket is in: a Unix socket
 * by the flag __SO_ACCEPTCON, a TCP socket by TCP_LISTEN.
 */
const SOCKET_TABLES = [
  { path: '/proc/net/unix', row: String.raw`\S+: \S+ \S+ (\S+) \S+ \S+`, listening: '00010000' },
  { path: '/proc/net/tcp', row: String.raw` *\d+:(?: \S+){2} (\S+)(?: +\S+){5}`, listening: '0A' },
  { path: '/proc/net/tcp6', row: String.raw` *\d+:(?: \S+){2} (\S+)(?: +\S+){5}`, listening: '0A' },
]

/**
 * Tells a listening socket from a connected one.
 *
 * That the descriptor is a socket is not enough: under mod_cgid a CGI script's stdin is a
 * connected Unix socket, and so are the pipes between Node processes. Node has no getpeername or
 * getsockopt for a bare descriptor, so Linux's tables are read. A socket found in none of them
 * (another system, or a socket from another network namespace, as systemd's PrivateNetwork= makes
 * it) is taken for a listening one; `listen(2)` has the last word.
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
  /** FileDescriptorName= of the unit; 'unknown' if systemd gave none, as sd_listen_fds says. */
  readonly name: string
}

let systemd: readonly SystemdSocket[] = []

/**
 * The sockets systemd passed to this very process: none when LISTEN_PID names another.
 *
 * The first call takes LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES out of `process.env`, so that no
 * child takes them for its own; later calls answer the same.
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
