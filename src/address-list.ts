/**
 * Which peers may connect: the option `allowedClients`, and FCGI_WEB_SERVER_ADDRS, by which a web
 * server tells the process it starts (FastCGI 1.0, section 3.2).
 *
 * A FastCGI or SCGI peer is believed in all it says, so an open port is open to everybody who can
 * claim to be anyone; php-fpm's listen.allowed_clients is the precedent.
 */
import { BlockList, isIP } from 'node:net'
import { ConfigurationError } from './errors.ts'

/** The part of a `net.Socket` that is looked at; the peer of a Unix socket has no address. */
export interface Peer {
  readonly remoteAddress?: string | undefined
  readonly remoteFamily?: string | undefined
}

/** Whether this peer may be served. Pure, and cheap enough to ask for each connection. */
export type Admits = (peer: Peer) => boolean

/** Addresses and CIDR blocks: '127.0.0.1, ::1, 10.0.0.0/8', or the same as an array. */
export type ClientList = string | readonly string[]

/**
 * Reads a list of clients; `option` is what errors call it.
 *
 * ::ffff:192.0.2.1, which is how a socket for both families shows an IPv4 peer, counts as
 * 192.0.2.1, and the other way round (`BlockList` sees to it). A peer without an address is on no
 * list: section 3.2 closes whatever is not a TCP connection.
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
    `${option}: ${JSON.stringify(given)} is neither an IP address nor a block of them; ` +
      "accepted is a list such as '127.0.0.1, ::1, 192.0.2.0/24'",
  )
}

/**
 * The list that FCGI_WEB_SERVER_ADDRS binds, if it does; an empty value is none, as for libfcgi.
 * Only FastCGI knows the variable.
 */
export function webServerAddresses(): Admits | undefined {
  const { FCGI_WEB_SERVER_ADDRS } = process.env
  return FCGI_WEB_SERVER_ADDRS
    ? allowClients(FCGI_WEB_SERVER_ADDRS, 'FCGI_WEB_SERVER_ADDRS')
    : undefined
}
