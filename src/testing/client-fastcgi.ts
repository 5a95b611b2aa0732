/** A client for FastCGI applications: it acts as a web server with or without kept-alive connections. */
import type { Buffer } from 'node:buffer'
import { connect, type Socket } from 'node:net'
import { PeerError } from '../errors.ts'
import { FCGI_AUTHORIZER, FCGI_REQUEST_COMPLETE, FCGI_RESPONDER } from '../protocol/fastcgi.ts'
import { WebServerConnection, type WebServerEvent } from '../protocol/fastcgi-web-server.ts'
import { checkClientOptions, CLIENT, VARIABLES } from './check-options.ts'
import { bodyBytes, DEFAULT_TIMEOUT, type Client, type ClientOptions } from './client.ts'
import type { TestRequest } from './client.ts'
import { CgiResponseReader, collect, pauseFor } from './exchange.ts'
import type { Exchange, Receiver } from './exchange.ts'
import { EmptyResponse, RefusedRequest } from './failures.ts'
import { parseAddress, type ConnectTarget } from './server-address.ts'
import { disconnected, opened, watch, within } from './socket-reader.ts'
import { variablesFor, type VariableOptions } from './variables.ts'

export interface FastcgiClientOptions extends ClientOptions, VariableOptions {
  /**
   * True: all requests share one connection, several at a time. False (default): each request has
   * a connection, which the application has to close after the response.
   */
  readonly keepConn?: boolean | undefined
  /** FastCGI 1.0, section 6. Default: 'responder'. */
  readonly role?: 'responder' | 'authorizer' | undefined
}

/**
 * @param address where the application listens: TCP or a Unix socket.
 * @throws {ConfigurationError} for an unknown option, or a value of the wrong kind.
 */
export function fastcgiClient(address: ConnectTarget, options: FastcgiClientOptions = {}): Client {
  checkClientOptions('fastcgiClient', options, [...CLIENT, ...VARIABLES, 'keepConn', 'role'])
  let kept: Promise<FastcgiConnection> | null = null
  const exchange = fastcgiExchange(address, options)
  // A connection that could not be opened is tried again by the next request.
  const current = () => kept?.catch(() => null) ?? null
  const keptExchange: Exchange = async (request, receiver) => {
    const before = kept
    const connection = await current()
    // Of several requests that have waited, the first opens a connection for all.
    if (kept === null || (kept === before && connection?.closed !== false)) {
      kept = FastcgiConnection.open(address, options)
    }
    return (await kept).exchange(request, receiver)
  }
  return {
    request: (request) => collect(options.keepConn ? keptExchange : exchange, request, true),
    async close() {
      const connection = current()
      kept = null
      ;(await connection)?.close()
    },
  }
}

/**
 * Sends each request over a connection of its own.
 *
 * @param waits whether an application that does not close the connection is an error.
 */
export function fastcgiExchange(
  address: ConnectTarget,
  options: FastcgiClientOptions = {},
  waits = true,
): Exchange {
  return async (request, receiver, signal) => {
    const connection = await FastcgiConnection.open(address, options, signal)
    const ended = watch({ destroy: () => connection.close() }, signal)
    try {
      const broken = await connection.exchange(request, receiver)
      const { timeout } = connection
      if (!waits) return broken
      await within(timeout, 'The application did not close the connection', connection.ended)
      return broken
    } catch (error) {
      throw ended(error)
    } finally {
      ended()
      connection.close()
    }
  }
}

/** Stands for an END_REQUEST that did not come; no application can send this number. */
const NO_END = -1

/** A request in progress. */
interface Pending {
  readonly receiver: Receiver
  readonly reader: CgiResponseReader
  readonly resolve: (end: { appStatus: number; protocolStatus: number }) => void
  readonly reject: (error: PeerError) => void
}

/** Section 6.3: what an Authorizer does not get. */
const NOT_FOR_AUTHORIZER = new Set([
  'CONTENT_LENGTH',
  'PATH_INFO',
  'PATH_TRANSLATED',
  'SCRIPT_NAME',
])

/** Section 5.5. */
const PROTOCOL_STATUS = [
  'complete',
  'it cannot serve several requests on a connection',
  'it is overloaded',
  'it does not know the role',
]

class FastcgiConnection {
  /** Resolves when the application has closed the connection. */
  readonly ended: Promise<unknown>
  readonly timeout: number
  /** True if no further request can be sent. */
  closed = false
  readonly #address: ConnectTarget
  readonly #socket: Socket
  readonly #options: FastcgiClientOptions
  readonly #protocol = new WebServerConnection()
  readonly #pending = new Map<number, Pending>()
  #lastId = 0

