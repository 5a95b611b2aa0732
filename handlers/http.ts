/**
 * `HTTPHandler`: an HTTP/1.1 server of its own, from the server's side.
 *
 * `node:http` does the parsing; its parser stays strict, and what it lets through although it has
 * two readings is refused here. Nothing that a client sends becomes REMOTE_USER or the like.
 */
import { Buffer } from 'node:buffer'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { chunkLength } from '../src/response/body.ts'
import { contentLength } from '../src/environ/environ.ts'
import { log } from '../src/log.ts'
import { ErrorLog } from '../src/request/error-log.ts'
import { PeerError } from '../src/errors.ts'
import { emptySource, Input, type ByteSource } from '../src/request/input.ts'
import { refusalStatus, type ParserError } from '../src/protocol/http-refusal.ts'
import { decodePath } from '../src/environ/decode-path.ts'
import { toApplication, type Runnable } from '../src/application/to-application.ts'
import { checkOptions } from '../src/check-options.ts'
import { OPTIONS, type OptionsOf } from '../src/options.ts'
import { GatewayServer, type Connection } from '../src/server/gateway-server.ts'
import {
  HEADERS_TIMEOUT,
  HIGH_WATER_MARK,
  IDLE_TIMEOUT,
  MAX_PROBE_FACTOR,
  SWEEP_TIME,
} from '../src/server/deadlines.ts'
import { queueFromStream } from '../src/request/body-queue.ts'
import { addHeaders, hasBody, plainAddress } from '../src/environ/from-http.ts'
import { createPreallocatedEnviron } from '../src/environ/known-variables.ts'
import { closeAfterResponse } from '../src/server/closing.ts'
import { drained } from '../src/server/socket-writer.ts'
import { logWrongProtocol } from '../src/server/wrong-protocol.ts'
import type {
  Application,
  Body,
  Chunk,
  Environ,
  ErrorStream,
  HeaderList,
  InputStream,
  StartResponse,
} from '../src/types.ts'
import { BaseHandler, type MaybePromise } from './base.ts'

export interface HTTPOptions extends OptionsOf<'http'> {
  /** The class that runs a request; a subclass overrides the hooks of `BaseHandler`. */
  readonly requestHandler?: typeof HTTPRequestHandler | undefined
}

/**
 * Requests of one connection above which it is not read, and those that have come wait, until the
 * first are answered. Browsers send one at a time, clients that pipeline a few; Node would start as
 * many as come, and there are a thousand in each piece that it reads.
 */
const MAX_PIPELINED = 64
/** What a client may still send behind a head that is refused, and be sure to get the answer. */
const MAX_DISCARDED = 1024 * 1024
/** How long, in ms, an unread body is read and thrown away before its connection is closed. */
const LINGER = 2_000

/** Serves an application over HTTP/1.1. */
export class HTTPHandler {
  readonly options: HTTPOptions

  /** Without `listen` the port is 8000 on 127.0.0.1. */
  constructor(options: HTTPOptions = {}) {
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
    checkOptions('http', options) // Node's own errors for them name other options.
    const server = createServer({
      maxHeaderSize: options.maxHeaderBytes ?? OPTIONS.maxHeaderBytes.default.http,
      headersTimeout: zeroIfNone(options.headersTimeout ?? HEADERS_TIMEOUT),
      connectionsCheckingInterval: SWEEP_TIME,
      keepAliveTimeout: zeroIfNone(options.idleTimeout ?? IDLE_TIMEOUT),
      requestTimeout: 0, // An upload may take as long as it takes.
      noDelay: true,
      insecureHTTPParser: false,
    })
    if (options.maxRequestsPerConnection)
      server.maxRequestsPerSocket = options.maxRequestsPerConnection
    server.maxHeadersCount = 0 // Node drops what is over; `addHeaders` refuses it.
    // A client that has closed its half still reads (RFC 9112, section 9.6).
    Object.assign(server, { httpAllowHalfOpen: true })
    const Handler = options.requestHandler ?? HTTPRequestHandler
    function answer(request: IncomingMessage, response: ServerResponse, waits: boolean): void {
      if (!request.socket.writable) return // Sent behind the last one that is answered.
      const handler = new Handler(request, response, options)
      handler.clientWaits = waits
      connectionOf(request.socket)?.begin(handler)
    }
    server.on('request', (request, response) => answer(request, response, false))
    // The application says 'go on' by reading (RFC 9110, section 10.1.1).
    server.on('checkContinue', (request, response) => answer(request, response, true))
    server.on('clientError', (error, socket) => connectionOf(socket as Socket)?.refuse(error))
    return GatewayServer.start(server, options, {
      gateway: 'http',
      connect: (socket) => {
        const connection = new HTTPConnection(socket, run, options.maxRequestsPerConnection)
        Object.assign(socket, { [CONNECTION]: connection })
        return connection
      },
    })
  }
}

