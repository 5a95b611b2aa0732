/** Where a server listens: the option `listen` of FastCGI, SCGI and HTTP. */
import cluster from 'node:cluster'
import { BlockList, isIP, isIPv6 } from 'node:net'
import type { Server } from 'node:net'
import { dirname } from 'node:path'
import { ConfigurationError, PorticoError } from '../errors.ts'
import type { Options } from '../options/options.ts'
import { OPTIONS } from '../options/table.ts'
import { describeDescriptor, systemdSockets, type SystemdSocket } from './inherited-sockets.ts'
import { bindInWorker, bindSocketFile } from './unix-socket.ts'
import type { SocketFileOptions } from './unix-socket.ts'

/** Where a server can be reached. */
export type Address =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'fd'; readonly fd: number }

/** A parsed `listen` option. Host '*' is every address of the machine. */
export type ListenTarget = Address | { readonly kind: 'systemd'; readonly name: string | undefined }

export type ListenOptions = SocketFileOptions & Pick<Options, 'listen' | 'backlog'>

/** The parts of listening that depend on the gateway. */
export interface ListenPolicy {
  /** The default of `listen`. */
  readonly fallback: string | number
  /**
   * Whether the server may listen on every address of the machine. FastCGI and SCGI trust everything
   * that a peer sends, REMOTE_USER included, so they require `allowedClients` for it. Inherited
   * sockets are not checked: the process that opened them has chosen their addresses.
   */
  readonly wildcard: 'allow' | 'refuse'
}

/** sun_path holds 108 bytes on Linux, 104 on the BSDs, with the NUL and the suffix '.PID'. */
const MAX_SOCKET_PATH = (process.platform === 'linux' ? 107 : 103) - `.${process.pid}`.length

const ACCEPTED =
  "accepted are 'unix:PATH', 'HOST:PORT', '[::1]:PORT', ':PORT', a port number, 'fd:N', " +
  "'systemd' and 'systemd:NAME'"

/** What the system's error codes mean for an address. */
const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EADDRINUSE: 'in use by another process',
  EADDRNOTAVAIL: 'not an address of this machine',
  EEXIST: 'in use by another process',
  EINVAL: 'not an address that a server can listen on',
  ENOENT: 'no such directory',
  ENOTDIR: 'no such directory',
  ENOTFOUND: 'no such host',
  EPERM: 'permission denied',
  EROFS: 'on a read-only file system',
}

/** What to do about an error code of the system. */
const STEPS: Readonly<Record<'tcp' | 'unix', Readonly<Record<string, string>>>> = {
  tcp: {
    EADDRINUSE: 'Stop that process, or choose another port',
    EADDRNOTAVAIL: 'Choose one that it has, such as 127.0.0.1',
    ENOTFOUND: 'Choose an address, such as 127.0.0.1',
  },
  unix: {
    EACCES:
      'This user may not create files in DIRECTORY: choose another directory, or change its owner',
    EADDRINUSE: 'Stop that process, or choose another path',
    EEXIST: 'Stop that process, or choose another path',
    ENOENT: 'Create the directory: mkdir -p DIRECTORY',
    ENOTDIR: 'DIRECTORY is not a directory, or is below a file: choose another path',
    EPERM:
      'This user may not create files in DIRECTORY: choose another directory, or change its owner',
    EROFS: 'Choose a directory that can be written to, such as one below /run',
  },
}

/** A port below it is for root. */
const FIRST_UNPRIVILEGED_PORT = 1024

function nextStep(code: string, target: ListenTarget): string {
  if (target.kind === 'unix') {
    const step = STEPS.unix[code]
    return step === undefined ? '' : `. ${step.replace('DIRECTORY', () => dirname(target.path))}`
  }
  if (target.kind !== 'tcp') return ''
  if (code === 'EACCES' && target.port < FIRST_UNPRIVILEGED_PORT) {
    return '. A port below 1024 needs root or CAP_NET_BIND_SERVICE: choose a higher one, such as 8080'
  }
  const step = STEPS.tcp[code]
  return step === undefined ? '' : `. ${step}`
}

