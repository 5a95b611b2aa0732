/**
 * `GatewayServer`: accepts, counts, limits and closes connections for every gateway. It does not
 * depend on the protocol: it only needs to end connections.
 */
import diagnostics from 'node:diagnostics_channel'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { ConfigurationError } from '../errors.ts'
import { allowClients, type Admits } from '../address-list.ts'
import { takeConnections, type Receiver } from '../node-internals/accept-onread.ts'
import { adopt, detach, stopListening, type SocketHandle } from '../node-internals/hand-over.ts'
import { checkOptions } from '../options/check.ts'
import { GATEWAYS, type ServerGateway } from '../gateways.ts'
import { defaultOf, OPTIONS, type OptionsOf } from '../options/table.ts'
import { publishRequests } from '../request/trace.ts'
import { acceptWaiting } from './accept-waiting.ts'
import type { CloseOptions, Connection, SendHandle } from './connection.ts'
import { sweep } from './deadlines.ts'
import { keepFreedMemory } from './freed-memory.ts'
import { listen, otherSystemdSockets, type Address } from './listen.ts'
import { shortTurn } from './short-turn.ts'
import { releaseSocketFile } from './unix-socket.ts'

/** The options of all servers. */
export type ServerOptions = OptionsOf<ServerSet>

/** Portico's own servers. */
type ServerSet = ServerGateway | 'node-fastcgi'

/** A gateway of another package. It trusts its peers, as FastCGI does. */
export interface OtherGateway {
  /** The name in messages. */
  readonly label: string
  /** The default of the option `listen`. */
  readonly listen: string | number
  /** Its options besides those of every server. Portico checks the values of its own options only. */
  readonly options?: readonly string[]
}

function listenDefault(gateway: ServerSet | OtherGateway): string | number {
  return typeof gateway === 'string' ? defaultOf('listen', gateway)! : gateway.listen
}

function trustsPeers(gateway: ServerSet | OtherGateway): boolean {
  if (typeof gateway !== 'string' || gateway === 'node-fastcgi') return true
  return GATEWAYS[gateway].trustsPeers
}

/** The parts of a server that depend on the gateway. */
export interface ServerPolicy {
  readonly gateway: ServerSet | OtherGateway
  /** Called for each accepted connection, in the same turn of the event loop. */
  readonly connect: (socket: Socket) => Connection & Partial<Receiver>
  /** Options of sockets whose bytes go to `Connection.receive`; absent if Node reads the socket. */
  readonly sockets?: { readonly allowHalfOpen: boolean; readonly noDelay?: boolean }
  /** A further restriction: FCGI_WEB_SERVER_ADDRS, for FastCGI. */
  readonly admits?: Admits | undefined
}

/**
 * Milliseconds that `close()` keeps reading from connections without a request. A web server sends
 * its request as soon as it is connected; a browser opens connections for later use. On a kept-alive
 * connection a request may be on its way, and nginx does not send a POST a second time.
 */
const LAST_REQUEST_TIME = 500

/**
 * Milliseconds that `close()` waits for the rest of a request's head, and for a peer that is still
 * sending to receive its last response.
 */
const HEAD_TIME = 3_000

publishRequests(diagnostics)

/** A running server. A handler's `run(app)` resolves to it. */
export class GatewayServer {
  readonly address: Address
  /** The first has `address`; the others are for further sockets of systemd. */
  readonly #servers: readonly Server[]
  readonly #connections: Map<Socket, Connection>
  /** Connections since the start, refused ones included. */
  readonly #accepted: { readonly count: number }
  readonly #shutdownTimeout: number
  readonly #gateway: ServerSet | OtherGateway
  /** Requests on connections that have closed. */
  readonly #closedRequests: { count: number }
  readonly #backlog: number
  #closing: Promise<void> | undefined
  #abortedConnections = 0
  /** Resolves when the server has stopped listening and its last connection has closed. */
  readonly closed: Promise<void>

