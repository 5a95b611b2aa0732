/**
 * Connections that move to another process. The handle is sent over IPC, which duplicates the
 * descriptor, and the other server handles it like an accepted connection.
 */
import { Server, type Socket } from 'node:net'
import { INTERNALS_ALLOWED } from './allowed.ts'

/** A handle of libuv, which `process.send` takes. */
export interface SocketHandle {
  readStop(): number
  close(): void
}

/**
 * Stops reading from `socket` and returns its handle; null if that is not possible. Bytes that the
 * peer sends from now on stay in the kernel. The caller destroys the socket when the handle was sent.
 */
export function detach(socket: Socket): SocketHandle | null {
  if (!INTERNALS_ALLOWED) return null
  const { _handle: handle } = socket as { _handle?: SocketHandle | null }
  if (!handle || typeof handle.readStop !== 'function') return null
  // Node's HTTP server would otherwise destroy it after its keepAliveTimeout.
  socket.setTimeout(0)
  return handle.readStop() === 0 ? handle : null
}

/** Makes `server` accept a connection of another process. Returns false if it no longer listens. */
export function adopt(server: Server, handle: SocketHandle): boolean {
  interface Internals {
    _handle?: { onconnection?(status: number, client: SocketHandle): void } | null
  }
  const { _handle: listening } = server as Internals
  if (!listening?.onconnection) return false
  listening.onconnection(0, handle)
  return true
}

/**
 * Stops listening without closing any connection. `close()` of an HTTP server would close the idle
 * ones as well.
 */
export function stopListening(server: Server): void {
  Server.prototype.close.call(server)
}
