/**
 * `NodeFastCGIHandler`: the same application on a server of the package node-fastcgi, for those who
 * run that already, and as a second implementation to compare `FastCGIHandler` with.
 *
 * The package parses and frames; here are a `BaseHandler` over what it hands over, and the guards
 * that keep its faults from harming more than one connection (docs/node-fastcgi.md has them all).
 */
import type { EventEmitter } from 'node:events'
import type { Server, Socket } from 'node:net'
import type { Duplex, Readable, Writable } from 'node:stream'
import { contentLength, encodeText, setVariable } from '../src/environ/environ.ts'
import { ErrorLog } from '../src/request/error-log.ts'
import { log, logEntry } from '../src/log.ts'
import { ConfigurationError, PeerError } from '../src/errors.ts'
import { Input, streamSource, type ByteSource } from '../src/request/input.ts'
import { toApplication, type Runnable } from '../src/application/to-application.ts'
import { webServerAddresses } from '../src/address-list.ts'
import { GatewayServer } from '../src/server/gateway-server.ts'
import type { OptionsOf } from '../src/options.ts'
import { drained, boundLinger } from '../src/server/socket-writer.ts'
import type { Chunk, ErrorStream, InputStream } from '../src/types.ts'
import { BaseHandler, type HandlerOptions, type MaybePromise } from './base.ts'

export interface NodeFastCGIOptions extends OptionsOf<'node-fastcgi'> {
  /** The class that runs a request; a subclass overrides the hooks of `BaseHandler`. */
  readonly requestHandler?: typeof NodeFastCGIRequestHandler | undefined
}

// What is used of the package, which has no types of its own.

interface NodeFastCGI {
  createServer(config: { multiplex: boolean; valueMap: object }): Server
}

/** An `http.IncomingMessage` whose socket is the streams of one request. */
export interface NodeFastCGIMessage extends Readable {
  /** PARAMS, decoded as UTF-8. */
  readonly cgiParams: Readonly<Record<string, string>>
  /** Reads STDIN, writes STDOUT. */
  readonly socket: Duplex & { readonly errorStream: Writable }
}

/** A connection with the package's reader on it, which emits 'record'. */
type RecordSocket = Socket & { readonly stream?: EventEmitter }

/** FCGI_STDIN (FastCGI 1.0, section 8). */
const STDIN = 5

/** Bytes of unread input that a connection holds before it stops reading. */
const INPUT_HIGH_WATER_MARK = 262_144

/**
 * Serves an application over FastCGI by means of node-fastcgi, which has to be installed:
 *
 *     const server = await new NodeFastCGIHandler({ listen: ':9000' }).run(application)
 *
 * It answers as `FastCGIHandler` does, save for what node-fastcgi 2.0.0 makes impossible:
 *
 * - every connection ends with its first answer (KEEP_CONN is not honoured), so nginx with
 *   `fastcgi_keep_conn on` answers 502 now and then;
 * - a name-value pair that spans two PARAMS records arrives as garbage;
 * - bytes that are not UTF-8 arrive as U+FFFD; of a name that comes twice the last value is kept;
 * - a record of an unknown type closes the connection instead of being answered, as does an
 *   unlucky GET_VALUES (by itself the package ends the process);
 * - a peer that closes its half of the connection gets no answer;
 * - a request multiplexed with another is cut off when that one is answered;
 * - it takes some thirty times the CPU.
 */
export class NodeFastCGIHandler {
  readonly options: NodeFastCGIOptions

  /** Without `listen` the socket is descriptor 0, as spawn-fcgi and mod_fcgid hand it over. */
  constructor(options: NodeFastCGIOptions = {}) {
    this.options = options
  }

  /**
   * Resolves when connections are accepted.
   *
   * @throws {ConfigurationError} if the options cannot work, or node-fastcgi is not installed.
   */
  async run(application: Runnable): Promise<GatewayServer> {
    const { options } = this
    const { application: run } = await toApplication(application, options)
    const nodeFastCGI = await load()
    const server = nodeFastCGI.createServer({
      multiplex: false,
      // With a prototype, GET_VALUES for 'toString' is an exception.
      valueMap: Object.create(null) as object,
    })
    const Request = options.requestHandler ?? NodeFastCGIRequestHandler
    server.on('request', (message: NodeFastCGIMessage) => {
      // Emitted while the connection receives, so that is whose request it is.
      const connection = Connection.receiving!
      const request = new Request(message, connection, options)
      connection.begin(request)
      request.start(run)
    })
    return GatewayServer.start(server, options, {
      gateway: 'node-fastcgi',
      admits: webServerAddresses(),
      connect: (socket) => new Connection(socket),
    })
  }
}

