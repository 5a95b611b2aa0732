/**
 * The life of a server that keeps running: FastCGI, SCGI and HTTP handlers start, count, limit and
 * stop their connections here. No protocol is known; a connection is something that can end.
 */
import type { Server, Socket } from 'node:net'
import { ConfigurationError } from '../errors.ts'
import { allowClients } from '../address-list.ts'
import type { Admits } from '../address-list.ts'
import { takeConnections, type Receiver } from '../node-internals/accept-onread.ts'
import { checkOptions } from '../check-options.ts'
import { GATEWAYS, type ServerGateway } from '../gateways.ts'
import { defaultOf, OPTIONS, type OptionsOf } from '../options.ts'
import { sweep, type Expirable } from './deadlines.ts'
import { listen, type Address } from './listen.ts'
import { releaseSocketFile } from './unix-socket.ts'

/** What a handler makes of an accepted socket. */
export interface Connection extends Expirable {
  /**
   * Ends once nothing is left to answer: at once when idle, after the answer when a request runs
   * or its first bytes have come, and takes no further request. Called once.
   */
  end(): void
  /** Ends now; running requests are aborted. */
  destroy(): void
  /** Requests that have begun on it. */
  readonly requests?: number
  /** The socket is closed. */
  closed?(): void
}

/** The options of all servers. */
export type ServerOptions = OptionsOf<ServerSet>

/** Portico's own servers. */
type ServerSet = ServerGateway | 'node-fastcgi'

/** A gateway outside of this package. Its peers are trusted, as those of FastCGI are. */
export interface OtherGateway {
  /** Its name in messages. */
  readonly label: string
  /** The default of the option `listen`. */
  readonly listen: string | number
}

function listenDefault(gateway: ServerSet | OtherGateway): string | number {
  return typeof gateway === 'string' ? defaultOf('listen', gateway)! : gateway.listen
}

function trustsPeers(gateway: ServerSet | OtherGateway): boolean {
  if (typeof gateway !== 'string' || gateway === 'node-fastcgi') return true
  return GATEWAYS[gateway].trustsPeers
}

/** What differs between the gateways. */
export interface ServerPolicy {
  readonly gateway: ServerSet | OtherGateway
  /** Called for each peer that is admitted, in the same turn in which it is accepted. */
  readonly connect: (socket: Socket) => Connection & Partial<Receiver>
  /** How sockets are made whose bytes go to `receive` of the connection; nothing if Node reads. */
  readonly sockets?: { readonly allowHalfOpen: boolean; readonly noDelay?: boolean }
  /** A further restriction: FCGI_WEB_SERVER_ADDRS, for FastCGI. */
  readonly admits?: Admits | undefined
}

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

export interface CloseOptions {
  /** Milliseconds to wait for running requests. Default: the option `shutdownTimeout`. */
  readonly timeout?: number | undefined
}

/** A server that accepts connections: what a handler's `run(app)` resolves to. */
export class GatewayServer {
  readonly address: Address
  readonly #server: Server
  readonly #connections: Map<Socket, Connection>
  /** How many connections have come, those that were refused included. */
  readonly #accepted: { readonly count: number }
  readonly #shutdownTimeout: number
  readonly #gateway: ServerSet | OtherGateway
  /** The requests of connections that are closed. */
  readonly #closedRequests: { readonly count: number }
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
    const { gateway } = policy
    if (typeof gateway === 'string') checkOptions(gateway, options)
    else checkOptions('node-fastcgi', options, gateway.label)
    const listenOn = options.listen ?? listenDefault(gateway)
    const { allowedClients } = options
    const allows = allowedClients === undefined ? undefined : allowClients(allowedClients)
    if (allows && String(listenOn).startsWith('unix:')) {
      throw new ConfigurationError(
        'allowedClients: the peers of a Unix socket have no address; mode, owner and group decide ' +
          'who may connect',
      )
    }

    const connections = new Map<Socket, Connection>()
    server.maxConnections = options.maxConnections ?? OPTIONS.maxConnections.default
    const accepted = { count: 0 }
    const closedRequests = { count: 0 }
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
        closedRequests.count += connection.requests ?? 0
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
    const wildcard = !trustsPeers(gateway) || allows || policy.admits ? 'allow' : 'refuse'
    const address = await listen(server, options, { fallback: listenOn, wildcard })
    // Out of descriptors, libuv accepts and closes what waits, and goes on (Node 20 to 26). Where
    // it cannot do even that Node emits 'error' for each try; the next try may succeed.
    server.on('error', () => {})
    server.once('close', sweep(connections, options.writeTimeout ?? OPTIONS.writeTimeout.default))
    if (policy.sockets)
      takeConnections(server, policy.sockets, (socket) => admit(socket) as Receiver)
    return new GatewayServer(server, address, connections, accepted, {
      gateway,
      closedRequests,
      shutdownTimeout: options.shutdownTimeout ?? OPTIONS.shutdownTimeout.default,
      backlog: options.backlog ?? OPTIONS.backlog.default,
    })
  }

  private constructor(
    server: Server,
    address: Address,
    connections: Map<Socket, Connection>,
    accepted: { readonly count: number },
    rest: {
      readonly gateway: ServerSet | OtherGateway
      readonly closedRequests: { readonly count: number }
      readonly shutdownTimeout: number
      readonly backlog: number
    },
  ) {
    this.#server = server
    this.address = address
    this.#connections = connections
    this.#accepted = accepted
    this.#gateway = rest.gateway
    this.#closedRequests = rest.closedRequests
    this.#shutdownTimeout = rest.shutdownTimeout
    this.#backlog = rest.backlog
    this.closed = new Promise((resolve) => server.once('close', resolve))
  }

  /**
   * Where it can be reached: 'http://127.0.0.1:8000/', or in the words of `listen` if it does not
   * speak HTTP over TCP.
   */
  get url(): string {
    const { address } = this
    if (address.kind === 'unix') return `unix:${address.path}`
    if (address.kind === 'fd') return `fd:${address.fd}`
    const host = address.host.includes(':') ? `[${address.host}]` : address.host
    const place = `${host}:${address.port}`
    return this.#gateway === 'http' ? `http://${place}/` : place
  }

  /** How many requests have been received since the server started. */
  get requests(): number {
    let count = this.#closedRequests.count
    for (const connection of this.#connections.values()) count += connection.requests ?? 0
    return count
  }

  /** How long `close()` waits for running requests, in milliseconds. */
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
  close({ timeout = this.#shutdownTimeout }: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(timeout)
    return this.#closing
  }

  async #close(timeout: number): Promise<void> {
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
      }, timeout),
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
