/**
 * `FastCGIHandler`: a process that answers a web server over FastCGI 1.0, from the process's side.
 *
 * The protocol itself is in `src/protocol/`, without a socket. Here are its transport (one
 * `Connection` for each socket, one writer for each request) and the few overrides by which a
 * request becomes an environ and an answer.
 */
import { Buffer } from 'node:buffer'
import { createServer, type Socket } from 'node:net'
import { byteString, chunkLength } from '../src/body.ts'
import { contentLength } from '../src/environ.ts'
import { ErrorLog } from '../src/error-stream.ts'
import { PeerError } from '../src/errors.ts'
import { Input } from '../src/input.ts'
import {
  ApplicationConnection,
  MAX_ACTIVE,
  type AbortCause,
  type ApplicationOptions,
} from '../src/protocol/fastcgi-application.ts'
import { encodeRecord, FCGI_AUTHORIZER, FCGI_STDERR, type Part } from '../src/protocol/fastcgi.ts'
import { recognise, type Runnable } from '../src/recognise.ts'
import { webServerAddresses } from '../src/server/clients.ts'
import {
  DEFAULT_MAX_CONNECTIONS,
  GatewayServer,
  type ServerOptions,
} from '../src/server/lifecycle.ts'
import {
  coarseTime,
  HEAD_TIMEOUT,
  HIGH_WATER_MARK,
  IDLE_TIMEOUT,
  MAX_LOOKAHEAD,
} from '../src/server/limits.ts'
import { environOfPairs } from '../src/server/params.ts'
import { PushSource } from '../src/server/push-source.ts'
import { closeBehindAnswer, drained, flushLater, MAX_HELD } from '../src/server/sending.ts'
import type { Application, Chunk, Environ, ErrorStream, InputStream } from '../src/types.ts'
import { BaseHandler, type HandlerOptions, type Wait } from './base.ts'

/** What a FastCGIHandler can be told. */
export interface FastCGIOptions extends HandlerOptions, ServerOptions {
  /** False refuses a second request on a connection while one is running. Default: true. */
  readonly multiplex?: boolean | undefined
  /** The class that runs a request; a subclass overrides the hooks of `BaseHandler`. */
  readonly handlerClass?: typeof FastCGIRequest | undefined
}

/**
 * The high-water mark while several requests share the connection: pausing for the one that does not read
 * would stop the others, so more is held, and only then do all of them wait for the slowest.
 */
const MULTIPLEXED_HIGH_WATER_MARK = 16 * 1024 * 1024

/** How long, in ms, a request with such a body may hold up the others without reading any of it. */
const MAX_STALL = 10_000

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
    const { application: run } = await recognise(application)
    const sockets = { allowHalfOpen: true, noDelay: true }
    const protocolOptions = optionsOfProtocol(options)
    return GatewayServer.start(createServer(sockets), options, {
      fallback: 'fd:0',
      sockets,
      admits: webServerAddresses(),
      connect: (socket) => new Connection(socket, run, options, protocolOptions),
    })
  }
}

function optionsOfProtocol(options: FastCGIOptions): ApplicationOptions<Environ> {
  const { multiplex = true, maxConnections = DEFAULT_MAX_CONNECTIONS } = options
  return {
    decodeParams: environOfPairs,
    multiplex,
    maxParamsBytes: options.maxHeaderBytes,
    maxParams: options.maxHeaders,
    maxConns: maxConnections,
    maxReqs: multiplex ? maxConnections * MAX_ACTIVE : maxConnections,
  }
}

/** Where nothing is yet; never pushed to. */
const NOTHING: never[] = []

/** One socket, and the requests on it. */
class Connection {
  readonly socket: Socket
  readonly protocol: ApplicationConnection<Environ>
  readonly #application: Application
  readonly #options: FastCGIOptions
  /** A list, for there is mostly one. */
  #requests: FastCGIRequest[] = []
  /** When this connection is given up: what it is waiting for has not come. */
  deadline = Infinity
  #waitingFor: 'request' | 'head' | 'nothing' = 'nothing'
  #served = 0
  #queued = 0
  #ending = false
  /** The ends of answers that are not written yet. */
  #held: Part[] = NOTHING
  /** What has come has to be copied to be kept. */
  #borrowed = false
  /** Every request has been read to its end, so that nothing is left to come. */
  #exhausted = true
  /** The peer asks for more than it reads; until it has read, what it sends waits. */
  #choked = false

  constructor(
    socket: Socket,
    application: Application,
    options: FastCGIOptions,
    protocolOptions: ApplicationOptions<Environ>,
  ) {
    this.socket = socket
    this.protocol = new ApplicationConnection(protocolOptions)
    this.#application = application
    this.#options = options
    this.#setDeadline()
  }

  receiveEof(): void {
    this.protocol.receiveEof()
    this.#pump()
  }

  closed(): void {
    const requests = this.#requests
    this.#requests = []
    for (const request of requests) request.abort()
  }