/**
 * Parses the `listen` option.
 *
 * @throws {ConfigurationError} if it has another format.
 */
export function parseListen(given: string | number): ListenTarget {
  const text = String(given)
  const refuse = (why: string) =>
    new ConfigurationError(`listen: ${JSON.stringify(given)} ${why}; ${ACCEPTED}`)

  if (text.startsWith('unix:')) {
    const path = text.slice(5)
    if (path === '' || path.includes('\0')) throw refuse('names no file')
    if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
      throw new ConfigurationError(
        `listen: ${JSON.stringify(given)} is longer than ${MAX_SOCKET_PATH} bytes, the limit of this ` +
          'system for socket paths. Choose a shorter path, such as one in /run',
      )
    }
    return { kind: 'unix', path }
  }
  const systemd = /^systemd(?::(.+))?$/.exec(text)
  if (systemd) return { kind: 'systemd', name: systemd[1] }
  const fd = /^fd:(\d{1,9})$/.exec(text)
  if (fd) return { kind: 'fd', fd: Number(fd[1]) }

  const [, bracketed, name, digits] =
    /^(?:(?:\[([^[\]]*)\]|([^\s:/[\]]*)):)?(\d{1,5})$/.exec(text) ?? []
  if (digits === undefined) throw refuse(text.includes('/') ? "lacks 'unix:'" : 'is not an address')
  if (Number(digits) > 65_535) throw refuse('has a port above 65535')
  if (bracketed !== undefined && !isIPv6(bracketed)) throw refuse('has no IPv6 address in [ ]')
  return { kind: 'tcp', host: bracketed ?? (name || '127.0.0.1'), port: Number(digits) }
}

/**
 * Makes `server` listen as the options say; resolves to its address.
 *
 * It replaces a Unix socket that a dead process has left, and removes the socket file when `server`
 * has closed. In a cluster worker the primary process opens the socket; for a systemd socket, the
 * primary has to pass 'fd:N' to its workers.
 *
 * @throws {ConfigurationError} for options that cannot work, with the system's error as `cause`.
 */
export async function listen(
  server: Server,
  options: ListenOptions,
  policy: ListenPolicy,
): Promise<Address> {
  const target = parseListen(options.listen ?? policy.fallback)
  if (target.kind !== 'unix') refuseRights(target, options)
  const { backlog = OPTIONS.backlog.default } = options
  try {
    return await start(server, target, { ...options, backlog }, policy)
  } catch (error) {
    if (server.listening) server.close()
    throw listenError(error, options.listen ?? policy.fallback, target)
  }
}

/** The error of an address on which the system does not let this process listen. */
export function listenError(
  error: unknown,
  listenOn: string | number,
  target: ListenTarget,
): unknown {
  if (error instanceof PorticoError || !(error instanceof Error)) return error
  const code = 'code' in error ? String(error.code) : ''
  const reason = REASONS[code] ?? error.message
  return new ConfigurationError(
    `listen: '${listenOn}': ${reason} (${code})${nextStep(code, target)}`,
    { cause: error },
  )
}

/** Rights that nothing would apply must not look as if they did. */
function refuseRights({ kind }: ListenTarget, options: ListenOptions): void {
  const name = (['mode', 'owner', 'group'] as const).find((each) => options[each] !== undefined)
  if (name === undefined) return
  const why =
    kind === 'tcp'
      ? 'allowedClients decides who may connect over TCP'
      : 'the process that opened an inherited socket has set its permissions'
  throw new ConfigurationError(`${name} is for listen: 'unix:PATH'; ${why}`)
}

