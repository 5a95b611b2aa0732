/**
 * What `req.socket` and `res.socket` are in an application of node:http that runs behind a gateway:
 * a Duplex with the face of a `net.Socket`. From the framework's side it is the connection to the
 * client; what is written to it is the body only, which `from-node.ts` passes on.
 */
import type { Buffer } from 'node:buffer'
import type { AddressInfo } from 'node:net'
import { Duplex } from 'node:stream'
import type { Environ } from '../types.ts'

/** Takes what was written since the last time, and says when it wants more. */
export type Sink = (chunks: Buffer[], done: (error?: Error | null) => void) => void

export class GatewaySocket extends Duplex {
  readonly remoteAddress: string | undefined
  readonly remotePort: number | undefined
  readonly remoteFamily: 'IPv4' | 'IPv6' | undefined
  readonly localAddress: string | undefined
  readonly localPort: number | undefined
  /** As in a TLSSocket: true for https, else not there. */
  declare readonly encrypted?: true
  readonly connecting = false
  readonly pending = false
  bytesWritten = 0
  timeout = 0
  readonly #sink: Sink
  #timer: NodeJS.Timeout | null = null

  constructor(environ: Environ, sink: Sink) {
    super()
    this.#sink = sink
    this.remoteAddress = environ['REMOTE_ADDR']
    this.remotePort = portOf(environ['REMOTE_PORT'])
    this.remoteFamily = familyOf(this.remoteAddress)
    this.localAddress = environ['SERVER_ADDR']
    this.localPort = portOf(environ.SERVER_PORT)
    if (environ['wsgi.url_scheme'] === 'https') this.encrypted = true
    // Whoever wants to know listens to the request or the response.
    this.on('error', () => {})
  }

  /** Nothing is ever read here: the body of the request is the request's own. */
  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#take([chunk], done)
  }

  override _writev(list: { readonly chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#take(
      list.map(({ chunk }) => chunk),
      done,
    )
  }

  /** Nobody reads a connection on that is ended here. */
  override _final(done: (error?: Error | null) => void): void {
    done()
    this.destroy()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.setTimeout(0)
    done(error)
  }

  #take(chunks: Buffer[], done: (error?: Error | null) => void): void {
    for (const chunk of chunks) this.bytesWritten += chunk.length
    this.#timer?.refresh()
    this.#sink(chunks, done)
  }

  /** `net.Socket#setTimeout`: 'timeout' after so many milliseconds without a write; 0 for never. */
  setTimeout(milliseconds: number, listener?: () => void): this {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.timeout = milliseconds
    if (milliseconds > 0) {
      this.#timer = setTimeout(() => this.emit('timeout'), milliseconds).unref()
    }
    if (listener === undefined) return this
    return milliseconds > 0 ? this.once('timeout', listener) : this.off('timeout', listener)
  }

  /** `net.Socket#destroySoon`: closes behind what has been written. */
  destroySoon(): void {
    this.end()
  }

  get bytesRead(): number {
    return 0
  }

  address(): AddressInfo | object {
    const { localAddress: address, localPort: port } = this
    return address === undefined ? {} : { address, port, family: familyOf(address) }
  }

  // The connection itself is the gateway's.

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

function portOf(port: string | undefined): number | undefined {
  return port === undefined || !/^\d{1,5}$/.test(port) ? undefined : Number(port)
}

function familyOf(address: string | undefined): 'IPv4' | 'IPv6' | undefined {
  if (!address) return
  return address.includes(':') ? 'IPv6' : 'IPv4'
}
