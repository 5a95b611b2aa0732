/**
 * Accepted sockets that read into shared memory.
 *
 * Node allocates 64 KiB for every read, which costs a fifth of a small request. The option `onread`
 * avoids that, but Node has it only for sockets that connect. So a connection is taken over before
 * Node makes a socket of it.
 */
import { Buffer } from 'node:buffer'
import { Socket, type Server, type SocketConstructorOpts } from 'node:net'
import { INTERNALS_ALLOWED } from './allowed.ts'

/** Receives the bytes of a connection. */
export interface Receiver {
  /**
   * Takes the first `size` bytes of `memory`, without a view of them, which would cost a small
   * request more than finding out where it ends.
   *
   * @param borrowed true if `memory` is used again once this returns.
   */
  receive(memory: Buffer, size: number, borrowed: boolean): void
  /** The peer has ended its half. */
  receiveEof(): void
  /** Whether most of what comes next will be kept: a body. */
  readonly receivesBody: boolean
}

/** All connections read into this memory, except for bodies. It holds several heads. */
const SHARED = Buffer.allocUnsafeSlow(16_384)

/** The memory for a chunk of a body: as much as Node reads at once. */
const BODY_SIZE = 65_536

/** Smaller reads are copied, so that a few bytes do not pin all of this memory. */
const LEND_FROM = BODY_SIZE / 2

interface ServerInternals {
  _handle?: { onconnection?: Accept } | null
  _connections?: number
}

type Accept = (this: unknown, status: number, client: object | undefined) => void

/**
 * Takes over the connections that a listening server accepts from now on: `connect` is called for
 * each, and its bytes go to the receiver that it returns, if any. Returns false if that is not
 * possible; then the server emits 'connection' as usual.
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

  /** Node calls it before the first read and after each. Undefined means the same memory again. */
  readonly buffer = (): Buffer | undefined => {
    const body = this.receiver !== undefined && this.receiver.receivesBody
    const fits = body ? this.#current !== SHARED && !this.#lent : this.#current === SHARED
    if (fits) return undefined
    this.#lent = false
    this.#current = body ? Buffer.allocUnsafeSlow(BODY_SIZE) : SHARED
    return this.#current
  }

  readonly callback = (size: number, buffer: Buffer): boolean => {
    this.#lent = buffer !== SHARED && size >= LEND_FROM
    try {
      this.receiver?.receive(buffer, size, !this.#lent)
    } catch (error) {
      // The receiver would later read the rest from this memory, which then has another's bytes.
      this.socket?.destroy()
      throw error
    }
    return true
  }
}