async function start(
  server: Server,
  target: ListenTarget,
  options: ListenOptions & { readonly backlog: number },
  policy: ListenPolicy,
): Promise<Address> {
  const { backlog } = options
  if (target.kind === 'unix') {
    const bind = (path: string) => bound(server, { path, backlog })
    if (cluster.isWorker) await bindInWorker(target.path, options, bind)
    else await bindSocketFile(server, target.path, options, bind)
    return target
  }
  if (target.kind === 'tcp') {
    const host = await resolveHost(target.host, policy)
    await bound(server, { host, port: target.port, backlog })
    return tcpAddress(server)
  }
  // Called for its side effect, too: it removes LISTEN_PID and LISTEN_FDS from the environment.
  const sockets = systemdSockets()
  const fd = target.kind === 'fd' ? target.fd : systemdDescriptors(sockets, target.name)[0]!
  if (!cluster.isWorker) checkDescriptor(fd, options.listen)
  await bound(server, { fd, backlog })
  return { kind: 'fd', fd }
}

/** The argument of `server.listen`, whose types lack `fd`. */
type Where = { readonly backlog: number } & (
  | { readonly path: string }
  | { readonly host: string | undefined; readonly port: number }
  | { readonly fd: number }
)

/** Calls `server.listen` synchronously; settles when Node reports 'listening' or an error. */
function bound(server: Server, where: Where): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(where, () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
}

/** Whether it is every address of the machine. The list is made on demand: few servers need it. */
function isWildcard(address: string): boolean {
  const wildcards = new BlockList()
  wildcards.addAddress('0.0.0.0')
  wildcards.addAddress('::', 'ipv6')
  return wildcards.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

async function addressOf(name: string): Promise<string> {
  // Loaded on demand: a quarter of a megabyte that few servers need.
  const { address } = await process.getBuiltinModule('node:dns/promises').lookup(name)
  return address
}

/** Resolves the name before the check: '0', '0x0' and names in a hosts file may be wildcards. */
export async function resolveHost(host: string, policy: ListenPolicy): Promise<string | undefined> {
  const everywhere = host === '*'
  const address = everywhere || isIP(host) ? host : await addressOf(host)
  if (policy.wildcard === 'refuse' && (everywhere || isWildcard(address))) {
    throw new ConfigurationError(
      `listen: '${host}' is every address of this machine, and anyone who can connect is trusted ` +
        'like the web server. Name one address, or set allowedClients as well',
    )
  }
  // Without a host Node listens on IPv6 and IPv4, or on IPv4 only if there is no IPv6.
  return everywhere ? undefined : address
}

function tcpAddress(server: Server): Address {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('not a TCP socket')
  return { kind: 'tcp', host: address.address, port: address.port }
}

/** The descriptors of `listen: 'systemd'` or 'systemd:NAME' after the first, on which `listen` listens. */
export function otherSystemdSockets(listenOn: string | number): number[] {
  const target = parseListen(listenOn)
  if (target.kind !== 'systemd') return []
  return systemdDescriptors(systemdSockets(), target.name).slice(1)
}

/**
 * The descriptors of all sockets, or of those called `name`: the sockets of one unit share a name.
 *
 * @throws {ConfigurationError} if no socket matches.
 */
export function systemdDescriptors(
  sockets: readonly SystemdSocket[],
  name: string | undefined,
): number[] {
  const chosen = sockets.filter((each) => name === undefined || each.name === name)
  if (chosen.length > 0) return chosen.map(({ fd }) => fd)
  throw new ConfigurationError(
    sockets.length === 0
      ? "listen: 'systemd': no socket was passed to this process (LISTEN_PID, LISTEN_FDS)"
      : `listen: 'systemd:${name}': the sockets passed are called ` +
          sockets.map((each) => `'${each.name}'`).join(', '),
  )
}

export function checkDescriptor(fd: number, given: string | number | undefined): void {
  const kind = describeDescriptor(fd)
  if (kind === 'listening' || kind === 'bound') return
  const what = {
    closed: 'not open',
    connected: 'a connected socket',
    'not-a-socket': 'not a socket',
  }
  throw new ConfigurationError(
    `Cannot listen: file descriptor ${fd} is ${what[kind]}. ` +
      (given === undefined
        ? "Start this program from a web server or spawn-fcgi, or set listen to 'unix:PATH' or ':PORT'"
        : 'The program that starts this process has to open a listening socket there'),
  )
}