  /**
   * Starts `server`, which must not listen yet.
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
    else checkOptions('node-fastcgi', options, gateway.label, gateway.options)
    keepFreedMemory()
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
      socket.on('error', ignore) // 'close' follows.
      socket.on('close', () => {
        // Given to another process, it is counted already.
        if (connections.delete(socket)) closedRequests.count += connection.requests ?? 0
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
    // If the process has no free descriptor, libuv accepts and closes the waiting connections (Node
    // 20 to 26). If that fails, too, Node emits 'error' for each attempt; the next may succeed.
    server.on('error', ignore)
    if (policy.sockets)
      takeConnections(server, policy.sockets, (socket) => admit(socket) as Receiver)
    const servers = [server]
    for (const fd of otherSystemdSockets(listenOn)) {
      const other = createServer(policy.sockets ?? { allowHalfOpen: true }, (socket) => {
        if (connections.size < maxConnections) server.emit('connection', socket)
        else socket.destroy()
      })
      await listen(other, { ...options, listen: `fd:${fd}` }, { fallback: 0, wildcard: 'allow' })
      other.on('error', ignore)
      servers.push(other)
    }
    const started = new GatewayServer(servers, address, connections, accepted, {
      gateway,
      closedRequests,
      shutdownTimeout: options.shutdownTimeout ?? OPTIONS.shutdownTimeout.default,
      backlog: options.backlog ?? OPTIONS.backlog.default,
    })
    const { bodyTimeout = OPTIONS.bodyTimeout.default } = options
    const { writeTimeout = OPTIONS.writeTimeout.default } = options
    const stopSweeping = sweep(connections, { bodyTimeout, writeTimeout })
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
      readonly closedRequests: { count: number }
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
   * The URL of an HTTP server on TCP, such as 'http://127.0.0.1:8000/'; for any other server the
   * address in the format of the option `listen`.
   */
  get url(): string {
    const { address } = this
    if (address.kind === 'unix') return `unix:${address.path}`
    if (address.kind === 'fd') return `fd:${address.fd}`
    const host = address.host.includes(':') ? `[${address.host}]` : address.host
    const authority = `${host}:${address.port}`
    return this.#gateway === 'http' ? `http://${authority}/` : authority
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

  /** How many busy connections `close()` aborted when its timeout expired. */
  get abortedConnections(): number {
    return this.#abortedConnections
  }

  /** How many connections are open. */
  get connections(): number {
    return this.#connections.size
  }

  /** The connections that are open. */
  get open(): Iterable<Connection> {
    return this.#connections.values()
  }

  /** Takes over a connection that another process has given away. Returns false once closed. */
  adopt(handle: SocketHandle): boolean {
    return adopt(this.#servers[0]!, handle)
  }

  /**
   * Stops listening, while other processes listen on the same socket. Idle connections move to one
   * of them through `send`, at once or after their last response; running requests complete, and
   * those that still run after the timeout are aborted.
   *
   * Resolves when the last connection has left. After a call of `close()` it has no effect.
   */
  retire(send: SendHandle, timeout = this.#shutdownTimeout): Promise<void> {
    return (this.#closing ??= this.#retire(send, timeout))
  }

  async #retire(send: SendHandle, timeout: number): Promise<void> {
    for (const server of this.#servers) stopListening(server)
    const give = (socket: Socket): void => {
      const handle = detach(socket)
      if (handle === null) return this.#connections.get(socket)?.end()
      this.#closedRequests.count += this.#connections.get(socket)?.requests ?? 0
      this.#connections.delete(socket) // Its deadlines are the other process's.
      send(handle, () => socket.destroy())
    }
    for (const connection of this.#connections.values()) {
      if (connection.retire) connection.retire(give)
      else connection.end()
    }
    const timer = setTimeout(() => this.#abortAll(), timeout)
    await this.closed
    clearTimeout(timer)
  }

  #abortAll(): void {
    for (const [socket, connection] of this.#connections) {
      if (!connection.idle) this.#abortedConnections += 1
      connection.destroy()
      socket.destroy()
    }
  }

  /**
   * Stops listening, completes running requests, and aborts those that still run after the timeout.
   *
   * Every request that reached the kernel before the call still gets its response. Resolves when the
   * last connection has closed. A second call returns the same promise.
   */
  close(options: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options)
    return this.#closing
  }

  async #close({ timeout, takeWaiting = true }: CloseOptions): Promise<void> {
    // Removes the Unix socket first, so that no client connects to it and is then refused.
    for (const server of this.#servers) releaseSocketFile(server)
    if (takeWaiting) await acceptWaiting(this.#accepted, this.#backlog)
    for (const server of this.#servers) server.close()
    const waiting = new Map<Socket, Connection>()
    for (const [socket, connection] of this.#connections) {
      if (hasReceived(socket, connection) && !connection.endAfterNext) {
        connection.end()
        continue
      }
      connection.endAfterNext?.()
      waiting.set(socket, connection)
    }
    const timers = [
      setTimeout(() => void endIdle(waiting), LAST_REQUEST_TIME),
      setTimeout(() => {
        for (const [socket, connection] of this.#connections) {
          if (connection.idle && socket.writableLength === 0) connection.destroy()
        }
      }, HEAD_TIME),
      setTimeout(() => this.#abortAll(), timeout ?? this.#shutdownTimeout),
    ]
    await this.closed
    for (const timer of timers) clearTimeout(timer)
  }
}

/**
 * Ends connections without a request. A request that has just arrived on one of them is read first,
 * and then gets the last response: closing would discard it.
 */
async function endIdle(connections: ReadonlyMap<Socket, Connection>): Promise<void> {
  await shortTurn()
  for (const [socket, connection] of connections) {
    // `end()` would wait for the client, which may never close its side.
    if (!hasReceived(socket, connection)) connection.destroy()
    else connection.end()
  }
}

/** Bun (1.4) does not count the bytes of HTTP connections. */
function hasReceived(socket: Socket, { requests = 0 }: Connection): boolean {
  return socket.bytesRead > 0 || requests > 0
}

async function allClosed(servers: readonly Server[]): Promise<void> {
  await Promise.all(servers.map((server) => once(server, 'close')))
}

function ignore(): void {}