async function load(): Promise<NodeFastCGI> {
  try {
    // As a variable: the package is optional, and has no types that could be found.
    // @ts-expect-error The package has no types.
    return (await import('node-fastcgi')) as NodeFastCGI
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new ConfigurationError(
      'NodeFastCGIHandler needs the package node-fastcgi (npm install node-fastcgi@2); ' +
        'FastCGIHandler needs none',
      { cause: error },
    )
  }
}

/** One socket, with the package's listeners on it already. */
class Connection {
  /** The one whose bytes are being parsed. */
  static receiving: Connection | null = null
  readonly socket: Socket
  readonly #requests = new Set<NodeFastCGIRequestHandler>()
  /** Bytes of STDIN that no application has taken. */
  #queued = 0
  #answered = false

  constructor(socket: RecordSocket) {
    this.socket = socket
    this.#guard()
    boundLinger(socket)
    // The package says 'aborted' only where no write has failed before.
    socket.on('close', () => {
      for (const request of this.#requests) request.lost()
    })
    // The package takes all that comes, read or not.
    socket.stream?.on('record', (_id, record: { TYPE: number; data?: Uint8Array }) => {
      if (record.TYPE !== STDIN || this.#answered) return
      this.#queued += record.data?.length ?? 0
      if (this.#queued > INPUT_HIGH_WATER_MARK) socket.pause()
    })
  }

  /** Until then the package closes what is silent for two minutes; a request may take longer. */
  begin(request: NodeFastCGIRequestHandler): void {
    this.#requests.add(request)
    this.socket.setTimeout(0)
  }

  /** Input has been taken by the application. */
  consumed(bytes: number): void {
    this.#queued -= bytes
    if (this.#queued < INPUT_HIGH_WATER_MARK && this.socket.isPaused()) this.socket.resume()
  }

  /** The package closes the connection behind the answer: nothing is held back any more. */
  answered(request: NodeFastCGIRequestHandler): void {
    this.#requests.delete(request)
    this.#answered = true
    this.socket.resume()
  }

  /** Whatever has begun ends by itself: the package closes behind each answer. */
  end(): void {
    if (this.socket.bytesRead === 0) this.socket.destroy()
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** An exception in the package's parser ends this connection, not the process. */
  #guard(): void {
    const { socket } = this
    const parsers = socket.listeners('data')
    socket.removeAllListeners('data')
    socket.on('data', (chunk) => {
      Connection.receiving = this
      try {
        for (const parse of parsers) parse.call(socket, chunk)
      } catch (error) {
        logEntry(`node-fastcgi: ${String(error)}`)
        socket.destroy()
      } finally {
        Connection.receiving = null
      }
    })
  }
}

/** Runs an application for one request that node-fastcgi has parsed. */
export class NodeFastCGIRequestHandler extends BaseHandler {
  override gateway = 'fastcgi' as const
  override originServer = false
  readonly message: NodeFastCGIMessage
  readonly #connection: Connection
  #ended = false

  constructor(message: NodeFastCGIMessage, connection: Connection, options: HandlerOptions) {
    super(options)
    this.message = message
    this.#connection = connection
    // Writing to a web server that has gone is an error here, which unheard ends the process.
    message.socket.on('error', () => {})
    message.socket.errorStream.on('error', () => {})
    message.once('aborted', () => this.lost())
  }

  /** ABORT_REQUEST has come, or the connection is gone. */
  lost(): void {
    this.abort()
    this.message.destroy(new PeerError('PORTICO_DISCONNECTED', 'The web server went away'))
  }

  override addCgiVars(): void {
    const { cgiParams } = this.message
    for (const name of Object.keys(cgiParams)) {
      setVariable(this.environ!, encodeText(name), encodeText(cgiParams[name]!))
    }
  }

  override getStdin(): InputStream {
    return new Input(this.#source(), contentLength(this.environ!) ?? Infinity)
  }

  override getStderr(): ErrorStream {
    return new ErrorLog((text) => {
      if (this.#ended) log(text)
      else this.message.socket.errorStream.write(text)
    })
  }

  override _write(chunk: Chunk): void {
    this.message.socket.write(chunk)
  }

  override _flush(): MaybePromise {
    return drained(this.message.socket, this.#connection.socket)
  }

  override _end(complete: boolean): void {
    const { message } = this
    const { socket } = message
    this.#ended = true
    // Otherwise the package ends this stream after the connection, and destroys that for it.
    socket.errorStream.end()
    if (complete) socket.end()
    // The only way to an appStatus other than 0, behind what has been written.
    else socket.write('', () => socket.destroy(new Error('The answer broke off')))
    // What has not been read is thrown away.
    message.resume()
    this.#connection.answered(this)
  }

  #source(): ByteSource {
    const source = streamSource(this.message)
    const count = (chunk: Buffer | null) => {
      if (chunk !== null) this.#connection.consumed(chunk.length)
      return chunk
    }
    return {
      read(size) {
        const chunk = source.read(size)
        return chunk instanceof Promise ? chunk.then(count) : count(chunk)
      },
    }
  }
}