/** Where a socket has its connection: a WeakMap is dear to collect, with many that come and go. */
const CONNECTION = Symbol('portico.connection')

function connectionOf(socket: Socket & { [CONNECTION]?: HTTPConnection }) {
  return socket[CONNECTION]
}

/** To Node's timeouts 0 is no limit, and Infinity nothing. */
function zeroIfNone(time: number): number {
  return time === Infinity ? 0 : time
}

/** One socket: knows which requests are being answered, and can be closed behind the last. */
class HTTPConnection implements Connection {
  readonly #socket: Socket
  /** More than one where a client sends the next request before it has the answer. */
  #handlers: HTTPRequestHandler[] = []
  /** Those of them that are too many to have been started. */
  readonly #waiting = new Set<HTTPRequestHandler>()
  /** What had been read when the last answer was over; more is the beginning of a request. */
  #read = 0
  #ending = false
  #full = false
  #begun = 0
  /** What had been read when it was refused; Infinity before. */
  #refused = Infinity
  readonly #application: Application
  readonly #maxRequests: number | undefined

  constructor(socket: Socket, application: Application, maxRequests: number | undefined) {
    this.#socket = socket
    this.#application = application
    this.#maxRequests = maxRequests
    socket.on('end', () => {
      for (const handler of this.#handlers.slice()) handler.disconnected()
    })
  }

  /** A client that waits for '100 Continue' is not late. */
  get receivesBody(): boolean {
    const last = this.#handlers.at(-1)
    return last !== undefined && !last.request.complete && !last.clientWaits
  }

  get idle(): boolean {
    return this.#handlers.length === 0
  }

  get requests(): number {
    return this.#begun
  }

  begin(handler: HTTPRequestHandler): void {
    const { response } = handler
    this.#handlers.push(handler)
    // Node says 'close' at that number, and leaves it to the client.
    const last = ++this.#begun === this.#maxRequests || this.#ending
    // HTTP/1.0 has no kept connections but by an extension that proxies got wrong (RFC 9112, C.2.2).
    if (last || handler.request.httpVersion === '1.0') response.shouldKeepAlive = false
    const tooMany = this.#handlers.length > MAX_PIPELINED
    if (tooMany && !this.#full) {
      this.#full = true
      this.#pauseLater()
    }
    handler.connection = this
    if (tooMany) this.#waiting.add(handler)
    else handler.start(this.#application)
  }

  /** Node reads on at the end of each request; this comes after the last of those that have come. */
  #pauseLater(): void {
    setImmediate(() => this.#full && this.#socket.pause())
  }

  /** The answer is over. */
  finished(handler: HTTPRequestHandler): void {
    if (this.#handlers[0] === handler) this.#handlers.shift()
    else this.#handlers = this.#handlers.filter((other) => other !== handler)
    this.#read = this.#socket.bytesRead
    if (this.#full && this.#handlers.length <= MAX_PIPELINED) {
      this.#full = false
      this.#socket.resume()
    }
    if (this.#waiting.size > 0) this.#startNext(handler)
    if (this.#ending && this.#handlers.length === 0) this.#socket.end()
  }

  #startNext(finished: HTTPRequestHandler): void {
    this.#waiting.delete(finished)
    // None behind the last answer of a connection that ends.
    if (!this.#socket.writable) this.#waiting.clear()
    for (const next of this.#waiting) {
      this.#waiting.delete(next)
      next.start(this.#application)
      break
    }
  }

  end(): void {
    this.#ending = true
    for (const { response } of this.#handlers) response.shouldKeepAlive = false
    if (this.#handlers.length === 0 && this.#socket.bytesRead === this.#read) this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  probePeer(): void {
    for (const handler of this.#handlers) handler.probePeer()
    if (!this.#full || this.#handlers.length >= MAX_PROBE_FACTOR * MAX_PIPELINED) return
    if (!this.#handlers.at(-1)!.request.complete) return // It has just looked for itself.
    this.#socket.resume()
    this.#pauseLater()
  }

  /** Node tells it to the one response only whose turn it is. */
  closed(): void {
    this.#waiting.clear()
    for (const handler of this.#handlers.slice()) handler.abort()
  }

  /** Node's parser, or its clock, has given up what came; it says so for every further piece. */
  refuse(error: ParserError): void {
    const socket = this.#socket
    if (socket.bytesRead >= this.#refused + MAX_DISCARDED) socket.destroy()
    if (this.#refused !== Infinity) return
    this.#refused = socket.bytesRead
    const { rawPacket } = error
    if (rawPacket?.length === socket.bytesRead) logWrongProtocol('http', rawPacket)
    const answering = this.#handlers.some(({ response }) => response.headersSent)
    if (socket.writable && !answering) {
      socket.write(`HTTP/1.1 ${refusalStatus(error)}\r\nConnection: close\r\n\r\n`)
    }
    // A request whose body is no good is aborted. Otherwise the client may be writing still.
    if (!socket.writable || this.#handlers.length > 0) socket.destroy()
    else closeAfterResponse(socket, false)
  }
}

/** Runs an application for one HTTP request. */
export class HTTPRequestHandler extends BaseHandler {
  override httpVersion = '1.1'
  override gateway = 'http' as const
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** The client sends its body only when it has a 100 (Continue); never one of HTTP/1.0. */
  clientWaits = false
  /** Where there is one of ours, what has to know when the answer is over. */
  connection: HTTPConnection | null = null
  readonly #maxHeaders: number
  readonly #highWaterMark: number
  #pending: Chunk | null = null

  constructor(request: IncomingMessage, response: ServerResponse, options: HTTPOptions = {}) {
    super(options)
    this.request = request
    this.response = response
    this.environ = createPreallocatedEnviron()
    this.#maxHeaders = options.maxHeaders ?? OPTIONS.maxHeaders.default.http
    this.#highWaterMark = options.highWaterMark ?? HIGH_WATER_MARK
    this.serverSoftware = options.serverSoftware === undefined ? 'Portico' : options.serverSoftware
    response.on('close', () => {
      if (!response.writableFinished) this.abort()
      this.connection?.finished(this)
    })
  }

  /** Has a piece of the body read that nobody takes at present. */
  probePeer(): void {
    const { request } = this
    if (request.complete || request.readableFlowing) return
    // What makes Node read the socket on, though the stream has enough (Node 20 to 26).
    if (request.readableLength < MAX_PROBE_FACTOR * this.#highWaterMark) request._read(0)
  }

  /** Every CGI variable that the connection and the head of the request give. */
  override addCgiVars(): void {
    const { request } = this
    const environ = this.environ!
    const { socket } = request
    const target = request.url ?? '/'
    const hash = target.indexOf('#')
    const mark = target.indexOf('?')
    environ.REQUEST_METHOD = request.method ?? 'GET'
    environ.SCRIPT_NAME = ''
    environ.PATH_INFO = decodePath(target)
    environ.QUERY_STRING =
      mark < 0 || (hash >= 0 && hash < mark)
        ? ''
        : target.slice(mark + 1, hash < 0 ? undefined : hash)
    environ['REQUEST_URI'] = target
    environ.SERVER_PROTOCOL = `HTTP/${request.httpVersion}`
    environ.SERVER_NAME = plainAddress(socket.localAddress) || 'localhost'
    environ.SERVER_PORT = String(socket.localPort ?? '80')
    if (socket.remoteAddress !== undefined) {
      environ['REMOTE_ADDR'] = plainAddress(socket.remoteAddress)
      environ['REMOTE_PORT'] = String(socket.remotePort)
    } else if (socket.destroyed || socket.localAddress !== undefined) {
      // A connection that was reset behind its request has no peer any more, unlike a Unix socket,
      // which never has an address: whoever does so must not be served without one.
      throw new PeerError('PORTICO_DISCONNECTED', 'The client went away')
    }
    environ['GATEWAY_INTERFACE'] = 'CGI/1.1'
    if ('encrypted' in socket) environ['HTTPS'] = 'on'
    if (request.httpVersionMajor > 1) {
      const message = `A version that is not spoken here: ${request.httpVersion}`
      throw new PeerError('PORTICO_BAD_REQUEST', message, '505 HTTP Version Not Supported')
    }
    addHeaders(environ, request, this.#maxHeaders)
    const authority = target.startsWith('/') ? undefined : AUTHORITY.exec(target)?.[1]
    if (authority === undefined) return
    // RFC 9110, sections 4.2.1 and 4.2.4.
    if (authority === '' || authority.includes('@')) {
      throw new PeerError('PORTICO_BAD_REQUEST', 'The target names no host, or a user with it')
    }
    // RFC 9112, section 3.2.2: what the target says counts, not what Host says.
    environ['HTTP_HOST'] = authority
  }

  /** Where the next request begins is in doubt behind one that cannot be served. */
  override errorOutput(environ: Environ, startResponse: StartResponse, error: unknown): Body {
    if (error instanceof PeerError) this.response.shouldKeepAlive = false
    return super.errorOutput(environ, startResponse, error)
  }

  /** Tells a client that expects it to send the body (RFC 9110, section 10.1.1). */
  #continue(): void {
    this.clientWaits = false
    this.response.writeContinue()
  }

  override getStdin(): InputStream {
    const { request } = this
    if (!hasBody(request)) return new Input(emptySource, 0)
    const source = queueFromStream(request, this.#highWaterMark)
    return new Input(
      this.clientWaits ? afterContinue(source, () => this.#continue()) : source,
      contentLength(this.environ!) ?? Infinity,
    )
  }

  override getStderr(): ErrorStream {
    return STDERR
  }

  override sendHeaders(): void {
    this.cleanupHeaders()
    this.headersSent = true
    const { response } = this
    const status = this.status!
    response.sendDate = false
    // A final answer of 1xx leaves a client waiting for another one.
    if (status.startsWith('1')) response.shouldKeepAlive = false
    const list = this.originHeaders()
    for (const header of this.headers!) list.push(header)
    this._setHead(Number(status.slice(0, 3)), status.slice(4), list)
  }

  /** Hands the head to Node. */
  _setHead(code: number, reason: string, headers: HeaderList): void {
    const list: string[] = []
    for (const [name, value] of headers) list.push(name, value)
    this.response.writeHead(code, reason, list)
  }

  override _write(chunk: Chunk, size = chunkLength(chunk)): void {
    if (this.#pending !== null) this.response.write(this.#pending, 'latin1')
    // Node sends a head and a first chunk that is a string as one string, in one encoding. The head
    // is of bytes, and so is a text that has as many of them as it has characters.
    this.#pending = typeof chunk === 'string' && chunk.length < size ? Buffer.from(chunk) : chunk
  }

  override _flush(): MaybePromise {
    const { response } = this
    if (this.#pending !== null) response.write(this.#pending, 'latin1')
    // An empty chunk comes through here before there is a head.
    else if (this.headersSent) flushHead(response)
    this.#pending = null
    return drained(response)
  }

  override _end(complete: boolean): void {
    const { request, response } = this
    const { socket } = request
    const unread = !request.complete && hasBody(request)
    // What Node calls behind a last answer: it would close on bytes that are still coming.
    if (unread) socket.destroySoon = () => closeAfterResponse(socket, false)
    if (complete) {
      if (this.#pending === null) response.end()
      else response.end(this.#pending, 'latin1')
    } else {
      if (this.#pending !== null) response.write(this.#pending, 'latin1')
      else if (this.headersSent) flushHead(response)
      // Without the end of the body the client knows that there should be more; but the answers to
      // earlier requests go first.
      // Node 26 sends what is written in a turn at the end of it.
      const close = () => setImmediate(() => socket.destroySoon())
      if (response.socket !== null) close()
      else response.once('socket', close)
    }
    this.#pending = null
    if (!unread) return
    request.removeAllListeners('data').resume()
    // Behind the answer: a client may read that slowly before it sends the rest.
    response.once('finish', () => {
      const timer = setTimeout(() => socket.destroy(), LINGER)
      request.once('close', () => clearTimeout(timer))
    })
  }
}

const STDERR = new ErrorLog(log)

/** Sends a head that goes alone. Node's `flushHeaders()` does just this, but in UTF-8 (20 to 26). */
function flushHead(response: ServerResponse & { _send?(data: string, encoding: string): void }) {
  if (response._send && response.headersSent) response._send('', 'latin1')
  else response.flushHeaders()
}

const AUTHORITY = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i

/** Calls `goOn` before the body is read for the first time. */
function afterContinue(source: ByteSource, goOn: () => void): ByteSource {
  let waiting = true
  return {
    read(size) {
      if (waiting) goOn()
      waiting = false
      return source.read(size)
    },
  }
}
