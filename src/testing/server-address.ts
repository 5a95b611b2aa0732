/** Addresses of servers, as clients take them. */
import { ConfigurationError } from '../errors.ts'

/** The address of a server: TCP (`host` defaults to 127.0.0.1) or a Unix socket. */
export type ServerAddress = { host?: string; port: number } | { path: string }

/** What clients connect to. `server.address` can also be a file descriptor, which is refused. */
export type ConnectTarget =
  | { readonly host?: string; readonly port: number }
  | { readonly path: string }
  | { readonly fd: number }
  | string

/**
 * Reads an address, which may be a string as in the option `listen`: 'HOST:PORT' or 'unix:PATH'.
 *
 * @throws {ConfigurationError} for any other string, and for a file descriptor.
 */
export function parseAddress(
  address: ConnectTarget,
): { host: string; port: number } | { path: string } {
  if (typeof address === 'object') {
    if ('fd' in address) {
      throw new ConfigurationError(
        `A client cannot connect to file descriptor ${address.fd}; give the address that it is bound to`,
      )
    }
    return 'path' in address ? address : { host: address.host ?? '127.0.0.1', port: address.port }
  }
  const [, path, bracketed, host, port] =
    /^(?:unix:(.+)|(?:\[([^[\]]+)\]|([^\s:/[\]]*)):(\d{1,5}))$/s.exec(address) ?? []
  if (path !== undefined) return { path }
  if (port !== undefined) return { host: bracketed ?? (host || '127.0.0.1'), port: Number(port) }
  throw new ConfigurationError(
    `${JSON.stringify(address)} is not an address; expected 'unix:PATH' or 'HOST:PORT'`,
  )
}
