/**
 * A gateway of your own: serves an application over uwsgi, the protocol of nginx's `uwsgi_pass`.
 *
 * A request is a packet of variables, followed by CONTENT_LENGTH bytes of body. The response looks
 * like that of a CGI script and ends with the connection.
 */
import { Buffer } from 'node:buffer'
import { createServer, type Socket } from 'node:net'
import {
  type Application,
  BaseHandler,
  BodyQueue,
  type Chunk,
  closeAfterResponse,
  coarseTime,
  type Connection,
  contentLength,
  createEnviron,
  drained,
  emptySource,
  type Environ,
  ErrorLog,
  GatewayServer,
  type HandlerOptions,
  Input,
  type MaybePromise,
  PeerError,
  type Runnable,
  type ServerOptions,
  setVariable,
  toApplication,
} from 'portico/gateway'

export interface UwsgiOptions extends HandlerOptions, ServerOptions {}

/** `await new UwsgiHandler({ listen: 'unix:/run/app.sock' }).run(application)` */
export class UwsgiHandler {
  readonly options: UwsgiOptions

  constructor(options: UwsgiOptions = {}) {
    this.options = options
  }

  async run(candidate: Runnable): Promise<GatewayServer> {
    const { application } = await toApplication(candidate, this.options)
    return GatewayServer.start(createServer({ allowHalfOpen: true }), this.options, {
      gateway: { label: 'uwsgi', listen: '127.0.0.1:3031' },
      connect: (socket) => new UwsgiConnection(socket, application, this.options),
    })
  }
}

/** Milliseconds that the packet of variables may take. */
const PACKET_TIMEOUT = 30_000

/** Bytes of a body that may wait before the socket is paused. */
const HIGH_WATER_MARK = 262_144

/** The size of a packet's header: modifier 1, the size of the variables (two bytes), modifier 2. */
const HEADER_SIZE = 4

/** One connection carries one request. */
class UwsgiConnection implements Connection {
  readonly socket: Socket
  deadline = coarseTime() + PACKET_TIMEOUT
  readonly #application: Application
  readonly #options: UwsgiOptions
  #packet: Buffer = Buffer.alloc(0)
  #request: UwsgiRequestHandler | null = null
  #body: BodyQueue | null = null
  /** Bytes of the body that have not arrived. */
  #missing = 0

  constructor(socket: Socket, application: Application, options: UwsgiOptions) {
    this.socket = socket
    this.#application = application
    this.#options = options
    socket.on('data', (bytes) => {
      if (this.#request === null) this.#readPacket(bytes)
      else this.#readBody(bytes)
    })
    socket.on('end', () => {
      if (this.#request === null) socket.destroy()
    })
  }

  /** The server is shutting down. A request in progress closes the connection when it is done. */
  end(): void {
    if (this.#request === null) this.socket.destroy()
  }

  destroy(): void {
    this.socket.destroy()
  }

  closed(): void {
    this.#body?.fail(new PeerError('PORTICO_DISCONNECTED', 'The web server closed the connection'))
    this.#request?.abort()
  }

  /** The response has been written, as far as there will be one. */
  finish(complete: boolean): void {
    this.#body = null // What still arrives of it is discarded.
    if (complete) closeAfterResponse(this.socket, this.#missing === 0)
    else if (this.socket.remoteAddress === undefined) this.socket.destroy()
    else this.socket.resetAndDestroy() // Over TCP the web server sees that something is missing.
  }

  #readPacket(bytes: Buffer): void {
    this.#packet = Buffer.concat([this.#packet, bytes])
    if (this.#packet.length < HEADER_SIZE) return
    const end = HEADER_SIZE + this.#packet.readUInt16LE(1)
    // Modifier 1 is 0 for a request; any other value is another protocol.
    if (this.#packet[0] !== 0) this.socket.destroy()
    else if (this.#packet.length >= end) this.#start(end)
  }

  #start(end: number): void {
    this.deadline = Infinity
    const environ = createEnviron()
    for (const [name, value] of variables(this.#packet.subarray(HEADER_SIZE, end))) {
      setVariable(environ, name, value)
    }
    // A value that is not a number is refused by the handler, with a 400.
    this.#missing = contentLength(environ) || 0
    if (this.#missing > 0) {
      this.#body = new BodyQueue({
        bodyTaken: ({ queued }) => {
          if (queued < HIGH_WATER_MARK) this.socket.resume()
        },
      })
    }
    this.#request = new UwsgiRequestHandler(this, environ, this.#body, this.#options)
    this.#readBody(this.#packet.subarray(end))
    this.#request.start(this.#application)
  }

  #readBody(bytes: Buffer): void {
    const body = bytes.subarray(0, this.#missing)
    if (this.#body === null || body.length === 0) return
    this.#missing -= body.length
    this.#body.push(body)
    if (this.#missing === 0) this.#body.end()
    else if (this.#body.queued >= HIGH_WATER_MARK) this.socket.pause()
  }
}

/** The pairs of a packet as byte strings; each name and value follows its size in two bytes. */
function* variables(packet: Buffer): Generator<[name: string, value: string]> {
  let position = 0
  const next = (): string => {
    const size = position + 2 <= packet.length ? packet.readUInt16LE(position) : 0
    position += 2 + size
    return packet.toString('latin1', position - size, position)
  }
  while (position < packet.length) yield [next(), next()]
}

/** Runs the application for one request. */
class UwsgiRequestHandler extends BaseHandler {
  override gateway = 'uwsgi'
  override originServer = false
  readonly #connection: UwsgiConnection
  readonly #body: BodyQueue | null

  constructor(
    connection: UwsgiConnection,
    environ: Environ,
    body: BodyQueue | null,
    options: HandlerOptions,
  ) {
    super(options)
    this.environ = environ
    this.#connection = connection
    this.#body = body
  }

  /** `environ` already holds the variables. */
  override addCgiVars(): void {}

  override getStdin(): Input {
    return new Input(this.#body ?? emptySource, contentLength(this.environ!))
  }

  override getStderr(): ErrorLog {
    return new ErrorLog((text) => process.stderr.write(text))
  }

  override _write(chunk: Chunk): void {
    this.#connection.socket.write(chunk)
  }

  override _flush(): MaybePromise {
    return drained(this.#connection.socket)
  }

  override _end(complete: boolean): void {
    this.#connection.finish(complete)
  }
}
