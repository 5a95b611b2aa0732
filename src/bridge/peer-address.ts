/** The addresses of the client and the server as properties of a socket. */
import { isIP } from 'node:net'
import type { Environ } from '../types.ts'

/**
 * The IP address in a variable; else undefined, as in node:http. For a Unix socket, REMOTE_ADDR of
 * nginx is 'unix:'.
 */
export function addressOf(value: string | undefined): string | undefined {
  return value !== undefined && isIP(value) > 0 ? value : undefined
}

/** 'IPv4' or 'IPv6'; undefined without an address, as over a Unix socket. */
export function familyOf(address: string | undefined): 'IPv4' | 'IPv6' | undefined {
  if (!address) return
  return address.includes(':') ? 'IPv6' : 'IPv4'
}

export function portOf(port: string | undefined): number | undefined {
  return port === undefined || !/^\d{1,5}$/.test(port) ? undefined : Number(port)
}

/**
 * What @hono/node-server gives a handler as `c.env.incoming`, reduced to what its `getConnInfo()`
 * reads: the address of the client.
 */
export class Incoming {
  readonly #environ: Environ

  constructor(environ: Environ) {
    this.#environ = environ
  }

  get socket(): {
    readonly remoteAddress: string | undefined
    readonly remotePort: number | undefined
    readonly remoteFamily: 'IPv4' | 'IPv6' | undefined
  } {
    const remoteAddress = addressOf(this.#environ['REMOTE_ADDR'])
    const remotePort = portOf(this.#environ['REMOTE_PORT'])
    return { remoteAddress, remotePort, remoteFamily: familyOf(remoteAddress) }
  }
}
