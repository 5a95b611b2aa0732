/** Binds the sockets of a master, which neither listens on them nor accepts. */
import { isIPv6 } from 'node:net'
import { checkOptions } from '../options/check.ts'
import { ConfigurationError } from '../errors.ts'
import { GATEWAYS } from '../gateways.ts'
import { bindPath, bindPort, CAN_BIND, type BoundHandle } from '../node-internals/bound-handle.ts'
import { RUNTIME } from '../runtime.ts'
import { systemdSockets } from '../server/inherited-sockets.ts'
import {
  checkDescriptor,
  listenError,
  parseListen,
  resolveHost,
  systemdDescriptors,
} from '../server/listen.ts'
import { claimPath, describeRights } from '../server/unix-socket.ts'
import type { ListenerSettings } from './settings.ts'

/** A socket that the workers inherit. */
export interface BoundSocket {
  readonly fd: number
  readonly settings: ListenerSettings
  /** Where clients connect: 'unix:PATH', 'HOST:PORT', 'http://HOST:PORT/' or 'fd:N'. */
  readonly url: string
  /** Whether another process has opened it and keeps it open when this one ends. */
  readonly inherited: boolean
  /** The address of a TCP socket that this process has bound. */
  readonly address?: { readonly host: string; readonly port: number }
  /**
   * Makes it reachable. Earlier, clients would be refused, because no worker listens yet. Returns a
   * description for the log.
   */
  publish(): string
  /** Removes its path, so that no further client finds it. The descriptor stays open. */
  withdraw(): void
  /** Closes the descriptor of this process. */
  close(): void
}

/**
 * Binds all addresses, or none.
 *
 * @throws {ConfigurationError} for options that cannot work, and for an address in use.
 */
export async function bindAll(listeners: readonly ListenerSettings[]): Promise<BoundSocket[]> {
  if (listeners.length === 0) throw new ConfigurationError('listen: no address is given')
  const bound: BoundSocket[] = []
  try {
    for (const settings of listeners) bound.push(...(await bindOne(settings)))
    refuseSharedPorts(bound)
  } catch (error) {
    for (const socket of bound) socket.close()
    throw error
  }
  return bound
}

/**
 * Refuses two sockets for the same connections. The system does that only when the second one
 * listens, which is in a worker.
 *
 * @throws {ConfigurationError} that names both.
 */
export function refuseSharedPorts(sockets: readonly BoundSocket[]): void {
  for (const [index, { address: own, settings }] of sockets.entries()) {
    const other = sockets.slice(0, index).find(({ address }) => overlap(address, own))
    if (other === undefined) continue
    throw new ConfigurationError(
      `listen: '${other.settings.listen}' and '${settings.listen}' are the same port. ` +
        'Give each gateway a port of its own',
    )
  }
}

export function overlap(a: BoundSocket['address'], b: BoundSocket['address']): boolean {
  if (a === undefined || b === undefined || a.port !== b.port) return false
  // '::' takes connections of IPv4 as well.
  if (a.host === b.host || a.host === '::' || b.host === '::') return true
  return isIPv6(a.host) === isIPv6(b.host) && (a.host === '0.0.0.0' || b.host === '0.0.0.0')
}

async function bindOne(settings: ListenerSettings): Promise<BoundSocket[]> {
  const { gateway, listen, options = {} } = settings
  checkOptions(gateway, { ...options, listen })
  const target = parseListen(listen)
  if (target.kind === 'systemd' || target.kind === 'fd') {
    return descriptorsOf(settings).map((fd) => inheritedSocket(fd, settings))
  }
  if (!CAN_BIND) {
    throw new ConfigurationError(
      `listen: '${listen}': ${RUNTIME === 'node' ? 'with PORTICO_NO_INTERNALS Node' : 'this runtime'} ` +
        "cannot bind a socket for other processes. Let systemd open the socket (listen: 'systemd'), or " +
        'end the application with run() and start it without workers',
    )
  }
  try {
    if (target.kind === 'unix') {
      refuseAllowedClients(options)
      return [await unixSocket(target.path, settings)]
    }
    const wildcard =
      GATEWAYS[gateway].trustsPeers && options.allowedClients === undefined ? 'refuse' : 'allow'
    const host = await resolveHost(target.host, { fallback: listen, wildcard })
    return [tcpSocket(host, target.port, settings)]
  } catch (error) {
    throw listenError(error, listen, target)
  }
}

function refuseAllowedClients({ allowedClients }: NonNullable<ListenerSettings['options']>): void {
  if (allowedClients === undefined) return
  throw new ConfigurationError(
    'allowedClients: the peers of a Unix socket have no address; mode, owner and group decide ' +
      'who may connect',
  )
}

async function unixSocket(path: string, settings: ListenerSettings): Promise<BoundSocket> {
  let handle: BoundHandle | undefined
  const publish = await claimPath(path, settings.options ?? {}, async (temporary) => {
    handle = bindPath(temporary)
  })
  let remove: (() => void) | undefined
  const withdraw = (): void => {
    remove?.()
    remove = undefined
  }
  return {
    fd: handle!.fd,
    settings,
    url: `unix:${path}`,
    inherited: false,
    publish: () => {
      remove = publish()
      return `unix:${path} (${describeRights(path)})`
    },
    withdraw,
    close: () => {
      withdraw()
      handle!.close()
    },
  }
}

function tcpSocket(
  host: string | undefined,
  port: number,
  settings: ListenerSettings,
): BoundSocket {
  const bound = host === undefined ? everywhere(port) : bindPort(host, port, isIPv6(host) ? 6 : 4)
  const address = `${isIPv6(bound.host) ? `[${bound.host}]` : bound.host}:${bound.port}`
  const url = settings.gateway === 'http' ? `http://${address}/` : address
  return {
    fd: bound.handle.fd,
    settings,
    url,
    inherited: false,
    address: { host: bound.host, port: bound.port },
    publish: () => url,
    withdraw: () => {},
    close: () => bound.handle.close(),
  }
}

/** IPv6 and IPv4, or IPv4 only if there is no IPv6, as `server.listen` without a host. */
function everywhere(port: number): ReturnType<typeof bindPort> {
  try {
    return bindPort('::', port, 6)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL' && code !== 'EINVAL') throw error
    return bindPort('0.0.0.0', port, 4)
  }
}

function descriptorsOf({ listen }: ListenerSettings): number[] {
  const sockets = systemdSockets()
  const target = parseListen(listen)
  if (target.kind === 'fd') {
    checkDescriptor(target.fd, listen)
    return [target.fd]
  }
  const name = target.kind === 'systemd' ? target.name : undefined
  return systemdDescriptors(sockets, name)
}

function inheritedSocket(fd: number, settings: ListenerSettings): BoundSocket {
  return {
    fd,
    settings,
    url: `fd:${fd}`,
    inherited: true,
    publish: () => `fd:${fd}`,
    withdraw: () => {},
    close: () => {},
  }
}
