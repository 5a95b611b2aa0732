/**
 * Accepted sockets that read into shared memory.
 *
 * Node allocates 64 KiB for every read, which costs a fifth of a small request. The option `onread`
 * avoids that, but Node supports it only for sockets that connect. So Portico takes over a connection
 * before Node creates a socket for it.
 */
import { Buffer } from 'node:buffer'
import { Socket, type Server, type SocketConstructorOpts } from 'node:net'
import { INTERNALS_ALLOWED } from './allowed.ts'

/** Receives the bytes of a connection. */
export interface Receiver {
  /**
   * Takes the first `size` bytes of `memory`. There is no Buffer of exactly these bytes, because
   * creating one costs a small request more than parsing its end.
   *
   * @param borrowed whether `memory` is reused after this call returns.
   */
  receive(memory: Buffer, size: number, borrowed: boolean): void
  /** The peer has ended its half. */
  receiveEof(): void
  /** Whether the next bytes are probably a body that will be kept in the memory that it is read into. */
  readonly keepsBody: boolean
}

/** As many bytes as Node reads at once. */
const READ_SIZE = 65_536

/** All connections read into this memory, unless they keep a body. */
const SHARED = Buffer.allocUnsafeSlow(READ_SIZE)

/** Smaller reads are copied, so that a few bytes do not keep all of this memory alive. */
const LEND_FROM = READ_SIZE / 2

interface ServerInternals {
  _handle?: { onconnection?: Accept } | null
  _connections?: number
}

type Accept = (this: unknown, status: number, client: object | undefined) => void

/**
 * Takes over the connections that a listening server accepts from now on. It calls `connect` for each
 * and passes the bytes to the receiver that `connect` returns, if any. Returns false if that is not
 * possible: the server then emits 'connection' as usual.
 */
export function takeConnections(
  server: Server,
  options: SocketConstructorOpts,
  connect: (socket: Socket) => Receiver | undefined,
): boolean {
  if (!INTERNALS_ALLOWED) return false
  const internals = server as ServerInternals
  const handle = internals._handle
  const accept = handle?.onconnection
  if (!handle || typeof accept !== 'function' || internals._connections === undefined) return false
  handle.onconnection = function (status, client) {
    const full = internals._connections! >= server.maxConnections
    // Node handles errors and its own limit.
    if (status !== 0 || client === undefined || full) return accept.call(this, status, client)
    const reading = new Reading()
    const socket = new Socket({
      ...options,
      handle: client,
      onread: reading,
    } as SocketConstructorOpts)
    internals._connections! += 1
    ;(socket as unknown as { _server: Server })._server = server
    reading.socket = socket
    reading.receiver = connect(socket)
  }
  return true
}

/** The option `onread` of one socket. */
class Reading {
  socket: Socket | undefined
  receiver: Receiver | undefined
  #current: Buffer | null = null
  #lent = false

  /** Node calls this before the first read and after each one. Undefined means the same memory again. */
  readonly buffer = (): Buffer | undefined => {
    const body = this.receiver !== undefined && this.receiver.keepsBody
    const fits = body ? this.#current !== SHARED && !this.#lent : this.#current === SHARED
    if (fits) return undefined
    this.#lent = false
    this.#current = body ? Buffer.allocUnsafeSlow(READ_SIZE) : SHARED
    return this.#current
  }

  readonly callback = (size: number, buffer: Buffer): boolean => {
    this.#lent = buffer !== SHARED && size >= LEND_FROM
    try {
      this.receiver?.receive(buffer, size, !this.#lent)
    } catch (error) {
      // The receiver has not consumed everything, and would later read another connection's bytes.
      this.socket?.destroy()
      throw error
    }
    return true
  }
}
