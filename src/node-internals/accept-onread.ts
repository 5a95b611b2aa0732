/**
 * Sockets that read without a buffer for each read, from the side of a server that accepts them.
 *
 * Node gives every read 64 KiB of its own, and their coming and going costs a fifth of a small
 * request. `onread` saves that, but Node has it only for sockets that connect. So a connection is
 * taken over before Node makes a socket of it. That rests on what Node does not document (a
 * server's handle and its `onconnection`, the option `handle`; the same from Node 20 to 26): where
 * it is missing everything works as before, only slower.
 */
import { Buffer } from 'node:buffer'
import { Socket, type Server, type SocketConstructorOpts } from 'node:net'

/** What takes the bytes of a connection. */
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

/** Everything but bodies is read into this one. The heads that web servers send fit several times. */
const SHARED = Buffer.allocUnsafeSlow(16_384)

/** What a body is read into: as much as Node reads at once. */
const BODY_SIZE = 65_536

/** Fewer bytes of a body are copied: they would keep all of the buffer that they came in. */
const LEND_FROM = BODY_SIZE / 2

/** What Node has and does not document. */
interface ServerInternals {
  _handle?: { onconnection?: Accept } | null
  _connections?: number
}

type Accept = (this: unknown, status: number, client: object | undefined) => void

/**
 * Takes over the connections that `server`, which listens, accepts from now on: `connect` is called
 * for each, and its bytes go to what that returns; nothing if the connection is not wanted. Returns
 * false if this Node cannot do it.
 */
export function takeConnections(
  server: Server,
  options: SocketConstructorOpts,
  connect: (socket: Socket) => Receiver | undefined,
): boolean {
  const internals = server as ServerInternals
  const handle = internals._handle
  const accept = handle?.onconnection
  if (!handle || typeof accept !== 'function' || internals._connections === undefined) return false
  handle.onconnection = function (status, client) {
    const full = internals._connections! >= server.maxConnections
    // Node deals with what is out of the ordinary.
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

  /** Node asks before the first read and after each: the next buffer, or nothing for the same. */
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
      // What it has not dealt with it would take from this memory later: by then another's bytes.
      this.socket?.destroy()
      throw error
    }
    return true
  }
}
