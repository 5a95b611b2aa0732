/**
 * The life of a server that keeps running: FastCGI, SCGI and HTTP handlers start, count, limit and
 * stop their connections here. No protocol is known; a connection is something that can end.
 */
import type { Server, Socket } from 'node:net'
import { ConfigurationError } from '../errors.ts'
import { allowClients } from '../address-list.ts'
import type { Admits, ClientList } from '../address-list.ts'
import { takeConnections, type Receiver } from '../node-internals/accept-onread.ts'
import { checkLimits, sweep, type Limits, type Expirable } from './deadlines.ts'
import { DEFAULT_BACKLOG, listen } from './listen.ts'
import type { Address, ListenOptions, ListenPolicy } from './listen.ts'
import { checkOptionNames } from '../options.ts'
import { releaseSocketFile } from './unix-socket.ts'

/** What a handler makes of an accepted socket. */
export interface Connection extends Expirable {
  /**
   * Ends once nothing is left to answer: at once when idle, after the answer when a request runs
   * or its first bytes have come, and takes no further request. Called once.
   */
  end(): void
  /** Ends now; what runs is aborted. */
  destroy(): void
  /** The socket is closed. */
  closed?(): void
}

export interface ServerOptions extends ListenOptions, Limits {
  /** Who may connect by TCP: addresses and CIDR blocks, as an array or separated by commas. */
  readonly allowedClients?: ClientList | undefined
  /** How many connections are served at a time; further ones are closed as they come. */
  readonly maxConnections?: number | undefined
  /** How long `close()` waits for requests to finish, in milliseconds. */
  readonly shutdownTimeout?: number | undefined
}

/** What differs between the gateways. */
export interface ServerPolicy extends Omit<ListenPolicy, 'wildcard'> {
  /** Called for each peer that is admitted, in the same turn in which it is accepted. */
  readonly connect: (socket: Socket) => Connection & Partial<Receiver>
  /** How sockets are made whose bytes go to `receive` of the connection; nothing if Node reads. */
  readonly sockets?: { readonly allowHalfOpen: boolean; readonly noDelay?: boolean }
  /** A further restriction: FCGI_WEB_SERVER_ADDRS, for FastCGI. */
  readonly admits?: Admits | undefined
  /** True where peers are not believed, so that anybody may connect: HTTP. */
  readonly open?: boolean | undefined
}

/**
 * Eight times nginx's worker_connections and sixteen times Apache's MaxRequestWorkers; with the
 * 256 KiB of unread body that each may hold, 1 GiB at the worst.
 */
export const DEFAULT_MAX_CONNECTIONS = 4096

/** Less than the 10 s after which `docker stop` kills; mod_fcgid and systemd wait longer. */
export const DEFAULT_SHUTDOWN_TIMEOUT = 8000

/**
 * Turns of the event loop without a new connection, after which all that came before is known: the
 * rest of this turn, one that would accept, and one that reads from what was accepted last. A turn
 * accepts one connection (libuv since 1.45).
 */
const QUIET_TURNS = 3

/**
 * How long, in milliseconds, a connection on which nothing has come yet is waited for by `close()`.
 * A web server sends the request as soon as its connect succeeds; a browser opens one for later.
 */
const FIRST_BYTE_TIME = 500

/** A server that accepts connections: what a handler's `run(app)` resolves to. */
export class GatewayServer {
  readonly address: Address
  readonly #server: Server
  readonly #connections: Map<Socket, Connection>
  /** How many connections have come, those that were refused included. */
  readonly #accepted: { readonly count: number }
  readonly #shutdownTimeout: number
  readonly #backlog: number
  #closing: Promise<void> | undefined
  #abortedConnections = 0
  /** Resolves when the last connection is closed, however that came about. */
  readonly closed: Promise<void>

