/**
 * A server that accepts connections: starts, counts, limits and closes them, for every gateway. It
 * knows no protocol; a connection is an object that can end.
 */
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { ConfigurationError } from '../errors.ts'
import { allowClients } from '../address-list.ts'
import type { Admits } from '../address-list.ts'
import { takeConnections, type Receiver } from '../node-internals/accept-onread.ts'
import { checkOptions } from '../check-options.ts'
import { GATEWAYS, type ServerGateway } from '../gateways.ts'
import { defaultOf, OPTIONS, type OptionsOf } from '../options.ts'
import { sweep, type Expirable } from './deadlines.ts'
import { otherSystemdSockets } from './inherited-sockets.ts'
import { listen, type Address } from './listen.ts'
import { releaseSocketFile } from './unix-socket.ts'

/** A connection of a gateway, made from an accepted socket. */
export interface Connection extends Expirable {
  /**
   * Ends as soon as it can: at once if it is idle, after the response if a request is running or its
   * first bytes have arrived. Takes no further request. Called once.
   */
  end(): void
  /** Ends now; running requests are aborted. */
  destroy(): void
  /** Requests that have begun on it. */
  readonly requests?: number
  /** Whether no request is running. Absent if the connection does not know. */
  readonly idle?: boolean
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
 * Turns of the event loop without a new connection, after which all earlier ones are known: the
 * rest of this turn, one that would accept, and one that reads from the last that was accepted. A
 * turn accepts one connection (libuv since 1.45).
 */
const QUIET_TURNS = 3

/**
 * Milliseconds that `close()` waits for a connection on which nothing has been received. A web
 * server sends the request as soon as it is connected; a browser opens a connection for later.
 */
const FIRST_BYTE_TIME = 500

/**
 * Milliseconds that `close()` waits for the rest of a request's head. More than a connection may
 * linger after its last response.
 */
const HEAD_TIME = 3_000

export interface CloseOptions {
  /** Milliseconds to wait for running requests. Default: the option `shutdownTimeout`. */
  readonly timeout?: number | undefined
}

/** A server that accepts connections: what a handler's `run(app)` resolves to. */
export class GatewayServer {
  readonly address: Address
  /** The first has the address; the others are for further sockets of systemd. */
  readonly #servers: readonly Server[]
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
  /** Resolves when the last connection is closed, for whatever reason. */
  readonly closed: Promise<void>

  /**
   * Makes `server`, which does not listen yet, accept connections.
   *
   * @throws {ConfigurationError} for options that cannot work.
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
    const { maxConnections = OPTIONS.maxConnections.default } = options
    server.maxConnections = maxConnections
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
    server.on('error', ignore)
    if (policy.sockets)
      takeConnections(server, policy.sockets, (socket) => admit(socket) as Receiver)
    const servers = [server]
    if (listenOn === 'systemd') {
      for (const fd of otherSystemdSockets()) {
        const other = createServer(policy.sockets ?? { allowHalfOpen: true }, (socket) => {
          if (connections.size < maxConnections) server.emit('connection', socket)
          else socket.destroy()
        })
        await listen(other, { ...options, listen: `fd:${fd}` }, { fallback: 0, wildcard: 'allow' })
        other.on('error', ignore)
        servers.push(other)
      }
    }
    const started = new GatewayServer(servers, address, connections, accepted, {
      gateway,
      closedRequests,
      shutdownTimeout: options.shutdownTimeout ?? OPTIONS.shutdownTimeout.default,
      backlog: options.backlog ?? OPTIONS.backlog.default,
    })
    const stopSweeping = sweep(connections, {
      bodyTimeout: options.bodyTimeout ?? OPTIONS.bodyTimeout.default,
      writeTimeout: options.writeTimeout ?? OPTIONS.writeTimeout.default,
    })
    void started.closed.then(stopSweeping)
    return started
  }

  private constructor(
    servers: readonly Server[],
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
    this.#servers = servers
    this.address = address
    this.#connections = connections
    this.#accepted = accepted
    this.#gateway = rest.gateway
    this.#closedRequests = rest.closedRequests
    this.#shutdownTimeout = rest.shutdownTimeout
    this.#backlog = rest.backlog
    this.closed = allClosed(servers)
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

  /** How many connections were busy when the timeout of `close()` expired, and were aborted. */
  get abortedConnections(): number {
    return this.#abortedConnections
  }

  /** How many connections are open. */
  get connections(): number {
    return this.#connections.size
  }

  /**
   * Stops accepting, completes running requests, and aborts those that are left after the timeout.
   *
   * Every request that reached the kernel before the call is accepted and gets its response.
   * Resolves when the last connection is closed; a second call waits for the same.
   */
  close({ timeout = this.#shutdownTimeout }: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(timeout)
    return this.#closing
  }

  async #close(timeout: number): Promise<void> {
    // No client finds a Unix socket from now on, so no connection is refused when it closes.
    for (const server of this.#servers) releaseSocketFile(server)
    await this.#acceptWaiting()

    for (const server of this.#servers) server.close()
    const silent: Socket[] = []
    for (const [socket, connection] of this.#connections) {
      if (socket.bytesRead === 0) silent.push(socket)
      else connection.end()
    }
    const timers = [
      setTimeout(() => {
        for (const socket of silent) {
          const connection = this.#connections.get(socket)
          // Ending would wait for a client that may never close its half.
          if (socket.bytesRead === 0) connection?.destroy()
          else connection?.end()
        }
      }, FIRST_BYTE_TIME),
      setTimeout(() => {
        for (const [socket, connection] of this.#connections) {
          if (connection.idle && socket.writableLength === 0) connection.destroy()
        }
      }, HEAD_TIME),
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

  /** Accepts the connections in the kernel's queue, and no more: a busy server has to close. */
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

async function allClosed(servers: readonly Server[]): Promise<void> {
  await Promise.all(servers.map((server) => once(server, 'close')))
}

function ignore(): void {}
