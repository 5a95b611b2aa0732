/**
 * `SCGIHandler`: a process that answers a web server over SCGI, from the process's side.
 *
 * The protocol itself is in `src/protocol/scgi.ts`, without a socket. A connection carries one
 * request; the answer has the form of a CGI script's, and the end of the connection ends it.
 */
import { Buffer } from 'node:buffer'
import { createServer, type Socket } from 'node:net'
import { chunkLength } from '../src/response/body.ts'
import type { Part } from '../src/protocol/fastcgi.ts'
import { contentLength } from '../src/environ/environ.ts'
import { ErrorLog } from '../src/request/error-log.ts'
import { log, logEntry } from '../src/log.ts'
import { PeerError } from '../src/errors.ts'
import { emptySource, Input } from '../src/request/input.ts'
import {
  RequestReader,
  type SCGIFault,
  type SCGIOptions as ReaderOptions,
} from '../src/protocol/scgi.ts'
import { toApplication, type Runnable } from '../src/application/to-application.ts'
import { GatewayServer } from '../src/server/gateway-server.ts'
import { OPTIONS, type OptionsOf } from '../src/options.ts'
import {
  coarseTime,
  HEADERS_TIMEOUT,
  HIGH_WATER_MARK,
  MAX_PROBE_FACTOR,
} from '../src/server/deadlines.ts'
import { environFromHeaders } from '../src/environ/from-params.ts'
import { BodyQueue } from '../src/request/body-queue.ts'
import {
  breakOff,
  closeAfterResponse,
  drained,
  partOf,
  writeParts,
} from '../src/server/socket-writer.ts'
import { logWrongProtocol } from '../src/server/wrong-protocol.ts'
import type { Application, Chunk, Environ, ErrorStream, InputStream } from '../src/types.ts'
import { BaseHandler, type HandlerOptions, type MaybePromise } from './base.ts'

export interface SCGIOptions extends OptionsOf<'scgi'> {
  /** The class that runs a request; a subclass overrides the hooks of `BaseHandler`. */
  readonly requestHandler?: typeof SCGIRequestHandler | undefined
}

/** Bytes up to which a chunk is copied to the others: cheaper than a `writev` of all. */
const COPIED = 16_384

/** Characters that are put together at the most: a string has its limit, and is written as a copy. */
const MAX_TEXT = 1024 * 1024

/**
 * Serves an application over SCGI:
 *
 *     const server = await new SCGIHandler({ listen: 'unix:/run/app.sock' }).run(application)
 */
export class SCGIHandler {
  readonly options: SCGIOptions

  /** Without `listen` the socket is descriptor 0, as spawn-fcgi and lighttpd hand it over. */
  constructor(options: SCGIOptions = {}) {
    this.options = options
  }

  /**
   * Resolves when connections are accepted.
   *
   * @throws {ConfigurationError} if the options cannot work.
   */
  async run(application: Runnable): Promise<GatewayServer> {
    const { options } = this
    const { application: run } = await toApplication(application, options)
    const sockets = { allowHalfOpen: true }
    const {
      maxHeaderBytes = OPTIONS.maxHeaderBytes.default.scgi,
      maxHeaders = OPTIONS.maxHeaders.default.scgi,
    } = options
    const reading = { maxHeaderBytes, maxHeaders, decodeHeaders: environFromHeaders }
    return GatewayServer.start(createServer(sockets), options, {
      gateway: 'scgi',
      sockets,
      connect: (socket) => new Connection(socket, run, options, reading),
    })
  }
}

/** One socket, and the request on it. */
class Connection {
  readonly socket: Socket
  /** The body; null if there is none. */
  input: BodyQueue | null = null
  /** When this connection is given up: its request has not come. */
  deadline: number
  readonly #reader: RequestReader<Environ>
  readonly #application: Application
  readonly #options: SCGIOptions
  #request: SCGIRequestHandler | null = null
  /** All of the request has come. */
  #complete = false
  #answered = false

  get requests(): number {
    return this.#request !== null || this.#answered ? 1 : 0
  }

  /** What has come has to be copied to be kept. */
  #borrowed = false

  constructor(
    socket: Socket,
    application: Application,
    options: SCGIOptions,
    readerOptions: ReaderOptions<Environ>,
  ) {
    this.socket = socket
    this.#application = application
    this.#options = options
    this.#reader = new RequestReader(readerOptions)
    this.deadline = coarseTime() + (options.headersTimeout ?? HEADERS_TIMEOUT)
  }

