/** A client for FastCGI applications: it acts as a web server with or without kept-alive connections. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { PeerError } from '../errors.ts'
import { FCGI_REQUEST_COMPLETE, FCGI_RESPONDER } from '../protocol/fastcgi.ts'
import { WebServerConnection, type WebServerEvent } from '../protocol/fastcgi-web-server.ts'
import { isTruncated, parseCgiResponse } from './cgi-response.ts'
import { cgiVariables, type CgiServer } from './cgi-variables.ts'
import {
  bodyBytes,
  Collector,
  DEFAULT_TIMEOUT,
  type Client,
  type ClientOptions,
  type TestRequest,
  type TestResponse,
} from './client.ts'
import { parseAddress, type ConnectTarget } from './server-address.ts'
import { disconnected, within } from './socket-reader.ts'

export interface FastcgiClientOptions extends ClientOptions, CgiServer {
  /**
   * True: all requests share one connection, several at a time. False (default): each request has
   * a connection, which the application has to close after the response.
   */
  readonly keepConn?: boolean | undefined
  /** More variables, as with `fastcgi_param`. */
  readonly variables?: Readonly<Record<string, string>> | undefined
}

/** @param address where the application listens: TCP or a Unix socket. */
export function fastcgiClient(address: ConnectTarget, options: FastcgiClientOptions = {}): Client {
  let kept: Promise<FastcgiConnection> | null = null
  const timeout = options.timeout ?? DEFAULT_TIMEOUT
  return {
    async request(request) {
      if (options.keepConn) {
        if (kept === null || (await kept).closed) kept = FastcgiConnection.open(address, timeout)
        return (await kept).request(request, options)
      }
      const connection = await FastcgiConnection.open(address, timeout)
      try {
        const response = await connection.request(request, options)
        await within(timeout, 'The application did not close the connection', connection.ended)
        return response
      } finally {
        connection.close()
      }
    },
    async close() {
      if (kept !== null) (await kept).close()
      kept = null
    },
  }
}

/** An appStatus other than 0 marks an aborted response. */
const BROKEN = 1

/** A request in progress. */
interface Pending {
  readonly stdout: Collector
  readonly stderr: Collector
  readonly resolve: (end: { appStatus: number; protocolStatus: number }) => void
  readonly reject: (error: PeerError) => void
}

class FastcgiConnection {
  /** Resolves when the application has closed the connection. */
  readonly ended: Promise<unknown>
  /** True if no further request can be sent. */
  closed = false
  readonly #socket: Socket
  readonly #timeout: number
  readonly #protocol = new WebServerConnection()
  readonly #pending = new Map<number, Pending>()
  #lastId = 0

  static async open(address: ConnectTarget, timeout: number): Promise<FastcgiConnection> {
    const socket = connect(parseAddress(address))
    try {
      await within(timeout, 'No connection', once(socket, 'connect'))
    } catch (error) {
      socket.destroy()
      throw disconnected(error)
    }
    return new FastcgiConnection(socket, timeout)
  }

  constructor(socket: Socket, timeout: number) {
    this.#socket = socket
    this.#timeout = timeout
    this.ended = new Promise((resolve) => socket.once('close', resolve))
    socket.on('data', (bytes: Buffer) => {
      this.#protocol.receive(bytes)
      this.#pump()
    })
    socket.on('end', () => {
      this.closed = true
      this.#abortAll()
      this.#protocol.receiveEof()
      this.#pump()
    })
    socket.on('error', (error) => this.#failAll(disconnected(error)))
    socket.on('close', () => {
      this.closed = true
      this.#failAll(disconnected(new Error('closed')))
    })
  }

  async request(request: TestRequest, options: FastcgiClientOptions): Promise<TestResponse> {
    const id = this.#freeId()
    const stdout = new Collector()
    const stderr = new Collector()
    const end = new Promise<{ appStatus: number; protocolStatus: number }>((resolve, reject) => {
      this.#pending.set(id, { stdout, stderr, resolve, reject })
    })
    const protocol = this.#protocol
    const variables = [
      ...cgiVariables(request, options),
      ...Object.entries(options.variables ?? {}),
    ]
    this.#write([
      protocol.begin(id, FCGI_RESPONDER, options.keepConn ?? false),
      ...protocol.params(id, variables),
      ...protocol.stdin(id, bodyBytes(request.body)),
      protocol.endStdin(id),
    ])
    const { appStatus, protocolStatus } = await within(this.#timeout, 'No END_REQUEST', end)
    if (protocolStatus !== FCGI_REQUEST_COMPLETE) {
      throw new PeerError('PORTICO_PROTOCOL', `END_REQUEST with protocolStatus ${protocolStatus}`)
    }
    const response = parseCgiResponse(stdout.bytes())
    return {
      status: response.status,
      headers: response.headers,
      body: response.body,
      broken: appStatus !== 0 || isTruncated(response, request.method),
      errors: stderr.bytes().toString(),
    }
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
    } else if (event.type === 'stdout' || event.type === 'stderr') {
      this.#pending.get(event.id)?.[event.type].add(event.data)
    } else if (event.type === 'end') {
      this.#pending.get(event.id)?.resolve(event)
      this.#pending.delete(event.id)
    }
  }

  /** An application aborts a response by closing the connection without END_REQUEST. */
  #abortAll(): void {
    for (const [id, { stdout, resolve }] of this.#pending) {
      if (stdout.bytes().length === 0) continue
      this.#pending.delete(id)
      resolve({ appStatus: BROKEN, protocolStatus: FCGI_REQUEST_COMPLETE })
    }
  }

  #failAll(error: PeerError): void {
    for (const { reject } of this.#pending.values()) reject(error)
    this.#pending.clear()
  }
}