  receive(memory: Buffer, size: number, borrowed: boolean): void {
    // Behind the last answer. One more, on a socket that is ending, would break that one off.
    if (this.socket.writableEnded) return
    this.#borrowed = borrowed
    this.protocol.receive(memory, size)
    this.#pump()
  }

  get receivesBody(): boolean {
    for (const { input } of this.#requests) if (!input.ended) return true
    return false
  }

  end(): void {
    this.#ending = true
    this.#closeIfDone()
  }

  destroy(): void {
    this.socket.destroy()
  }

  look(): void {
    const { socket } = this
    if (this.#waitingFor !== 'nothing' && socket.writableLength > 0) this.#setDeadline(true)
    if (!socket.isPaused() || this.#choked) return
    this.#endStalled()
    if (this.#queued < MAX_LOOKAHEAD * this.#highWaterMark()) socket.resume()
  }

  /** Ends the request with the most unread body, if it is not alone and has not read for long. */
  #endStalled(): void {
    const [most, second] = this.#requests.toSorted((a, b) => b.input.queued - a.input.queued)
    if (!most || !second || coarseTime() - most.lastRead < MAX_STALL) return
    const message = `The body was not read for ${MAX_STALL} ms, and held up other requests`
    const error = new PeerError('PORTICO_TIMEOUT', message, '503 Service Unavailable')
    most.disconnected(error)
    void most.fail(error)
  }

  /** The request is answered: nothing more is written for its id. */
  finished(request: FastCGIRequest): void {
    const requests = this.#requests
    if (requests.at(-1) === request) requests.pop()
    else this.#requests = requests.filter((other) => other !== request)
    this.consumed(request.input.queued)
    if (!request.input.ended) this.#exhausted = false
    this.#setDeadline()
    this.#closeIfDone()
  }

  /**
   * Ends an answer that is shorter than its head says, or was broken off behind its head, so that
   * the web server notices: by closing without END_REQUEST. nginx and Apache take any END_REQUEST
   * for the end of a good answer, whatever its appStatus. False if other requests share the
   * connection, which it would break off as well.
   */
  breakOff(request: FastCGIRequest): boolean {
    if (this.#requests.length > 1) return false
    this.#writeHeld()
    request.send()
    this.write(request.remainingLog())
    // Apache still writes the end of STDIN: if that failed it would forget the head that it has,
    // and answer with a 503.
    closeBehindAnswer(this.socket, this.#exhausted && request.input.ended)
    return true
  }

  /** Input has left a queue. */
  consumed(bytes: number): void {
    this.#queued -= bytes
    if (this.#choked || !this.socket.isPaused()) return
    if (this.#queued < this.#highWaterMark()) this.socket.resume()
  }

  /** Several parts leave together. */
  write(parts: readonly Part[]): void {
    const { socket } = this
    if (parts.length > 1) socket.cork()
    for (const part of parts) {
      if (typeof part === 'string') socket.write(part, 'latin1')
      else socket.write(part)
    }
    if (parts.length > 1) socket.uncork()
  }

  /** Sends the end of an answer together with those of other requests. */
  hold(part: Part): void {
    if (this.#held.length === 0) {
      this.#held = [part] // Mostly all; a push() would make room for seventeen.
      flushLater(this)
    } else if (this.#held.push(part) > MAX_HELD) {
      this.#writeHeld()
    }
  }

  flush(): void {
    this.#writeHeld()
    this.#closeIfDone()
  }

  #writeHeld(): void {
    const held = this.#held
    this.#held = NOTHING
    this.write(held)
  }

  /** Nothing, or a promise to wait for before more is written. */
  ready(): Wait {
    return drained(this.socket)
  }

  #pump(): void {
    const { socket } = this
    let begun: FastCGIRequest[] = NOTHING
    let replied = false
    for (let event; (event = this.protocol.next()) !== null;) {
      switch (event.type) {
        case 'request': {
          const Request = this.#options.handlerClass ?? FastCGIRequest
          // As libfcgi does, for an application that serves in both roles.
          if (event.role === FCGI_AUTHORIZER) event.params['FCGI_ROLE'] = 'AUTHORIZER'
          const request = new Request(this, event.id, event.params, this.#options)
          this.#requests.push(request)
          this.#served += 1
          if (this.#served === this.#options.maxRequestsPerConnection) this.#ending = true
          begun = begun === NOTHING ? [request] : [...begun, request]
          break
        }
        case 'stdin':
          this.#queued += event.data.length
          this.#find(event.id)?.input.push(this.#borrowed ? Buffer.from(event.data) : event.data)
          break
        case 'stdin-end':
          this.#find(event.id)?.input.end()
          break
        case 'abort':
          this.#abort(event.id, event.cause)
          break
        case 'reply':
          socket.write(event.data)
          replied = true
          break
        case 'error':
          process.stderr.write(`FastCGI: ${event.message}\n`)
          this.#writeHeld()
          socket.destroySoon()
      }
    }
    // After all that came with it: a request that is there to its end is answered cheaper.
    for (const request of begun) {
      // Unless it has been aborted in the same breath.
      if (this.#requests.includes(request)) request.start(this.#application)
    }
    if (this.#queued > this.#highWaterMark()) socket.pause()
    const asked = replied || begun.length > 0
    if (asked && socket.writableLength > this.#highWaterMark()) void this.#choke()
    this.#setDeadline()
    this.#closeIfDone()
  }

  /**
   * Reads nothing until the peer has read what waits for it: an answer may be a thousand times as
   * long as its request. Only for who asks anew; a body goes on, for its sender may read behind it.
   */
  async #choke(): Promise<void> {
    if (this.#choked) return
    this.#choked = true
    this.socket.pause()
    await drained(this.socket)
    this.#choked = false
    this.consumed(0)
  }

  /**
   * Set when the waiting begins, so that a peer that sends a byte now and then gains nothing, and
   * `again` while it still reads what was sent: that may take longer than a next request.
   */
  #setDeadline(again = false): void {
    const { headTimeout = HEAD_TIMEOUT, idleTimeout = IDLE_TIMEOUT } = this.#options
    const running = this.#requests.length > 0
    const waitingFor = this.protocol.awaitingHead ? 'head' : running ? 'nothing' : 'request'
    if (waitingFor === this.#waitingFor && !again) return
    this.#waitingFor = waitingFor
    this.deadline =
      waitingFor === 'nothing'
        ? Infinity
        : coarseTime() + (waitingFor === 'head' ? headTimeout : idleTimeout)
  }

  #abort(id: number, cause: AbortCause): void {
    const request = this.#find(id)
    if (request === undefined) return
    request.input.fail(new PeerError('PORTICO_DISCONNECTED', `The request was aborted (${cause})`))
    // A web server that closed its half may still read; one that says ABORT_REQUEST does not.
    if (cause === 'disconnected') {
      request.disconnected()
    } else {
      request.refused = true
      request.abort()
    }
  }

  #find(id: number): FastCGIRequest | undefined {
    return this.#requests.find((request) => request.id === id)
  }

  #highWaterMark(): number {
    const { highWaterMark = HIGH_WATER_MARK } = this.#options
    return this.#requests.length > 1
      ? Math.max(highWaterMark, MULTIPLEXED_HIGH_WATER_MARK)
      : highWaterMark
  }

  #closeIfDone(): void {
    if (this.#held.length > 0) return // Later.
    const { protocol, socket } = this
    const idle = this.#requests.length === 0 && !protocol.awaitingHead
    const done = protocol.closing || (this.#ending && idle)
    if (!done || socket.writableEnded) return
    closeBehindAnswer(socket, this.#exhausted && !this.#choked)
  }
}

/** Runs an application for one FastCGI request. */
export class FastCGIRequest extends BaseHandler {
  override gateway = 'fastcgi' as const
  override originServer = false
  readonly id: number
  readonly input: PushSource
  /** When the application took some of the body last, by `coarseTime`. */
  lastRead = coarseTime()
  readonly #connection: Connection
  #head = ''
  #chunks: Chunk[] = NOTHING
  #size = 0
  /**
   * Text for STDERR that waits for something to go with it: HAProxy 2.6.12 crashes on a STDERR
   * record behind which it has read nothing else yet.
   */
  #log = ''
  #ended = false
  /** The web server has said that it does not want the answer. */
  refused = false

  constructor(connection: Connection, id: number, environ: Environ, options: HandlerOptions) {
    super(options)
    this.id = id
    this.input = new PushSource((bytes) => {
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
        process.stderr.write(text)
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
    if (this.#size === 0) this.#chunks = [chunk]
    else this.#chunks.push(chunk)
    this.#size += size
  }

  override _flush(): Wait {
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
      const small = this.#chunks.length < 2 && this.#size + this.#head.length <= SMALL_ANSWER
      const log = this.#takeLog()
      if (small) {
        const body = this.#size === 0 ? '' : byteString(this.#chunks[0]!, this.#size)
        for (const part of log) connection.hold(part)
        connection.hold(protocol.answer(this.id, this.#head, body, appStatus))
      } else {
        connection.write([...log, ...protocol.stdoutEnd(this.id, this.#take(), appStatus)])
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
    const log = this.#connection.protocol.stderr(this.id, this.#log)
    this.#log = ''
    return log
  }

  /** Hands what there is of the answer to the socket. */
  send(): void {
    if (this.#head === '' && this.#chunks.length === 0) return
    const { protocol } = this.#connection
    this.#connection.write([...this.#takeLog(), ...protocol.stdout(this.id, ...this.#take())])
  }

  /** Head and chunks that have not been sent. */
  #take(): Part[] {
    const pieces: Part[] = [this.#head]
    for (const chunk of this.#chunks) {
      if (chunk instanceof Buffer) pieces.push(chunk)
      else if (typeof chunk === 'string') pieces.push(Buffer.from(chunk))
      else pieces.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
    }
    this.#head = ''
    this.#chunks = NOTHING
    this.#size = 0
    return pieces
  }
}
