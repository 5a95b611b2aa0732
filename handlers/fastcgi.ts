/**
 * `FastCGIHandler`: a process that serves a web server over FastCGI 1.0.
 *
 * The protocol is in `src/protocol/`, without a socket, and a connection in
 * `src/server/connections/fastcgi.ts`.
 */
import { createServer } from 'node:net'
import { webServerAddresses } from '../src/address-list.ts'
import { toApplication, type Runnable } from '../src/application/to-application.ts'
import { contentLength } from '../src/environ/environ.ts'
import { log } from '../src/log.ts'
import { OPTIONS, type OptionsOf } from '../src/options/table.ts'
import { MAX_ACTIVE } from '../src/protocol/fastcgi-application.ts'
import type { ApplicationOptions } from '../src/protocol/fastcgi-events.ts'
import { NO_PARTS } from '../src/protocol/part.ts'
import type { BodyQueue } from '../src/request/body-queue.ts'
import { ErrorLog } from '../src/request/error-log.ts'
import { Input } from '../src/request/input.ts'
import { chunkLength } from '../src/response/body.ts'
import { ResponseBuffer } from '../src/server/response-buffer.ts'
import { FastCGIConnection } from '../src/server/connections/fastcgi.ts'
import type { FastCGIContext, FastCGITransport } from '../src/server/connections/fastcgi-request.ts'
import { restOfBody } from '../src/server/connections/stalled-request.ts'
import { withMultiprocess } from '../src/server/multiprocess.ts'
import { GatewayServer } from '../src/server/gateway-server.ts'
import { WriteBatch } from '../src/server/write-batch.ts'
import type { Chunk, Environ, ErrorStream, InputStream } from '../src/types.ts'
import { BaseHandler, type HandlerOptions, type MaybePromise } from './base.ts'

export interface FastCGIOptions extends OptionsOf<'fastcgi'> {
  /** The class that runs a request; a subclass overrides the hooks of `BaseHandler`. */
  readonly requestHandler?: typeof FastCGIRequestHandler | undefined
}

/** The maximum number of characters of `wsgi.errors` that wait for the response. */
const MAX_HELD_LOG = 65_536

/**
 * Serves an application over FastCGI:
 *
 *     const server = await new FastCGIHandler({ listen: 'unix:/run/app.sock' }).run(application)
 */
export class FastCGIHandler {
  readonly options: FastCGIOptions

  /** Without `listen` the socket is descriptor 0, as spawn-fcgi and mod_fcgid pass it on. */
  constructor(options: FastCGIOptions = {}) {
    this.options = options
  }

  /**
   * Resolves when connections are accepted.
   *
   * @throws {ConfigurationError} if the options cannot work.
   */
  async run(application: Runnable): Promise<GatewayServer> {
    const options = withMultiprocess(this.options, 'fd:0')
    const { application: run } = await toApplication(application, options)
    const sockets = { allowHalfOpen: true, noDelay: true }
    const context: FastCGIContext<FastCGIOptions> = {
      application: run,
      options,
      protocol: optionsOfProtocol(options),
      batch: new WriteBatch(),
      requestHandler: options.requestHandler ?? FastCGIRequestHandler,
    }
    return GatewayServer.start(createServer(sockets), options, {
      gateway: 'fastcgi',
      sockets,
      admits: webServerAddresses(),
      connect: (socket) => new FastCGIConnection(socket, context),
    })
  }
}

function optionsOfProtocol(options: FastCGIOptions): ApplicationOptions {
  const { multiplex = true, maxConnections = OPTIONS.maxConnections.default } = options
  return {
    multiplex,
    maxParamsBytes: options.maxHeaderBytes ?? OPTIONS.maxHeaderBytes.default.fastcgi,
    maxConns: maxConnections,
    maxReqs: multiplex ? maxConnections * MAX_ACTIVE : maxConnections,
  }
}

/** Runs an application for one FastCGI request. */
export class FastCGIRequestHandler extends BaseHandler {
  override gateway = 'fastcgi' as const
  override originServer = false
  readonly id: number
  readonly input: BodyQueue
  refused = false
  readonly #connection: FastCGITransport
  readonly #response = new ResponseBuffer()
  #body: Input | null = null
  /**
   * Text for STDERR, which is sent together with the response: HAProxy 2.6.12 crashes on a STDERR
   * record if no other record has arrived after it.
   */
  #log = ''
  #ended = false

  constructor(
    connection: FastCGITransport,
    id: number,
    environ: Environ,
    input: BodyQueue,
    options: HandlerOptions,
  ) {
    super(options)
    this.#connection = connection
    this.id = id
    this.environ = environ
    this.input = input
  }

  /** Nothing to add: `environ` was made from PARAMS (see `server/from-params.ts`). */
  override addCgiVars(): void {}

  override getStdin(): InputStream {
    const environ = this.environ!
    // An Authorizer gets no STDIN (section 6.3), so it has no end either.
    const unknown = environ['FCGI_ROLE'] === 'AUTHORIZER' ? 0 : Infinity
    return (this.#body = new Input(this.input, contentLength(environ) ?? unknown))
  }

  readsOn(): Promise<void> | null {
    return this.#body?.readsOn() ?? null
  }

  override getStderr(): ErrorStream {
    return new ErrorLog((text) => {
      if (this.#ended) {
        log(text)
        return
      }
      this.#log += text
      if (this.#log.length > MAX_HELD_LOG)
        void this.#connection.send(this.id, NO_PARTS, this.#takeLog())
    })
  }

  override _writeHead(head: string): void {
    this.#response.addHead(head)
  }

  override _write(chunk: Chunk, size = chunkLength(chunk)): void {
    this.#response.add(chunk, size)
  }

  override _flush(): MaybePromise {
    const parts = this.#response.take()
    return this.#connection.send(this.id, parts, parts.length > 0 ? this.#takeLog() : '')
  }

  override _end(complete: boolean): void {
    this.#ended = true
    const parts = this.#response.take()
    const rest = complete ? restOfBody(this) : null
    if (rest === null) {
      this.#connection.endRequest(this, parts, this.#takeLog(), complete)
      return
    }
    void this.#connection.send(this.id, parts, '')
    const end = () => this.#connection.endRequest(this, NO_PARTS, this.#takeLog(), true)
    void rest.then(end)
  }

  #takeLog(): string {
    const text = this.#log
    this.#log = ''
    return text
  }
}
