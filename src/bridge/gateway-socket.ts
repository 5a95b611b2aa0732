/**
 * What `req.socket` and `res.socket` are behind a gateway: an object with the interface of a
 * `net.Socket` that passes on the body of one response.
 *
 * It is not a Duplex, which would add a tenth to the cost of a small request: nothing is read from
 * it, because the request has the request body. It implements as much of a Writable as responses use.
 */
import { Buffer } from 'node:buffer'
import type { AddressInfo } from 'node:net'
import { getDefaultHighWaterMark, Stream } from 'node:stream'
import { PeerError } from '../errors.ts'
import type { Done, ResponseSink } from '../node-internals/server-response.ts'
import { chunkLength } from '../response/body.ts'
import type { Chunk, Environ } from '../types.ts'
import { addressOf, familyOf, portOf } from './peer-address.ts'

/** What a socket reports to. */
export interface SocketOwner {
  /** The application has ended the response. */
  readonly hasEnded: boolean
  /** There is something to `take()`. */
  flush(): void
  /** Everything has been taken by the client. */
  drained(): void
  /** For `setTimeout`: nothing was read or written for that time. */
  timedOut(): void
  /** Called before the 'close' event, so that a request is aborted before its response closes. */
  closed(): void
}

const HIGH_WATER_MARK = getDefaultHighWaterMark(false)

export class GatewaySocket extends Stream implements ResponseSink {
  /** As in a TLSSocket: true for https, else absent. */
  declare readonly encrypted?: true
  readonly connecting = false
  readonly pending = false
  readonly bytesRead = 0
  readonly readableHighWaterMark = HIGH_WATER_MARK
  readonly writableHighWaterMark = HIGH_WATER_MARK
  bytesWritten = 0
  timeout = 0
  destroyed = false
  closed = false
  errored: Error | null = null
  writableEnded = false
  writableFinished = false
  writableNeedDrain = false
  /** Bytes that were written and are not done. */
  writableLength = 0
  /** `cork()` minus `uncork()`; http.ServerResponse sets it in `_writableState`. */
  corked = 0
  readonly #environ: Environ
  readonly #owner: SocketOwner
  /** Bytes that were written since the last `take()`. */
  queuedSize = 0
  /** What has been written since the last `take()`. */
  #chunks: Chunk[] = []
  /** The callbacks of those writes. */
  #callbacks: Done[] = []
  /** Whether there was a write since the last `take()`, even of no bytes. */
  #isWaiting = false
  /** The callbacks of what has been taken and is not done; null if nothing is. */
  #taken: Done[] | null = null
  #isScheduled = false
  #timer: NodeJS.Timeout | null = null

  constructor(environ: Environ, owner: SocketOwner) {
    super()
    this.#environ = environ
    this.#owner = owner
    if (environ['wsgi.url_scheme'] === 'https') this.encrypted = true
  }

