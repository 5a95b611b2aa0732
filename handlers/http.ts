/**
 * `HTTPHandler`: an HTTP/1.1 server. `node:http` parses the requests, and this file refuses the
 * ambiguous ones that it accepts. Nothing that a client sends becomes REMOTE_USER or a similar
 * variable.
 */
import { Buffer } from 'node:buffer'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { nodeOriginOf, type NodeOrigin } from '../src/application/adapted.ts'
import { chunkLength } from '../src/response/body.ts'
import { contentLength } from '../src/environ/environ.ts'
import { log } from '../src/log.ts'
import { ErrorLog } from '../src/request/error-log.ts'
import { PeerError } from '../src/errors.ts'
import { afterContinue, emptySource, Input } from '../src/request/input.ts'
import { toApplication, type Runnable } from '../src/application/to-application.ts'
import { checkOptions } from '../src/options/check.ts'
import { OPTIONS, type OptionsOf } from '../src/options/table.ts'
import { withMultiprocess } from '../src/server/multiprocess.ts'
import { GatewayServer } from '../src/server/gateway-server.ts'
import { createHTTPServer } from '../src/server/http-server.ts'
import { isTrailer } from '../src/response/head.ts'
import { HIGH_WATER_MARK } from '../src/server/deadlines.ts'
import { queueFromStream } from '../src/request/body-queue.ts'
import { addHTTPVariables, hasBody } from '../src/environ/from-http.ts'
import { createPreallocatedEnviron } from '../src/environ/known-variables.ts'
import { allowHalfOpen, flushHead } from '../src/node-internals/http-server.ts'
import { connectionOf, HTTPConnection, type HTTPExchange } from '../src/server/connections/http.ts'
import { serveDirectly } from '../src/server/connections/direct-request.ts'
import { readAhead, receiveRest } from '../src/server/connections/unread-body.ts'
import { drained } from '../src/server/socket-writer.ts'
import { WriteBatch } from '../src/server/write-batch.ts'
import type {
  Application,
  Body,
  Chunk,
  Environ,
  ErrorStream,
  HeaderList,
  InputStream,
  MaybePromise,
  StartResponse,
} from '../src/types.ts'
import { BaseHandler } from './base.ts'

export interface HTTPOptions extends OptionsOf<'http'> {
  /** The class that runs a request; a subclass overrides the hooks of `BaseHandler`. */
  readonly requestHandler?: typeof HTTPRequestHandler | undefined
}

export class HTTPHandler {
  readonly options: HTTPOptions

  /** Without `listen` the port is 8000 on 127.0.0.1. */
  constructor(options: HTTPOptions = {}) {
    this.options = options
  }

  /**
   * Resolves when connections are accepted. An application of node:http gets Node's own requests
   * and responses, unless `requestHandler` is set.
   *
   * @throws {ConfigurationError} if the options cannot work.
   */
  async run(application: Runnable): Promise<GatewayServer> {
    const options = withMultiprocess(this.options)
    const { application: run } = await toApplication(application, options)
    checkOptions('http', options) // Node's own errors would name Node's options.
    const server = createHTTPServer(options)
    const origin = options.requestHandler ? undefined : nodeOriginOf(run)
    if (origin) await this.#serveDirectly(server, origin, options)
    else this.#serve(server, run, options)
    return GatewayServer.start(server, options, {
      gateway: 'http',
      connect: (socket) => new HTTPConnection(socket, options, () => this.finished()),
    })
  }

  /** Called when a response has closed, complete or not. */
  finished(): void {}

  #serve(server: Server, application: Application, options: HTTPOptions): void {
    allowHalfOpen(server)
    const Handler = options.requestHandler ?? HTTPRequestHandler
    const batch = new WriteBatch()
    function begin(request: IncomingMessage, response: ServerResponse, waits: boolean): void {
      if (!request.socket.writable) return // The last response of the connection has been sent.
      const handler = new Handler(request, response, options)
      handler.clientWaits = waits
      handler.application = application
      handler.batch = batch
      connectionOf(request.socket)?.begin(handler)
    }
    server.on('request', (request, response) => begin(request, response, false))
    // The server says 'go on' when the application reads (RFC 9110, section 10.1.1).
    server.on('checkContinue', (request, response) => begin(request, response, true))
  }

  async #serveDirectly(server: Server, origin: NodeOrigin, options: HTTPOptions): Promise<void> {
    const { targetOf } = await import('../src/environ/request-target.ts')
    serveDirectly(server, origin, {
      maxHeaders: options.maxHeaders ?? OPTIONS.maxHeaders.default.http,
      highWaterMark: options.highWaterMark ?? HIGH_WATER_MARK,
      responseTimeout: options.responseTimeout ?? 0,
      mounted: options.scriptName !== undefined || options.pathInfo === 'from-uri',
      targetOf,
      newHandler: (request, response) => new HTTPRequestHandler(request, response, options),
    })
  }
}