  receiveEof(): void {
    if (this.#answered) return
    this.#reader.receiveEof()
    this.#pump()
    // A web server that closed its half may still read the answer.
    if (this.#request === null) this.socket.destroy()
    else this.#request.disconnected()
  }

  closed(): void {
    if (this.#answered) return
    this.input?.fail(new PeerError('PORTICO_DISCONNECTED', 'The web server went away'))
    this.#request?.abort()
  }

  receive(memory: Buffer, size: number, borrowed: boolean): void {
    if (this.#answered) return
    this.#borrowed = borrowed
    const chunk = memory.subarray(0, size)
    this.#reader.receive(chunk)
    this.#pump(chunk)
  }

  get receivesBody(): boolean {
    return this.input !== null && !this.#complete
  }

  /** Whatever has begun ends by itself: there is one answer on a connection. */
  end(): void {
    if (this.#reader.untouched) this.socket.destroy()
  }

  destroy(): void {
    this.socket.destroy()
  }

  look(): void {
    const { input, socket } = this
    if (input === null || !socket.isPaused()) return
    if (input.queued < MAX_PROBE_FACTOR * this.#highWaterMark()) socket.resume()
  }

  /** The application's answer has been written, or nothing more of it will come. */
  finished(complete: boolean): void {
    this.#answered = true
    this.#request = null
    if (complete) closeAfterResponse(this.socket, this.#complete)
    else breakOff(this.socket)
  }

  #pump(chunk?: Buffer): void {
    let begun: SCGIRequestHandler | null = null
    for (let event; (event = this.#reader.next()) !== null;) {
      switch (event.type) {
        case 'request': {
          this.deadline = Infinity
          if (event.contentLength > 0) this.input = new BodyQueue(() => this.#resume())
          const Request = this.#options.requestHandler ?? SCGIRequestHandler
          this.#request = begun = new Request(this, event.params, this.#options)
          break
        }
        case 'body':
          this.input!.push(this.#borrowed ? Buffer.from(event.data) : event.data)
          break
        case 'body-end':
          this.#complete = true
          this.input?.end()
          break
        case 'error':
          if (this.#request === null) this.#refuse(event.code, event.message, chunk)
          else this.input?.fail(new PeerError(event.code, event.message))
      }
    }
    if (this.input !== null && this.input.queued > this.#highWaterMark()) this.socket.pause()
    // After all that came with it: a request that is there to its last byte is answered cheaper.
    begun?.start(this.#application)
  }

  #highWaterMark(): number {
    return this.#options.highWaterMark ?? HIGH_WATER_MARK
  }

  #resume(): void {
    if (this.socket.isPaused() && this.input!.queued < this.#highWaterMark()) this.socket.resume()
  }

  /** Answers what is a request and not to be served; closes on anything else. */
  #refuse(code: SCGIFault, message: string, chunk?: Buffer): void {
    const first = chunk !== undefined && this.socket.bytesRead === chunk.length
    if (!first || !logWrongProtocol('scgi', chunk)) {
      logEntry(`SCGI: ${message}`)
    }
    const status = REFUSALS[code]
    if (status === undefined) {
      this.socket.destroy()
      return
    }
    this.#answered = true
    const body = `${status.slice(4)}\n`
    this.socket.write(
      `Status: ${status}\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    closeAfterResponse(this.socket, false)
  }
}

/**
 * What a client can bring about by what it sends. Anything else is the web server's fault: it says
 * 502 where nothing comes back, while a 400 would blame the client.
 */
const REFUSALS: Readonly<Partial<Record<SCGIFault, string>>> = {
  PORTICO_BAD_REQUEST: '400 Bad Request',
  PORTICO_TOO_LARGE: '431 Request Header Fields Too Large',
}

/** Runs an application for one SCGI request. */
export class SCGIRequestHandler extends BaseHandler {
  override gateway = 'scgi' as const
  override originServer = false
  readonly #connection: Connection
  #head = ''
  #parts: Part[] = []

  constructor(connection: Connection, environ: Environ, options: HandlerOptions) {
    super(options)
    this.#connection = connection
    this.environ = environ
  }

  /** They were put there as they were read. */
  override addCgiVars(): void {}

  override getStdin(): InputStream {
    return new Input(this.#connection.input ?? emptySource, contentLength(this.environ!))
  }

  override getStderr(): ErrorStream {
    return STDERR
  }

  override _writeHead(head: string): void {
    this.#head = head
  }

  override _write(chunk: Chunk, size = chunkLength(chunk)): void {
    this.#parts.push(partOf(chunk, size))
  }

  override _flush(): MaybePromise {
    // An answer in one piece needs no such call; one in pieces would wait for each to be
    // acknowledged (RFC 9293, section 3.7.4).
    const { socket } = this.#connection
    socket.setNoDelay(true)
    this.#send()
    return drained(socket)
  }

  override _end(complete: boolean): void {
    this.#send()
    this.#connection.finished(complete)
  }

  #send(): void {
    if (this.#head === '' && this.#parts.length === 0) return
    const parts: Part[] = []
    let text = this.#head
    for (const part of this.#parts) {
      if (typeof part !== 'string' && part.length > COPIED) {
        if (text !== '') parts.push(text)
        parts.push(part)
        text = ''
      } else {
        text += typeof part === 'string' ? part : part.toString('latin1')
        if (text.length < MAX_TEXT) continue
        parts.push(text)
        text = ''
      }
    }
    if (text !== '') parts.push(text)
    writeParts(this.#connection.socket, parts)
    this.#head = ''
    this.#parts = []
  }
}

const STDERR = new ErrorLog(log)
