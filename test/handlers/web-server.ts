/**
 * The gateways that a web server reaches over a socket with a protocol for CGI variables, and a web
 * server with one connection to each, which a test controls step by step.
 */
import { Buffer } from 'node:buffer'
import { connect, type Socket } from 'node:net'
import { FastCGIHandler, FastCGIRequestHandler } from '../../handlers/fastcgi.ts'
import { NodeFastCGIHandler, NodeFastCGIRequestHandler } from '../../handlers/node-fastcgi.ts'
import { SCGIHandler, SCGIRequestHandler } from '../../handlers/scgi.ts'
import { WebServerConnection } from '../../src/protocol/fastcgi-web-server.ts'
import { encodeRequest } from '../../src/protocol/scgi.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'

/** What a web server has received on one connection. */
export interface Received {
  /** The response in the format of CGI. */
  stdout: string
  /** What the application logged to the web server: '' over SCGI, which has no stream for it. */
  stderr: string
  /** 'complete', or what shows the web server that the response is not. */
  end: string
}

/** A web server with one connection, on which it sends one request. */
export interface WebServer {
  readonly socket: Socket
  /** Resolves when the connection is closed. */
  readonly closed: Promise<Received>
  /** The bytes of a head. */
  head(params?: Readonly<Record<string, string>>, length?: number): Buffer
  /** The bytes that carry a part of the body. */
  body(bytes: Buffer | string): Buffer
  /** The bytes after a body of the announced length. */
  bodyEnd(): Buffer
  /** Ends a body before the announced length. */
  endEarly(): void
}

/** A gateway, and what differs between them by design. */
export interface SocketGateway {
  readonly name: string
  readonly gateway: 'fastcgi' | 'scgi'
  readonly Handler: typeof FastCGIHandler | typeof NodeFastCGIHandler | typeof SCGIHandler
  /** The class of a request; the subclass sets MINE in the environ. */
  readonly extended: object
  /** Whether the log goes to the web server, and not to the stderr of the process. */
  readonly logsToWebServer: boolean
  /** CONTENT_LENGTH in the environ of a request without a body. */
  readonly noLength: string | undefined
  /** `end` of a response that is truncated after its head, and of one that was aborted before. */
  readonly truncated: string
  readonly aborted: string
  connect(server: GatewayServer): WebServer
}

const PARAMS = { REQUEST_METHOD: 'GET', REQUEST_URI: '/', SERVER_PROTOCOL: 'HTTP/1.1' }

/** Connects without sending anything. */
function open({ address }: GatewayServer, allowHalfOpen = false): Socket {
  if (address.kind === 'fd') throw new Error('No client can connect to a descriptor')
  const { path, host, port } = { path: undefined, host: undefined, port: 0, ...address }
  const target = path === undefined ? { host, port } : { path }
  const socket = connect({ ...target, allowHalfOpen })
  socket.on('error', () => {}) // 'close' follows.
  return socket
}

/** A web server that speaks FastCGI, without KEEP_CONN. */
export class FastCGIWebServer implements WebServer {
  readonly protocol = new WebServerConnection()
  readonly socket: Socket
  readonly closed: Promise<Received>
  readonly #received: Received = { stdout: '', stderr: '', end: 'closed without END_REQUEST' }

  constructor(server: GatewayServer) {
    this.socket = open(server)
    this.socket.on('data', (chunk: Buffer) => {
      this.protocol.receive(chunk)
      this.#pump()
    })
    this.closed = new Promise((resolve) => {
      this.socket.once('close', () => resolve(this.#received))
    })
  }

  head(
    params: Readonly<Record<string, string>> = {},
    length?: number,
    role?: number,
    keepConn = false,
  ): Buffer {
    const { protocol } = this
    // As nginx does for $content_length.
    const CONTENT_LENGTH = String(length ?? '')
    const pairs = Object.entries({ ...PARAMS, CONTENT_LENGTH, ...params })
    return Buffer.concat([protocol.begin(1, role, keepConn), ...protocol.params(1, pairs)])
  }

  body(bytes: Buffer | string): Buffer {
    return Buffer.concat(this.protocol.stdin(1, Buffer.from(bytes)))
  }

  bodyEnd(): Buffer {
    return this.protocol.endStdin(1)
  }

  endEarly(): void {
    this.socket.write(this.bodyEnd())
  }

  #pump(): void {
    const received = this.#received
    for (let event; (event = this.protocol.next()) !== null;) {
      if (event.type === 'stdout' || event.type === 'stderr') {
        received[event.type] += event.data.toString('latin1')
      } else if (event.type === 'end') {
        const status = `${event.protocolStatus} ${event.appStatus}`
        received.end = status === '0 0' ? 'complete' : `protocolStatus, appStatus: ${status}`
      } else if (event.type === 'error') received.end = event.message
    }
  }
}

/** The headers of an SCGI request. */
export function scgiHead(params: Readonly<Record<string, string>> = {}, length = 0): Buffer {
  return encodeRequest(Object.entries({ ...PARAMS, ...params }).flat(), length)
}

/** A web server that speaks SCGI. */
export class SCGIWebServer implements WebServer {
  readonly socket: Socket
  readonly closed: Promise<Received>

  constructor(server: GatewayServer) {
    this.socket = open(server, true)
    const received: Received = { stdout: '', stderr: '', end: 'complete' }
    this.socket.on('data', (chunk: Buffer) => (received.stdout += chunk.toString('latin1')))
    this.socket.on('error', ({ code }: NodeJS.ErrnoException) => (received.end = String(code)))
    this.socket.on('end', () => this.socket.end())
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve(received)))
  }

  head(params?: Readonly<Record<string, string>>, length?: number): Buffer {
    return scgiHead(params, length)
  }

  body(bytes: Buffer | string): Buffer {
    return Buffer.from(bytes)
  }

  bodyEnd(): Buffer {
    return Buffer.alloc(0)
  }

  endEarly(): void {
    this.socket.end()
  }
}

export const socketGateways: readonly SocketGateway[] = [
  {
    name: 'FastCGI',
    gateway: 'fastcgi',
    Handler: FastCGIHandler,
    extended: class extends FastCGIRequestHandler {
      override addCgiVars(): void {
        super.addCgiVars()
        this.environ!['MINE'] = 'added'
      }
    },
    logsToWebServer: true,
    noLength: undefined,
    truncated: 'closed without END_REQUEST',
    aborted: 'closed without END_REQUEST',
    connect: (server) => new FastCGIWebServer(server),
  },
  {
    name: 'node-fastcgi',
    gateway: 'fastcgi',
    Handler: NodeFastCGIHandler,
    extended: class extends NodeFastCGIRequestHandler {
      override addCgiVars(): void {
        super.addCgiVars()
        this.environ!['MINE'] = 'added'
      }
    },
    logsToWebServer: true,
    noLength: undefined,
    // The package always sends END_REQUEST.
    truncated: 'protocolStatus, appStatus: 0 1',
    aborted: 'closed without END_REQUEST',
    connect: (server) => new FastCGIWebServer(server),
  },
  {
    name: 'SCGI',
    gateway: 'scgi',
    Handler: SCGIHandler,
    extended: class extends SCGIRequestHandler {
      override addCgiVars(): void {
        super.addCgiVars()
        this.environ!['MINE'] = 'added'
      }
    },
    logsToWebServer: false,
    noLength: '0',
    // The only sign that SCGI has, and TCP alone. A response without a head needs none.
    truncated: 'ECONNRESET',
    aborted: 'complete',
    connect: (server) => new SCGIWebServer(server),
  },
]
