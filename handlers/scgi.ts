/**
 * `SCGIHandler`: a process that serves a web server over SCGI.
 *
 * The protocol is in `src/protocol/scgi.ts`, without a socket, and a connection in
 * `src/server/connections/scgi.ts`. A connection carries one request. The response has the format
 * of a CGI response, and ends with the connection.
 */
import { createServer } from 'node:net'
import { toApplication, type Runnable } from '../src/application/to-application.ts'
import { contentLength } from '../src/environ/environ.ts'
import { log } from '../src/log.ts'
import type { OptionsOf } from '../src/options/table.ts'
import type { BodyQueue } from '../src/request/body-queue.ts'
import { ErrorLog } from '../src/request/error-log.ts'
import { emptySource, Input } from '../src/request/input.ts'
import { chunkLength } from '../src/response/body.ts'
import { ResponseBuffer } from '../src/server/response-buffer.ts'
import { SCGIConnection, type SCGIContext } from '../src/server/connections/scgi.ts'
import { withMultiprocess } from '../src/server/multiprocess.ts'
import { GatewayServer } from '../src/server/gateway-server.ts'
import type { Chunk, Environ, ErrorStream, InputStream } from '../src/types.ts'
import { BaseHandler, type HandlerOptions, type MaybePromise } from './base.ts'

export interface SCGIOptions extends OptionsOf<'scgi'> {
  /** The class that runs a request; a subclass overrides the hooks of `BaseHandler`. */
  readonly requestHandler?: typeof SCGIRequestHandler | undefined
}

/**
 * Serves an application over SCGI:
 *
 *     const server = await new SCGIHandler({ listen: 'unix:/run/app.sock' }).run(application)
 */
export class SCGIHandler {
  readonly options: SCGIOptions

  /** Without `listen` the socket is descriptor 0, as spawn-fcgi and lighttpd pass it on. */
  constructor(options: SCGIOptions = {}) {
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
    const sockets = { allowHalfOpen: true }
    const context: SCGIContext<SCGIOptions> = {
      application: run,
      options,
      requestHandler: options.requestHandler ?? SCGIRequestHandler,
    }
    return GatewayServer.start(createServer(sockets), options, {
      gateway: 'scgi',
      sockets,
      connect: (socket) => new SCGIConnection(socket, context),
    })
  }
}

/** Runs an application for one SCGI request. */
export class SCGIRequestHandler extends BaseHandler {
  override gateway = 'scgi' as const
  override originServer = false
  readonly #connection: SCGIConnection
  readonly input: BodyQueue | null
  readonly #response = new ResponseBuffer()
  #body: Input | null = null

  constructor(
    connection: SCGIConnection,
    environ: Environ,
    input: BodyQueue | null,
    options: HandlerOptions,
  ) {
    super(options)
    this.#connection = connection
    this.environ = environ
    this.input = input
  }

  /** Nothing to add: `environ` was made from the headers (see `server/from-params.ts`). */
  override addCgiVars(): void {}

  override getStdin(): InputStream {
    return (this.#body = new Input(this.input ?? emptySource, contentLength(this.environ!)))
  }

  readsOn(): Promise<void> | null {
    return this.#body?.readsOn() ?? null
  }

  override getStderr(): ErrorStream {
    return STDERR
  }

  override _writeHead(head: string): void {
    this.#response.addHead(head)
  }

  override _write(chunk: Chunk, size = chunkLength(chunk)): void {
    this.#response.add(chunk, size)
  }

  override _flush(): MaybePromise {
    return this.#connection.send(this.#response.take())
  }

  override _end(complete: boolean): void {
    this.#connection.endRequest(this.#response.take(), complete)
  }
}

const STDERR = new ErrorLog(log)
