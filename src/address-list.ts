/**
 * Which peers may connect: the option `allowedClients`, and FCGI_WEB_SERVER_ADDRS, which a web
 * server sets for a process that it starts (FastCGI 1.0, section 3.2).
 *
 * A FastCGI or SCGI server trusts everything that its peer sends, REMOTE_USER included. So anyone
 * who can connect to an open port can pose as any user. (php-fpm has listen.allowed_clients.)
 */
import { BlockList, isIP } from 'node:net'
import { ConfigurationError } from './errors.ts'

/** The members of `net.Socket` that are used. The peer of a Unix socket has no address. */
export interface Peer {
  readonly remoteAddress?: string | undefined
  readonly remoteFamily?: string | undefined
}

/** Whether the server accepts a connection from this peer. */
export type Admits = (peer: Peer) => boolean

/** Addresses and CIDR blocks: '127.0.0.1, ::1, 10.0.0.0/8', or the same as an array. */
export type ClientList = string | readonly string[]

/**
 * Reads a list of clients. Error messages call the list `option`.
 *
 * A socket for both address families reports an IPv4 peer as ::ffff:192.0.2.1. `BlockList` treats
 * that and 192.0.2.1 as the same address. No list contains a peer without an address: section 3.2
 * allows TCP connections only.
 *
 * @throws ConfigurationError for an empty list, a host name, or a prefix that is too long.
 */
export function allowClients(list: ClientList, option = 'allowedClients'): Admits {
  const allowed = new BlockList()
  const entries = typeof list === 'string' ? list.split(',') : list
  if (entries.length === 0) throw refuse(option, list)
  for (const entry of entries) {
    const [, address = '', prefix] = /^\s*([^/%]*?)(?:\/(\d{1,3}))?\s*$/.exec(entry) ?? []
    const [family, bits] = isIP(address) === 4 ? (['ipv4', 32] as const) : (['ipv6', 128] as const)
    const length = Number(prefix ?? bits)
    if (isIP(address) === 0 || length > bits) throw refuse(option, entry)
    allowed.addSubnet(address, length, family)
  }
  return ({ remoteAddress, remoteFamily }) =>
    remoteAddress !== undefined &&
    allowed.check(remoteAddress, remoteFamily === 'IPv6' ? 'ipv6' : 'ipv4')
}

function refuse(option: string, given: ClientList): ConfigurationError {
  return new ConfigurationError(
    `${option}: ${JSON.stringify(given)} is not an IP address or a CIDR block. ` +
      "Use a list such as '127.0.0.1, ::1, 192.0.2.0/24'",
  )
}

/**
 * The peers that FCGI_WEB_SERVER_ADDRS allows; undefined if it is unset or empty, as in libfcgi.
 * Only FastCGI has this variable.
 */
export function webServerAddresses(): Admits | undefined {
  const { FCGI_WEB_SERVER_ADDRS } = process.env
  return FCGI_WEB_SERVER_ADDRS
    ? allowClients(FCGI_WEB_SERVER_ADDRS, 'FCGI_WEB_SERVER_ADDRS')
    : undefined
}
