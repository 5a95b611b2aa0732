/**
 * `NodeFastCGIHandler`: serves an application with the package node-fastcgi, both for its users and
 * as a second implementation to compare with `FastCGIHandler`.
 *
 * The package reads and writes the protocol. docs/node-fastcgi.md lists its faults; the guards in
 * `src/server/connections/node-fastcgi.ts` limit each of them to one connection.
 */
import type { Server } from 'node:net'
import type { Duplex, Readable, Writable } from 'node:stream'
import { refuseLineBreaks, contentLength, encodeText, setVariable } from '../src/environ/environ.ts'
import { ErrorLog } from '../src/request/error-log.ts'
import { log } from '../src/log.ts'
import type { OptionsOf } from '../src/options/table.ts'
import { ConfigurationError, PeerError } from '../src/errors.ts'
import { Input, streamSource, type ByteSource } from '../src/request/input.ts'
import { toApplication, type Runnable } from '../src/application/to-application.ts'
import { webServerAddresses } from '../src/address-list.ts'
import { joinParts } from '../src/protocol/part.ts'
import { chunkLength } from '../src/response/body.ts'
import { ResponseBuffer } from '../src/server/response-buffer.ts'
import { NodeFastCGIConnection } from '../src/server/connections/node-fastcgi.ts'
import { withMultiprocess } from '../src/server/multiprocess.ts'
import { GatewayServer } from '../src/server/gateway-server.ts'
import { drained, writeParts } from '../src/server/socket-writer.ts'
import type { Chunk, ErrorStream, InputStream } from '../src/types.ts'
import { BaseHandler, type HandlerOptions, type MaybePromise } from './base.ts'

export interface NodeFastCGIOptions extends OptionsOf<'node-fastcgi'> {
  /** The class that runs a request; a subclass overrides the hooks of `BaseHandler`. */
  readonly requestHandler?: typeof NodeFastCGIRequestHandler | undefined
}

// Types for the part of the package that is used. It has none of its own.

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

/**
 * Serves an application over FastCGI with the package node-fastcgi, which must be installed:
 *
 *     const server = await new NodeFastCGIHandler({ listen: ':9000' }).run(application)
 *
 * It responds as `FastCGIHandler` does, except for what node-fastcgi 2.0.0 makes impossible:
 *
 * - every connection ends with its first response (KEEP_CONN is ignored), so nginx with
 *   `fastcgi_keep_conn on` sometimes responds with a 502;
 * - a name-value pair that spans two PARAMS records arrives as garbage;
 * - bytes that are not UTF-8 arrive as U+FFFD; the last value of a repeated name is kept;
 * - a record of an unknown type closes the connection instead of getting a reply, and so do some
 *   GET_VALUES (without the guards the process would crash);
 * - a peer that closes its half of the connection gets no response;
 * - a multiplexed request is aborted when another one on its connection ends;
 * - a short response takes more than ten times the CPU time.
 */
export class NodeFastCGIHandler {
  readonly options: NodeFastCGIOptions

  /** Without `listen` the socket is descriptor 0, as spawn-fcgi and mod_fcgid pass it on. */
  constructor(options: NodeFastCGIOptions = {}) {
    this.options = options
  }

  /**
   * Resolves when connections are accepted.
   *
   * @throws {ConfigurationError} if the options cannot work, or node-fastcgi is not installed.
   */
  async run(application: Runnable): Promise<GatewayServer> {
    const options = withMultiprocess(this.options, 'fd:0')
    const { application: run } = await toApplication(application, options)
    const nodeFastCGI = await load()
    const server = nodeFastCGI.createServer({
      multiplex: false,
      // With a prototype, GET_VALUES for 'toString' would throw.
      valueMap: Object.create(null) as object,
    })
    const Request = options.requestHandler ?? NodeFastCGIRequestHandler
    server.on('request', (message: NodeFastCGIMessage) => {
      // The package emits this event while a connection receives, so the request belongs to it.
      const connection = NodeFastCGIConnection.receiving!
      const request = new Request(message, connection, options)
      connection.begin(request)
      request.start(run)
    })
    return GatewayServer.start(server, options, {
      gateway: 'node-fastcgi',
      admits: webServerAddresses(),
      connect: (socket) => new NodeFastCGIConnection(socket),
    })
  }
}

async function load(): Promise<NodeFastCGI> {
  try {
    // The package is optional.
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

/** Runs an application for one request that node-fastcgi has parsed. */
export class NodeFastCGIRequestHandler extends BaseHandler {
  override gateway = 'fastcgi' as const
  override originServer = false
  readonly message: NodeFastCGIMessage
  readonly #connection: NodeFastCGIConnection
  readonly #response = new ResponseBuffer()
  #ended = false

  constructor(
    message: NodeFastCGIMessage,
    connection: NodeFastCGIConnection,
    options: HandlerOptions,
  ) {
    super(options)
    this.message = message
    this.#connection = connection
    // A write to a closed connection emits 'error' here, which without a listener ends the process.
    message.socket.on('error', () => {})
    message.socket.errorStream.on('error', () => {})
    message.once('aborted', () => this.lost())
  }

  /** Called after ABORT_REQUEST, and when the connection has closed. */
  lost(): void {
    this.abort()
    this.message.destroy(new PeerError('PORTICO_DISCONNECTED', 'The web server disconnected'))
    // On a closed connection the package never calls back, so Node emits none and a read would wait forever.
    this.message.emit('close')
  }

  override addCgiVars(): void {
    const { cgiParams } = this.message
    for (const name of Object.keys(cgiParams)) {
      setVariable(this.environ!, encodeText(name), encodeText(cgiParams[name]!))
    }
    refuseLineBreaks(this.environ!)
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

  override _writeHead(head: string): void {
    this.#response.addHead(head)
  }

  override _write(chunk: Chunk, size = chunkLength(chunk)): void {
    this.#response.add(chunk, size)
  }

  override _flush(): MaybePromise {
    writeParts(this.message.socket, joinParts(this.#response.take()))
    return drained(this.message.socket, this.#connection.socket)
  }

  override _end(complete: boolean): void {
    const { message } = this
    const { socket } = message
    writeParts(socket, joinParts(this.#response.take()))
    this.#ended = true
    // Otherwise the package ends this stream after the connection has ended, which destroys the connection.
    socket.errorStream.end()
    if (complete) socket.end()
    // The only way to send an appStatus other than 0 after what has been written.
    else socket.write('', () => socket.destroy(new Error('The response is incomplete')))
    // Unread input is dropped.
    message.resume()
    this.#connection.finished(this)
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
