/**
 * `FastCGIHandler`: a process that answers a web server over FastCGI 1.0, from the process's side.
 *
 * The protocol itself is in `src/protocol/`, without a socket, and what becomes of a connection in
 * `src/server/connections/fastcgi.ts`. Here are the few overrides by which a request becomes an
 * environ and an answer.
 */
import { createServer } from 'node:net'
import { chunkLength } from '../src/response/body.ts'
import { contentLength } from '../src/environ/environ.ts'
import { log } from '../src/log.ts'
import { ErrorLog } from '../src/request/error-log.ts'
import { Input } from '../src/request/input.ts'
import { MAX_ACTIVE, type ApplicationOptions } from '../src/protocol/fastcgi-application.ts'
import { encodeRecord, FCGI_STDERR, type Part } from '../src/protocol/fastcgi.ts'
import { toApplication, type Runnable } from '../src/application/to-application.ts'
import { webServerAddresses } from '../src/address-list.ts'
import { GatewayServer } from '../src/server/gateway-server.ts'
import { OPTIONS, type OptionsOf } from '../src/options.ts'
import { coarseTime } from '../src/server/deadlines.ts'
import {
  FastCGIConnection,
  NOTHING,
  type ConnectionOptions,
} from '../src/server/connections/fastcgi.ts'
import { environFromPairs } from '../src/environ/from-params.ts'
import { BodyQueue } from '../src/request/body-queue.ts'
import { partOf } from '../src/server/socket-writer.ts'
import type { Chunk, Environ, ErrorStream, InputStream } from '../src/types.ts'
import { BaseHandler, type HandlerOptions, type MaybePromise } from './base.ts'

export interface FastCGIOptions extends OptionsOf<'fastcgi'> {
  /** The class that runs a request; a subclass overrides the hooks of `BaseHandler`. */
  readonly requestHandler?: typeof FastCGIRequestHandler | undefined
}

/** Up to here an answer is copied into one Buffer: cheaper than a `writev` of its parts. */
const SMALL_ANSWER = 16_384

/** Characters of `wsgi.errors` that are held back at the most. */
const MAX_HELD_LOG = 65_536

/**
 * Serves an application over FastCGI:
 *
 *     const server = await new FastCGIHandler({ listen: 'unix:/run/app.sock' }).run(application)
 */
export class FastCGIHandler {
  readonly options: FastCGIOptions

  /** Without `listen` the socket is descriptor 0, as spawn-fcgi and mod_fcgid hand it over. */
  constructor(options: FastCGIOptions = {}) {
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
    const sockets = { allowHalfOpen: true, noDelay: true }
    const protocolOptions = optionsOfProtocol(options)
    const Request = options.requestHandler ?? FastCGIRequestHandler
    const connectionOptions: ConnectionOptions = {
      ...options,
      newRequest: (connection, id, environ) => new Request(connection, id, environ, options),
    }
    return GatewayServer.start(createServer(sockets), options, {
      gateway: 'fastcgi',
      sockets,
      admits: webServerAddresses(),
      connect: (socket) => new FastCGIConnection(socket, run, connectionOptions, protocolOptions),
    })
  }
}

function optionsOfProtocol(options: FastCGIOptions): ApplicationOptions<Environ> {
  const { multiplex = true, maxConnections = OPTIONS.maxConnections.default } = options
  return {
    decodeParams: environFromPairs,
    multiplex,
    maxParamsBytes: options.maxHeaderBytes ?? OPTIONS.maxHeaderBytes.default.fastcgi,
    maxParams: options.maxHeaders ?? OPTIONS.maxHeaders.default.fastcgi,
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
  /** When the application took some of the body last, by `coarseTime`. */
  lastRead = coarseTime()
  readonly #connection: FastCGIConnection
  #head = ''
  #parts: Part[] = NOTHING
  #size = 0
  /**
   * Text for STDERR that waits for something to go with it: HAProxy 2.6.12 crashes on a STDERR
   * record behind which it has read nothing else yet.
   */
  #log = ''
  #ended = false
  /** The web server has said that it does not want the answer. */
  refused = false

  constructor(
    connection: FastCGIConnection,
    id: number,
    environ: Environ,
    options: HandlerOptions,
  ) {
    super(options)
    this.id = id
    this.input = new BodyQueue((bytes) => {
      this.lastRead = coarseTime()
      connection.consumed(bytes)
    })
    this.#connection = connection
    this.environ = environ
  }

  /** They were put there as they were read. */
  override addCgiVars(): void {}

  override getStdin(): InputStream {
    const environ = this.environ!
    // The role Authorizer has no STDIN (section 6.3), and so none that would end.
    const unknown = environ['FCGI_ROLE'] === 'AUTHORIZER' ? 0 : Infinity
    return new Input(this.input, contentLength(environ) ?? unknown)
  }

  override getStderr(): ErrorStream {
    return new ErrorLog((text) => {
      if (this.#ended) {
        log(text)
        return
      }
      this.#log += text
      if (this.#log.length > MAX_HELD_LOG) this.#connection.write(this.#takeLog())
    })
  }

  override _writeHead(head: string): void {
    this.#head = head
  }

  override _write(chunk: Chunk, size = chunkLength(chunk)): void {
    const part = partOf(chunk, size)
    if (this.#size === 0) this.#parts = [part]
    else this.#parts.push(part)
    this.#size += size
  }

  override _flush(): MaybePromise {
    this.send()
    return this.#connection.ready()
  }

  override _end(complete: boolean): void {
    const connection = this.#connection
    const { protocol } = connection
    if (!complete && this.headersSent && !this.refused && connection.breakOff(this)) {
      // Said by closing: no web server looks at appStatus.
    } else {
      const appStatus = complete ? 0 : 1
      const small = this.#parts.length < 2 && this.#size + this.#head.length <= SMALL_ANSWER
      const logged = this.#takeLog()
      if (small) {
        const [body = ''] = this.#parts
        const text = typeof body === 'string' ? body : body.toString('latin1')
        for (const part of logged) connection.hold(part)
        connection.hold(protocol.answer(this.id, this.#head, text, appStatus))
      } else {
        connection.write([...logged, ...protocol.stdoutEnd(this.id, this.#take(), appStatus)])
      }
    }
    this.#ended = true
    connection.finished(this)
  }

  /** What is logged and not sent, with the end of STDERR. */
  remainingLog(): Part[] {
    return this.#log === '' ? [] : [...this.#takeLog(), encodeRecord(FCGI_STDERR, this.id)]
  }

  #takeLog(): Part[] {
    if (this.#log === '') return NOTHING
    const records = this.#connection.protocol.stderr(this.id, this.#log)
    this.#log = ''
    return records
  }

  /** Hands what there is of the answer to the socket. */
  send(): void {
    if (this.#head === '' && this.#parts.length === 0) return
    const { protocol } = this.#connection
    this.#connection.write([...this.#takeLog(), ...protocol.stdout(this.id, this.#take())])
  }

  /** Head and body as far as they have not been sent. */
  #take(): Part[] {
    const parts = [this.#head, ...this.#parts]
    this.#head = ''
    this.#parts = NOTHING
    this.#size = 0
    return parts
  }
}