  get remoteAddress(): string | undefined {
    return addressOf(this.#environ['REMOTE_ADDR'])
  }

  get remotePort(): number | undefined {
    return portOf(this.#environ['REMOTE_PORT'])
  }

  get remoteFamily(): 'IPv4' | 'IPv6' | undefined {
    return familyOf(this.remoteAddress)
  }

  get localAddress(): string | undefined {
    return addressOf(this.#environ['SERVER_ADDR'])
  }

  get localPort(): number | undefined {
    return portOf(this.#environ.SERVER_PORT)
  }

  get localFamily(): 'IPv4' | 'IPv6' | undefined {
    return familyOf(this.localAddress)
  }

  get readyState(): 'open' | 'closed' {
    return this.destroyed ? 'closed' : 'open'
  }

  get readable(): boolean {
    return !this.destroyed
  }

  get writable(): boolean {
    return !this.destroyed && !this.writableEnded
  }

  get writableCorked(): number {
    return this.corked
  }

  /** http.ServerResponse sets `corked` in it. */
  get _writableState(): this {
    return this
  }

  write(chunk: Chunk, encoding?: BufferEncoding | Done | null, callback?: Done | null): boolean {
    const done = typeof encoding === 'function' ? encoding : callback
    if (this.destroyed || this.writableEnded) {
      if (done) process.nextTick(done, destroyedError())
      return false
    }
    this.#add(chunk, typeof encoding === 'string' ? encoding : 'utf8')
    if (done) this.#callbacks.push(done)
    this.#isWaiting = true
    this.#schedule()
    if (this.writableLength < HIGH_WATER_MARK) return true
    this.writableNeedDrain = true
    return false
  }

  /** Strings stay strings: the gateway encodes them together with its own. */
  #add(chunk: Chunk, encoding: BufferEncoding): void {
    if (chunk.length === 0) return
    const isEncoded = typeof chunk === 'string' && encoding !== 'utf8' && encoding !== 'utf-8'
    const encoded = isEncoded ? Buffer.from(chunk, encoding) : chunk
    const size = chunkLength(encoded)
    this.#chunks.push(encoded)
    this.queuedSize += size
    this.writableLength += size
    this.bytesWritten += size
    this.active()
  }

  /** In the next tick it is known whether the response has ended with what was written. */
  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    process.nextTick(flush, this)
  }

  /** Passes on what has been written, unless earlier writes are in progress. */
  flush(): void {
    this.#isScheduled = false
    this.#owner.flush()
  }

  /** Whether there is something to take. */
  get isWaiting(): boolean {
    return this.#isWaiting && this.#taken === null
  }

  /** What has been written. The caller calls `done` when it has been sent. */
  take(): Chunk[] {
    const chunks = this.#chunks
    this.#taken = this.#callbacks
    this.#chunks = []
    this.#callbacks = []
    this.queuedSize = 0
    this.#isWaiting = false
    return chunks
  }

  /** Completes the writes that were taken. */
  done(): void {
    const taken = this.#taken
    if (taken === null) return
    this.#taken = null
    this.writableLength = this.queuedSize
    if (this.writableNeedDrain && this.writableLength === 0 && !this.destroyed) {
      this.writableNeedDrain = false
      this.emit('drain')
      this.#owner.drained()
    }
    for (const callback of taken) callback(null)
    if (this.#isWaiting) this.flush()
    else if (this.writableEnded) this.#finish()
  }

  cork(): void {
    this.corked += 1
  }

  uncork(): void {
    if (this.corked === 0) return
    this.corked -= 1
    if (this.corked === 0 && this.#isWaiting) this.#schedule()
  }

  /** Ending the writable side closes the whole socket, after what has been written. */
  end(chunk?: Chunk | Done, encoding?: BufferEncoding | Done, callback?: Done): this {
    if (typeof chunk === 'function') return this.end(undefined, undefined, chunk)
    if (typeof encoding === 'function') return this.end(chunk, undefined, encoding)
    if (callback !== undefined) this.once('finish', callback)
    if (chunk !== undefined && chunk !== null) this.write(chunk, encoding)
    if (this.writableEnded || this.destroyed) return this
    this.writableEnded = true
    if (!this.#isWaiting && this.#taken === null) process.nextTick(finish, this)
    return this
  }

  #finish(): void {
    if (this.destroyed) return
    this.writableFinished = true
    this.emit('finish')
    this.destroy()
  }

  /** For `end` with nothing to send. */
  finish(): void {
    this.#finish()
  }

  destroy(error?: Error | null): this {
    if (this.destroyed) return this
    this.destroyed = true
    this.errored = error ?? null
    // An incomplete response must not look complete if the application ends it later.
    if (!this.#owner.hasEnded) this.#isWaiting = false
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    process.nextTick(close, this)
    return this
  }

  /** The end of `destroy`. */
  close(): void {
    const callbacks = [...(this.#taken ?? []), ...this.#callbacks]
    this.#taken = null
    this.#callbacks = []
    this.#isWaiting = false
    // With this error http.ServerResponse knows that it has not finished.
    for (const callback of callbacks) callback(destroyedError())
    this.closed = true
    if (this.errored !== null && this.listenerCount('error') > 0) this.emit('error', this.errored)
    this.#owner.closed()
    this.emit('close', this.errored !== null)
  }

  /** `net.Socket#destroySoon`: closes after what has been written. */
  destroySoon(): void {
    this.end()
  }

  /** Something was read or written: the time of `setTimeout` starts again. */
  active(): void {
    this.#timer?.refresh()
  }

  /** After the response, the client's errors are those that the parser of node:http gives. */
  failed(error: unknown): Error {
    const isLoss = error instanceof PeerError && LOSSES.has(error.code)
    return this.destroyed && isLoss ? disconnected() : (error as Error)
  }

  /** `net.Socket#setTimeout`: 'timeout' after so many idle milliseconds; 0 for never. */
  setTimeout(milliseconds: number, listener?: () => void): this {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.timeout = milliseconds
    if (milliseconds > 0) {
      this.#timer = setTimeout(() => this.#owner.timedOut(), milliseconds).unref()
    }
    if (listener === undefined) return this
    return milliseconds > 0 ? this.once('timeout', listener) : this.off('timeout', listener)
  }

  address(): AddressInfo | object {
    const { localAddress: address, localPort: port } = this
    return address === undefined ? {} : { address, port, family: familyOf(address) }
  }

  // There is nothing to read, and the connection itself is the gateway's.

  read(): null {
    return null
  }

  pause(): this {
    return this
  }

  resume(): this {
    return this
  }

  isPaused(): boolean {
    return false
  }

  setEncoding(): this {
    return this
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }
}

// Functions of the module, so that a tick needs no closure.
function flush(socket: GatewaySocket): void {
  socket.flush()
}

function finish(socket: GatewaySocket): void {
  socket.finish()
}

function close(socket: GatewaySocket): void {
  socket.close()
}

/** The rest of a request body does not arrive. */
const LOSSES = new Set<string>(['PORTICO_DISCONNECTED', 'PORTICO_BODY_CUT_SHORT'])

/** The error that node:http gives a request whose connection is closed before its response. */
export function disconnected(): Error {
  return Object.assign(new Error('aborted'), { code: 'ECONNRESET' })
}

/** The error of a write that a destroyed stream has not done. */
function destroyedError(): Error {
  const message = 'Cannot call write after a stream was destroyed'
  return Object.assign(new Error(message), { code: 'ERR_STREAM_DESTROYED' })
}
