/**
 * Sockets that are bound, but neither listen nor accept. A master binds them, and its workers inherit
 * the descriptor, listen and accept.
 *
 * A `net.Server` of the master would accept as well, because libuv polls each listening handle. So
 * this uses the function that node:cluster uses for the same purpose.
 */
import net from 'node:net'
import { getSystemErrorName } from 'node:util'
import { INTERNALS_ALLOWED } from './allowed.ts'

/** A bound socket. It does not keep the process alive. */
export interface BoundHandle {
  readonly fd: number
  close(): void
}

interface NativeHandle extends BoundHandle {
  getsockname?(out: { address?: string; port?: number }): number
}

type CreateHandle = (address: string, port: number, family: 4 | 6 | -1) => NativeHandle | number

const create = (net as { _createServerHandle?: CreateHandle })._createServerHandle

/** Whether this runtime can bind without listening. */
export const CAN_BIND: boolean = INTERNALS_ALLOWED && typeof create === 'function'

/** @throws {Error} with the system's `code`, such as EADDRINUSE. */
export function bindPath(path: string): BoundHandle {
  return made(create!(path, -1, -1))
}

/** @throws {Error} with the system's `code`, such as EADDRINUSE. */
export function bindPort(
  host: string,
  port: number,
  family: 4 | 6,
): { readonly handle: BoundHandle; readonly host: string; readonly port: number } {
  const handle = made(create!(host, port, family))
  const bound: { address?: string; port?: number } = {}
  // libuv reports an address in use only at a later call (`delayed_error`).
  const error = handle.getsockname!(bound)
  if (error !== 0) {
    handle.close()
    throw systemError(error)
  }
  return { handle, host: bound.address!, port: bound.port! }
}

function made(handle: NativeHandle | number): NativeHandle {
  if (typeof handle === 'number') throw systemError(handle)
  return handle
}

function systemError(number: number): Error {
  const code = getSystemErrorName(number)
  return Object.assign(new Error(`bind ${code}`), { code })
}