  static async open(
    address: ConnectTarget,
    options: FastcgiClientOptions,
    signal?: AbortSignal,
  ): Promise<FastcgiConnection> {
    const socket = connect(parseAddress(address))
    const ended = watch(socket, signal)
    try {
      await within(options.timeout ?? DEFAULT_TIMEOUT, 'No connection', opened(socket))
    } catch (error) {
      socket.destroy()
      throw ended(disconnected(error))
    } finally {
      ended()
    }
    return new FastcgiConnection(socket, address, options)
  }

  constructor(socket: Socket, address: ConnectTarget, options: FastcgiClientOptions) {
    this.#socket = socket
    this.#address = address
    this.#options = options
    this.timeout = options.timeout ?? DEFAULT_TIMEOUT
    this.ended = new Promise((resolve) => socket.once('close', resolve))
    socket.on('data', (bytes: Buffer) => {
      for (const { receiver } of this.#pending.values()) receiver.wire?.('<', bytes)
      this.#protocol.receive(bytes)
      this.#pump()
    })
    socket.on('end', () => {
      this.closed = true
      this.#abortAll()
      if (socket.bytesRead === 0) {
        this.#failAll(new EmptyResponse('PORTICO_PROTOCOL', 'The response is empty'))
      }
      this.#protocol.receiveEof()
      this.#pump()
    })
    socket.on('error', (error) => {
      this.closed = true
      this.#failAll(disconnected(error))
    })
    socket.on('close', () => {
      this.closed = true
      this.#failAll(disconnected(new Error('closed')))
    })
  }

  /** Resolves to the reason why the response is incomplete; to undefined if it is complete. */
  async exchange(request: TestRequest, receiver: Receiver): Promise<string | undefined> {
    const { keepConn = false, role } = this.#options
    receiver.connected?.()
    const id = this.#freeId()
    const reader = new CgiResponseReader(receiver, request.method)
    const end = new Promise<{ appStatus: number; protocolStatus: number }>((resolve, reject) => {
      this.#pending.set(id, { receiver, reader, resolve, reject })
    })
    const protocol = this.#protocol
    const variables = variablesFor(request, this.#options, {
      gateway: 'fastcgi',
      address: this.#address,
    })
    const records =
      role === 'authorizer'
        ? [
            protocol.begin(id, FCGI_AUTHORIZER, keepConn),
            ...protocol.params(
              id,
              variables.filter(([name]) => !NOT_FOR_AUTHORIZER.has(name)),
            ),
          ]
        : [
            protocol.begin(id, FCGI_RESPONDER, keepConn),
            ...protocol.params(id, variables),
            ...protocol.stdin(id, bodyBytes(request.body)),
            protocol.endStdin(id),
          ]
    for (const bytes of records) receiver.wire?.('>', bytes)
    this.#write(records)
    const { appStatus, protocolStatus } = await within(this.timeout, 'No END_REQUEST', end)
    if (protocolStatus !== FCGI_REQUEST_COMPLETE) {
      const what = PROTOCOL_STATUS[protocolStatus] ?? 'unknown'
      throw new RefusedRequest(
        'PORTICO_PROTOCOL',
        `The application refused the request: ${what} (protocolStatus ${protocolStatus})`,
      )
    }
    const broken = reader.end()
    return appStatus === NO_END
      ? 'the connection ended without END_REQUEST'
      : appStatus === 0
        ? broken
        : `appStatus is ${appStatus}`
  }

  close(): void {
    this.#socket.destroy()
  }

  #freeId(): number {
    do this.#lastId = (this.#lastId % 0xffff) + 1
    while (this.#pending.has(this.#lastId))
    return this.#lastId
  }

  #write(buffers: Buffer[]): void {
    this.#socket.cork()
    for (const buffer of buffers) this.#socket.write(buffer)
    this.#socket.uncork()
  }

  #pump(): void {
    for (let event; (event = this.#protocol.next()) !== null;) this.#handle(event)
  }

  #handle(event: WebServerEvent): void {
    if (event.type === 'error') {
      this.#failAll(new PeerError('PORTICO_PROTOCOL', event.message))
      this.#socket.destroy()
    } else if (event.type === 'stdout') {
      pauseFor(this.#socket, this.#pending.get(event.id)?.reader.add(event.data))
    } else if (event.type === 'stderr') {
      this.#pending.get(event.id)?.receiver.log?.(event.data)
    } else if (event.type === 'end') {
      this.#pending.get(event.id)?.resolve(event)
      this.#pending.delete(event.id)
    }
  }

  /** An application aborts a response by closing the connection without END_REQUEST. */
  #abortAll(): void {
    for (const [id, { reader, resolve }] of this.#pending) {
      if (!reader.started) continue
      this.#pending.delete(id)
      resolve({ appStatus: NO_END, protocolStatus: FCGI_REQUEST_COMPLETE })
    }
  }

  #failAll(error: PeerError): void {
    for (const { reject } of this.#pending.values()) reject(error)
    this.#pending.clear()
  }
}
