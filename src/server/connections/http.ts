/** `HTTPConnection`: one connection of an HTTP server, and its pipelined requests. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { insideMessage } from '../../node-internals/http-server.ts'
import { hasBody } from '../../environ/from-http.ts'
import type { PeerError } from '../../errors.ts'
import { logEntry } from '../../log.ts'
import { requestName } from '../../request/error-log.ts'
import { coarseTime, HEADERS_TIMEOUT, IDLE_TIMEOUT, MAX_PROBE_FACTOR } from '../deadlines.ts'
import type { Connection, Give } from '../connection.ts'
import { waitOf, withoutQuery, type HeldRequest } from '../held-request.ts'
import { linger } from '../linger.ts'
import { boundLinger } from '../closing.ts'
import { logWrongProtocol } from '../wrong-protocol.ts'
import { refusalStatus, type ParserError } from './http-refusal.ts'

export interface HTTPLimits {
  readonly maxRequestsPerConnection?: number | undefined
  readonly idleTimeout?: number | undefined
  readonly headersTimeout?: number | undefined
}

/** A request on a connection. */
export interface HTTPExchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** The client waits for a 100 (Continue) before it sends the body. */
  readonly clientWaits?: boolean
  /** Called once, unless the connection closes before its turn. */
  begin(): void
  /** The client has closed its half of the connection. */
  disconnected(): void
  /** The connection has closed, or a response did before it was complete. */
  abort(): void
  /** The response has closed. */
  finished(): void
  /** Reads a bit of an unread body, so that a disconnect after it is noticed. */
  probePeer(): void
}

/**
 * How many requests of one connection run at once. Further ones wait, and the connection is not read.
 * Browsers send one at a time. Node would start all of them, up to a thousand in each read.
 */
const MAX_PIPELINED = 64
/** Bytes of the shortest request line: 'GET / HTTP/1.1' and a line break. */
const SHORTEST_LINE = 16
/** How many bytes a client may send after a refused head and still receive the response. */
const MAX_DISCARDED = 1024 * 1024

/** The key under which a socket has its connection; a WeakMap is slow to collect. */
const CONNECTION = Symbol('portico.connection')

export function connectionOf(
  socket: Socket & { [CONNECTION]?: HTTPConnection },
): HTTPConnection | undefined {
  return socket[CONNECTION]
}

/** One socket, from its first request to its end. */
export class HTTPConnection implements Connection {
  readonly #socket: Socket & { [CONNECTION]?: HTTPConnection }
  readonly #limits: HTTPLimits
  readonly #onFinished: () => void
  /** The requests in progress; several if the client pipelines them. */
  #exchanges: HTTPExchange[] = []
  /** Those of them that wait, because MAX_PIPELINED are running. */
  readonly #waiting = new Set<HTTPExchange>()
  /** The value of `bytesRead` when the last request and response had ended; what follows is a request. */
  #read = 0
  #idleSince = coarseTime()
  #begun = 0
  #ending = false
  /** Set by `retire`: called when the connection is at rest. */
  #give: Give | null = null
  #full = false
  /** The request that has switched this connection to another protocol. */
  #upgrade: Pick<HTTPExchange, 'abort'> | null = null
  /** The value of `bytesRead` when the parser gave up; Infinity before that. */
  #refused = Infinity
  /** The error of a refused request, while responses to requests before it are unsent. */
  #refusal: ParserError | null = null