  /**
   * Makes `server`, which does not listen yet, accept connections.
   *
   * @throws ConfigurationError for options that cannot work.
   */
  static async start(
    server: Server,
    options: ServerOptions,
    policy: ServerPolicy,
  ): Promise<GatewayServer> {
    const { allowedClients, shutdownTimeout = DEFAULT_SHUTDOWN_TIMEOUT } = options
    const { maxConnections = DEFAULT_MAX_CONNECTIONS, backlog = DEFAULT_BACKLOG } = options
    checkOptionNames(options)
    checkLimits(options)
    const allows = allowedClients === undefined ? undefined : allowClients(allowedClients)
    if (allows && String(options.listen ?? policy.fallback).startsWith('unix:')) {
      throw new ConfigurationError(
        'allowedClients: the peers of a Unix socket have no address; mode, owner and group say ' +
          'who may connect',
      )
    }

    const connections = new Map<Socket, Connection>()
    server.maxConnections = maxConnections
    const accepted = { count: 0 }
    const admit = (socket: Socket): (Connection & Partial<Receiver>) | undefined => {
      accepted.count += 1
      if (allows?.(socket) === false || policy.admits?.(socket) === false) {
        socket.destroy()
        return undefined
      }
      const connection = policy.connect(socket)
      connections.set(socket, connection)
      if (connection.receiveEof) socket.on('end', () => connection.receiveEof!())
      socket.on('error', ignore) // 'close' follows, and is where it is dealt with.
      socket.on('close', () => {
        connections.delete(socket)
        connection.closed?.()
      })
      return connection
    }
    server.on('drop', () => (accepted.count += 1))
    server.on('connection', (socket) => {
      const connection = admit(socket)
      if (connection?.receive)
        socket.on('data', (chunk) => {
          connection.receive!(chunk, chunk.length, false)
        })
    })
    const limited = policy.open || allows || policy.admits
    const wildcard = limited ? 'allow' : 'refuse'
    const address = await listen(server, options, { fallback: policy.fallback, wildcard })
    // Out of descriptors, libuv accepts and closes what waits, and goes on (Node 20 to 26). Where
    // it cannot do even that Node emits 'error' for each try; the next try may succeed.
    server.on('error', () => {})
    server.once('close', sweep(connections, options.writeTimeout))
    if (policy.sockets)
      takeConnections(server, policy.sockets, (socket) => admit(socket) as Receiver)
    return new GatewayServer(server, address, connections, accepted, { shutdownTimeout, backlog })
  }

  private constructor(
    server: Server,
    address: Address,
    connections: Map<Socket, Connection>,
    accepted: { readonly count: number },
    limits: { readonly shutdownTimeout: number; readonly backlog: number },
  ) {
    this.#server = server
    this.address = address
    this.#connections = connections
    this.#accepted = accepted
    this.#shutdownTimeout = limits.shutdownTimeout
    this.#backlog = limits.backlog
    this.closed = new Promise((resolve) => server.once('close', resolve))
  }

  /** How long `close()` waits for what runs, in milliseconds. */
  get shutdownTimeout(): number {
    return this.#shutdownTimeout
  }

  /** How many connections were still busy at the end of the grace time, and were cut off. */
  get abortedConnections(): number {
    return this.#abortedConnections
  }

  /** How many connections are open. */
  get connections(): number {
    return this.#connections.size
  }

  /**
   * Stops accepting, lets what runs finish, and after the grace time ends what is left.
   *
   * Every request that reached the kernel before the call is accepted and answered. Resolves when
   * the last connection is closed; a second call waits for the same.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    // Nobody new finds a Unix socket from here on, so nobody is cut off when it closes.
    releaseSocketFile(this.#server)
    await this.#acceptWaiting()

    this.#server.close()
    const silent: Socket[] = []
    for (const [socket, connection] of this.#connections) {
      if (socket.bytesRead === 0) silent.push(socket)
      else connection.end()
    }
    const timers = [
      setTimeout(() => {
        for (const socket of silent) this.#connections.get(socket)?.end()
      }, FIRST_BYTE_TIME),
      setTimeout(() => {
        this.#abortedConnections = this.#connections.size
        for (const [socket, connection] of this.#connections) {
          connection.destroy()
          socket.destroy()
        }
      }, this.#shutdownTimeout),
    ]
    await this.closed
    for (const timer of timers) clearTimeout(timer)
  }

  /** Accepts what waits in the kernel's queue; not more, or a busy server would never close. */
  async #acceptWaiting(): Promise<void> {
    const accepted = this.#accepted
    const most = accepted.count + this.#backlog
    for (let quiet = 0; quiet < QUIET_TURNS && accepted.count <= most; quiet++) {
      const before = accepted.count
      await new Promise(setImmediate)
      if (accepted.count > before) quiet = -1
    }
  }
}

function ignore(): void {}
