/** One connection of node-fastcgi: its requests, and guards against the faults of that package. */
import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { logEntry } from '../../log.ts'
import { boundLinger } from '../closing.ts'

/** A connection with the package's reader on it, which emits 'record'. */
type RecordSocket = Socket & { readonly stream?: EventEmitter }

/** FCGI_STDIN (FastCGI 1.0, section 8). */
const STDIN = 5

/** Bytes of unread input that a connection holds before it stops reading. */
const INPUT_HIGH_WATER_MARK = 262_144

/** A request on a connection, as a handler runs it. */
export interface NodeFastCGIRequest {
  /** The connection is closed. */
  lost(): void
}

/** One socket, to which the package has already attached its listeners. */
export class NodeFastCGIConnection {
  /** The one whose bytes are being parsed. */
  static receiving: NodeFastCGIConnection | null = null
  readonly socket: Socket
  readonly #requests = new Set<NodeFastCGIRequest>()
  /** Bytes of STDIN that no application has taken. */
  #queued = 0
  #responded = false

  constructor(socket: RecordSocket) {
    this.socket = socket
    this.#guard()
    boundLinger(socket)
    // The package emits 'aborted' only if no write has failed before.
    socket.on('close', () => {
      for (const request of this.#requests) request.lost()
    })
    // The package reads everything that arrives, even if the application does not.
    socket.stream?.on('record', (_id, record: { TYPE: number; data?: Uint8Array }) => {
      if (record.TYPE !== STDIN || this.#responded) return
      this.#queued += record.data?.length ?? 0
      if (this.#queued > INPUT_HIGH_WATER_MARK) socket.pause()
    })
  }

  /** A request may take longer than two minutes, after which the package closes idle connections. */
  begin(request: NodeFastCGIRequest): void {
    this.#requests.add(request)
    this.socket.setTimeout(0)
  }

  /** The application has taken some of the input. */
  consumed(bytes: number): void {
    this.#queued -= bytes
    if (this.#queued < INPUT_HIGH_WATER_MARK && this.socket.isPaused()) this.socket.resume()
  }

  /** The package closes the connection after the response, so reading is not paused any more. */
  finished(request: NodeFastCGIRequest): void {
    this.#requests.delete(request)
    this.#responded = true
    this.socket.resume()
  }

  /** An active request needs nothing more: the package closes the connection after each response. */
  end(): void {
    if (this.socket.bytesRead === 0) this.socket.destroy()
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** An exception in the package's parser ends this connection, not the process. */
  #guard(): void {
    const { socket } = this
    const parsers = socket.listeners('data')
    socket.removeAllListeners('data')
    socket.on('data', (chunk) => {
      NodeFastCGIConnection.receiving = this
      try {
        for (const parse of parsers) parse.call(socket, chunk)
      } catch (error) {
        logEntry(`node-fastcgi: ${String(error)}`)
        socket.destroy()
      } finally {
        NodeFastCGIConnection.receiving = null
      }
    })
  }
}