  constructor(socket: Socket, limits: HTTPLimits, onFinished: () => void) {
    this.#onFinished = onFinished
    this.#socket = socket
    this.#limits = limits
    this.#socket[CONNECTION] = this
    socket.on('end', () => {
      for (const exchange of this.#exchanges.slice()) exchange.disconnected()
    })
  }

  /** Runs a request, now or when others have ended. */
  begin(exchange: HTTPExchange): void {
    const { request, response } = exchange
    // After a refused request the start of the next one is not certain, and after the last response of
    // the connection no other is sent. So what follows in the same read does not run.
    if (this.#exchanges.some((earlier) => !earlier.response.shouldKeepAlive)) return
    this.#exchanges.push(exchange)
    // At `maxRequestsPerSocket` Node only asks the client to close.
    const last = ++this.#begun === this.#limits.maxRequestsPerConnection || this.#ending
    // HTTP/1.0 has keep-alive as an extension that proxies got wrong (RFC 9112, C.2.2).
    if (last || request.httpVersion === '1.0') response.shouldKeepAlive = false
    response.on('close', () => this.#finished(exchange))
    if (this.#exchanges.length <= MAX_PIPELINED) return exchange.begin()
    this.#waiting.add(exchange)
    if (!this.#full) {
      this.#full = true
      this.#pauseLater()
    }
  }

  /** The connection has switched to another protocol. */
  upgrade(exchange: Pick<HTTPExchange, 'abort'>): void {
    this.#begun += 1
    this.#upgrade = exchange
    if (this.#ending || this.#give !== null) this.#endUpgrade()
  }

  /** Asks the application to end the other protocol. If the client has left, no one waits for that. */
  #endUpgrade(): void {
    if (this.#upgrade === null) return
    this.#upgrade.abort()
    const socket = this.#socket
    const end = (): void => socket.destroySoon()
    if (socket.readableEnded) end()
    else {
      socket.once('end', end)
      // If the application does not read the connection, only this read notices its end.
      if (socket.readableLength === 0) socket.read(0)
    }
  }

  get receivesBody(): boolean {
    const last = this.#exchanges.at(-1)
    return last !== undefined && !last.request.complete && !last.clientWaits
  }

  get idle(): boolean {
    return this.#exchanges.length === 0 && this.#upgrade === null
  }

  /** No request is running, and none has begun to arrive, not even together with the last one. */
  get #atRest(): boolean {
    const { bytesRead } = this.#socket
    if (!this.idle || bytesRead !== this.#read) return false
    return bytesRead === 0 || !insideMessage(this.#socket)
  }

  /** How many requests have begun. */
  get requests(): number {
    return this.#begun
  }

  /** Node resumes the socket after each request of a read, so this pauses after the last. */
  #pauseLater(): void {
    setImmediate(() => this.#full && this.#socket.pause())
  }

  #finished(exchange: HTTPExchange): void {
    if (this.#exchanges[0] === exchange) this.#exchanges.shift()
    else this.#exchanges = this.#exchanges.filter((other) => other !== exchange)
    const complete = exchange.request.complete || !hasBody(exchange.request)
    // The rest of the body may follow the response; another process would take it for a request.
    this.#read = complete ? this.#socket.bytesRead : -Infinity
    if (!complete) exchange.request.once('close', () => this.#bodyEnded())
    this.#idleSince = coarseTime()
    if (!exchange.response.writableFinished) exchange.abort()
    exchange.finished()
    this.#onFinished()
    if (this.#full && this.#exchanges.length <= MAX_PIPELINED) {
      this.#full = false
      this.#socket.resume()
    }
    if (this.#waiting.size > 0) this.#beginNext(exchange)
    if (this.#refusal !== null && this.#exchanges.length === 0) this.#respondRefusal(this.#refusal)
    else if (this.#ending && this.idle && !(complete && insideMessage(this.#socket)))
      this.#socket.end()
    else if (this.#give !== null) this.retire(this.#give)
  }

  /** The rest of a body has arrived after its response. */
  #bodyEnded(): void {
    if (this.#exchanges.length > 0) return
    this.#read = this.#socket.bytesRead
    if (this.#ending && this.#atRest) this.#socket.end()
    else if (this.#give !== null) this.retire(this.#give)
  }

  #beginNext(finished: HTTPExchange): void {
    this.#waiting.delete(finished)
    // After the last response of a connection no other is sent.
    if (!this.#socket.writable) this.#waiting.clear()
    for (const next of this.#waiting) {
      this.#waiting.delete(next)
      next.begin()
      break
    }
  }

  /**
   * Node's own timeout restarts with each byte, so a client could keep an idle connection open by
   * sending line breaks. Bytes that may be part of a head are subject to `headersTimeout` instead.
   */
  get deadline(): number {
    if (this.#exchanges.length > 0 || this.#upgrade !== null) return Infinity
    const { idleTimeout = IDLE_TIMEOUT, headersTimeout = HEADERS_TIMEOUT } = this.#limits
    const inHead = this.#begun === 0 || this.#socket.bytesRead - this.#read >= SHORTEST_LINE
    return this.#idleSince + idleTimeout + (inHead ? headersTimeout : 0)
  }

  endAfterNext(): void {
    if (!this.#ending) this.#endUpgrade()
    this.#ending = true
    for (const { response } of this.#exchanges) response.shouldKeepAlive = false
  }

  end(): void {
    this.endAfterNext()
    if (!this.#atRest) return
    // The client may leave its half open forever.
    boundLinger(this.#socket)
    this.#socket.end()
  }

  /**
   * Gives the connection to another process when no request runs on it and none has begun. Node's
   * parser holds nothing then.
   */
  retire(give: Give): void {
    const socket = this.#socket
    if (this.#give === null) this.#endUpgrade()
    this.#give = give
    if (!this.#atRest || !socket.writable) return
    this.#give = null
    if (socket.writableLength === 0) give(socket)
    else socket.write('', () => this.retire(give))
  }

  get active(): number {
    return this.#exchanges.length + (this.#upgrade === null ? 0 : 1)
  }

  /** A WebSocket is open for as long as it likes, and is not among them. */
  held(): HeldRequest[] {
    return this.#exchanges.map((exchange) => {
      const { request, response } = exchange
      const awaited = !request.complete && request.readableFlowing === true
      return {
        key: exchange,
        method: request.method ?? '',
        path: withoutQuery(request.url ?? ''),
        waitsFor: waitOf(this.#socket, { awaited, queued: request.readableLength }),
        responding: response.headersSent,
      }
    })
  }

  bodyStalled({ code, message }: PeerError): void {
    const { request } = this.#exchanges.at(-1)!
    const { method = '', url = '' } = request
    logEntry(
      `${requestName({ REQUEST_METHOD: method, PATH_INFO: withoutQuery(url) })}${code}: ${message}`,
    )
    // As Node's own `requestTimeout` does it: the application sees a client that disconnects.
    this.refuse(Object.assign(new Error(message), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }))
    this.destroy()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  probePeer(): void {
    for (const exchange of this.#exchanges) exchange.probePeer()
    if (!this.#full || this.#exchanges.length >= MAX_PROBE_FACTOR * MAX_PIPELINED) return
    if (!this.#exchanges.at(-1)!.request.complete) return // It has just checked itself.
    this.#socket.resume()
    this.#pauseLater()
  }

  /** Node emits 'close' only on the response whose turn it is. */
  closed(): void {
    this.#waiting.clear()
    this.#upgrade?.abort()
    for (const exchange of this.#exchanges.slice()) exchange.abort()
  }

  /** Called when Node's parser or its timeout has given up, and again after each further read. */
  refuse(error: ParserError): void {
    const socket = this.#socket
    // Bytes after the last request (RFC 9112, section 9.6). Its response is not complete yet.
    if (error.code === 'HPE_CLOSED_CONNECTION' && this.#exchanges.length > 0) return
    if (socket.bytesRead >= this.#refused + MAX_DISCARDED) socket.destroy()
    if (this.#refused !== Infinity) return
    this.#refused = socket.bytesRead
    const { rawPacket } = error
    if (rawPacket?.length === socket.bytesRead) logWrongProtocol('http', rawPacket)
    const last = this.#exchanges.at(-1)
    if (last === undefined) {
      this.#respondRefusal(error)
    } else if (last.request.complete) {
      // It was a pipelined request. Those before it get their responses first.
      this.#refusal = error
    } else {
      // A request with an invalid body is aborted, and its socket has the error, as in Node.
      if (this.#exchanges.length === 1 && !last.response.headersSent) this.#writeRefusal(error)
      socket.destroy(error)
    }
  }

  #respondRefusal(error: ParserError): void {
    const socket = this.#socket
    if (!socket.writable) {
      socket.destroy()
      return
    }
    this.#writeRefusal(error)
    // The client may still be sending.
    socket.once('finish', () => linger(socket))
    socket.end()
    socket.resume()
  }

  #writeRefusal(error: ParserError): void {
    if (!this.#socket.writable) return
    this.#socket.write(`HTTP/1.1 ${refusalStatus(error)}\r\nConnection: close\r\n\r\n`)
  }
}
