/**
 * The client of this folder's common form over FastCGI, from the side of the web server: nginx with
 * and without `fastcgi_keep_conn`, or a server that multiplexes.
 */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { PeerError } from '../errors.ts'
import { FCGI_REQUEST_COMPLETE, FCGI_RESPONDER } from '../protocol/fastcgi.ts'
import { WebServerConnection, type WebServerEvent } from '../protocol/fastcgi-web-server.ts'
import { isCutShort, parseCgiResponse } from './cgi-response.ts'
import { cgiVariables, type CgiPlace } from './cgi-variables.ts'
import {
  bodyBytes,
  Collector,
  DEFAULT_TIMEOUT,
  type Client,
  type ClientOptions,
  type TestRequest,
  type TestResponse,
} from './client.ts'
import { readPlace, type HttpPlace } from './raw-http-client.ts'
import { disconnected, within } from './socket-reader.ts'

export interface FastcgiClientOptions extends ClientOptions, CgiPlace {
  /**
   * True: all requests go over one connection, several at a time with ids of their own. False
   * (default): each has its own, which the application has to close after the answer.
   */
  readonly keepConn?: boolean | undefined
  /** Further variables, as `fastcgi_param` adds them. */
  readonly variables?: Readonly<Record<string, string>> | undefined
}

/** `place`: where the application listens, by TCP or on a Unix socket. */
export function fastcgiClient(
  place: HttpPlace | string,
  options: FastcgiClientOptions = {},
): Client {
  let kept: Promise<FastcgiConnection> | null = null
  const timeout = options.timeout ?? DEFAULT_TIMEOUT
  return {
    async request(request) {
      if (options.keepConn) {
        if (kept === null || (await kept).closed) kept = FastcgiConnection.open(place, timeout)
        return (await kept).request(request, options)
      }
      const connection = await FastcgiConnection.open(place, timeout)
      try {
        const response = await connection.request(request, options)
        await within(timeout, 'the application did not close the connection', connection.ended)
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

/** Any appStatus but 0 says that the answer is not to be trusted. */
const BROKEN = 1

/** A request that is not answered to its end. */
interface Pending {
  readonly stdout: Collector
  readonly stderr: Collector
  readonly resolve: (end: { appStatus: number; protocolStatus: number }) => void
  readonly reject: (error: PeerError) => void
}

class FastcgiConnection {
  /** Resolves when the application has closed its side. */
  readonly ended: Promise<unknown>
  /** True once nothing more can be asked on it. */
  closed = false
  readonly #socket: Socket
  readonly #timeout: number
  readonly #protocol = new WebServerConnection()
  readonly #pending = new Map<number, Pending>()
  #lastId = 0

  static async open(place: HttpPlace | string, timeout: number): Promise<FastcgiConnection> {
    const socket = connect(readPlace(place))
    try {
      await within(timeout, 'no connection', once(socket, 'connect'))
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
      this.#breakOff()
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
    const { appStatus, protocolStatus } = await within(this.#timeout, 'no END_REQUEST', end)
    if (protocolStatus !== FCGI_REQUEST_COMPLETE) {
      throw new PeerError('PORTICO_PROTOCOL', `END_REQUEST with protocolStatus ${protocolStatus}`)
    }
    const answer = parseCgiResponse(stdout.bytes())
    return {
      status: answer.status,
      headers: answer.headers,
      body: answer.body,
      broken: appStatus !== 0 || isCutShort(answer, request.method),
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

  /** An application closes without END_REQUEST to say that an answer which has begun is broken. */
  #breakOff(): void {
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