/** Runs an application for one HTTP request. */
export class HTTPRequestHandler extends BaseHandler implements HTTPExchange {
  override httpVersion = '1.1'
  override gateway = 'http' as const
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** The client waits for a 100 (Continue) before it sends the body. Never true for HTTP/1.0. */
  clientWaits = false
  /** What `begin` runs; a server sets it. */
  application: Application | null = null
  /** Sends the ends of responses together; a server sets it. */
  batch: WriteBatch | null = null
  readonly #maxHeaders: number
  readonly #highWaterMark: number
  #input: Input | null = null
  #pending: Chunk | null = null

  constructor(request: IncomingMessage, response: ServerResponse, options: HTTPOptions = {}) {
    super(options)
    this.request = request
    this.response = response
    this.environ = createPreallocatedEnviron()
    this.#maxHeaders = options.maxHeaders ?? OPTIONS.maxHeaders.default.http
    this.#highWaterMark = options.highWaterMark ?? HIGH_WATER_MARK
    this.serverSoftware = options.serverSoftware === undefined ? 'Portico' : options.serverSoftware
  }

  begin(): void {
    this.start(this.application!)
  }

  finished(): void {}

  probePeer(): void {
    readAhead(this.request, this.#highWaterMark)
  }

  override addCgiVars(): void {
    addHTTPVariables(this.environ!, this.request, this.#maxHeaders)
  }

  /** Closes the connection after an invalid request: the start of the next one is not certain. */
  override errorOutput(environ: Environ, startResponse: StartResponse, error: unknown): Body {
    if (error instanceof PeerError) this.response.shouldKeepAlive = false
    return super.errorOutput(environ, startResponse, error)
  }

  /** Asks the client for the body (RFC 9110, section 10.1.1). */
  #continue(): void {
    this.clientWaits = false
    // After the head, a 100 would become part of the response's body.
    if (!this.response.headersSent) this.response.writeContinue()
  }

  override getStdin(): InputStream {
    const { request } = this
    if (!hasBody(request)) return new Input(emptySource, 0)
    const source = queueFromStream(request, this.#highWaterMark, () => {
      return request.socket.destroyed && !request.complete
    })
    return (this.#input = new Input(
      this.clientWaits ? afterContinue(source, () => this.#continue()) : source,
      contentLength(this.environ!) ?? Infinity,
    ))
  }

  override getStderr(): ErrorStream {
    return STDERR
  }

  override sendHeaders(): void {
    this.cleanupHeaders()
    const { response } = this
    const status = this.status!
    response.sendDate = false
    // After a 1xx status the client waits for a final response.
    if (status.startsWith('1')) response.shouldKeepAlive = false
    const list = this.originHeaders()
    // `Trailer` announces trailers, which an application cannot send; Node refuses it.
    for (const header of this.headers!) if (!isTrailer(header[0])) list.push(header)
    this._setHead(Number(status.slice(0, 3)), status.slice(4), list)
    this.headersSent = true
  }

  _setHead(code: number, reason: string, headers: HeaderList): void {
    const list: string[] = []
    for (const [name, value] of headers) list.push(name, value)
    this.response.writeHead(code, reason, list)
  }

  override _write(chunk: Chunk, size = chunkLength(chunk)): void {
    if (this.#pending !== null) this.response.write(this.#pending, 'latin1')
    // Node joins the head and a string chunk into one string, in the encoding of the chunk. A string
    // with as many bytes as characters is ASCII, which latin1 does not change.
    this.#pending = typeof chunk === 'string' && chunk.length < size ? Buffer.from(chunk) : chunk
  }

  override _flush(): MaybePromise {
    const { response } = this
    if (this.#pending !== null) response.write(this.#pending, 'latin1')
    // The application may have sent an empty chunk before the head exists.
    else if (this.headersSent) flushHead(response)
    this.#pending = null
    return drained(response)
  }

  override _end(complete: boolean): void {
    const { request, response } = this
    // The parser may not have noticed yet that a body which has been read is complete.
    const unread = !request.complete && hasBody(request) && this.#input?.unread !== 0
    if (unread) receiveRest(request, response, this.#input)
    if (complete) {
      // If the rest of the body is invalid, Node closes the connection before the end of this turn.
      // And no other response joins the last one of a connection.
      const now = unread || !response.shouldKeepAlive
      if (this.batch === null || now) this.sendBatched()
      else this.batch.add(this)
    } else {
      if (this.#pending !== null) response.write(this.#pending, 'latin1')
      else if (this.headersSent) flushHead(response)
      // Closing before the end of the body shows the client that the response is incomplete. It must
      // wait for the responses to earlier requests, and Node 26 sends writes at the end of a turn.
      const close = () => setImmediate(() => request.socket.destroySoon())
      if (response.socket !== null) close()
      else response.once('socket', close)
    }
  }

  /** Sends the end of a complete response. */
  sendBatched(): void {
    this.response.end(this.#pending ?? '', 'latin1')
  }
}

const STDERR = new ErrorLog(log)
