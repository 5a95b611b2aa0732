/**
 * What `req.socket` and `res.socket` are in an application of node:http that runs behind a gateway:
 * a Duplex with the face of a `net.Socket`. From the framework's side it is the connection to the
 * client; what is written to it is the body only, which `from-node.ts` passes on.
 */
import { Buffer } from 'node:buffer'
import type { AddressInfo } from 'node:net'
import { Duplex } from 'node:stream'
import { chunkLength } from '../response/body.ts'
import type { Chunk, Environ } from '../types.ts'

/** Tells a stream that a write is done, or has failed. */
export type Done = (error?: Error | null) => void

/** What a socket is the connection to. */
export interface Peer {
  /** Takes what was written since the last time, `size` bytes, and says when it wants more. */
  take(chunks: Chunk[], size: number, done: Done): void
  /** For `setTimeout`: nothing was read or written for so long. */
  timedOut(): void
}

interface Written {
  readonly chunk: Buffer | string
  readonly encoding: string
}

/** A text goes to the gateway as it is, which makes bytes of it together with its own. */
const OPTIONS = { decodeStrings: false }

// Whoever wants to know listens to the request or the response.
const ignore = (): void => {}

export class GatewaySocket extends Duplex {
  /** As in a TLSSocket: true for https, else not there. */
  declare readonly encrypted?: true
  readonly connecting = false
  readonly pending = false
  bytesWritten = 0
  timeout = 0
  readonly #environ: Environ
  readonly #peer: Peer
  #timer: NodeJS.Timeout | null = null

  constructor(environ: Environ, peer: Peer) {
    super(OPTIONS)
    this.#environ = environ
    this.#peer = peer
    if (environ['wsgi.url_scheme'] === 'https') this.encrypted = true
    this.on('error', ignore)
  }

  get remoteAddress(): string | undefined {
    return this.#environ['REMOTE_ADDR']
  }

  get remotePort(): number | undefined {
    return portOf(this.#environ['REMOTE_PORT'])
  }

  get remoteFamily(): 'IPv4' | 'IPv6' | undefined {
    return familyOf(this.remoteAddress)
  }

  get localAddress(): string | undefined {
    return this.#environ['SERVER_ADDR']
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

  /** Nothing is ever read here: the body of the request is the request's own. */
  override _read(): void {}

  override _write(chunk: Buffer | string, encoding: string, done: Done): void {
    this.#take([{ chunk, encoding }], done)
  }

  override _writev(list: readonly Written[], done: Done): void {
    this.#take(list, done)
  }

  /** Nobody reads a connection on that is ended here. */
  override _final(done: Done): void {
    done()
    this.destroy()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    done(error)
  }

  #take(list: readonly Written[], done: Done): void {
    const chunks: Chunk[] = []
    let size = 0
    for (const { chunk, encoding } of list) {
      if (chunk.length === 0) continue
      const text = typeof chunk === 'string' && encoding !== 'utf8'
      const piece = text ? Buffer.from(chunk, encoding as BufferEncoding) : chunk
      size += chunkLength(piece)
      chunks.push(piece)
    }
    this.bytesWritten += size
    this.active()
    this.#peer.take(chunks, size, done)
  }

  /** Something has come or gone: the time for `setTimeout` begins again. */
  active(): void {
    this.#timer?.refresh()
  }

  /** `net.Socket#setTimeout`: 'timeout' after so many idle milliseconds; 0 for never. */
  setTimeout(milliseconds: number, listener?: () => void): this {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.timeout = milliseconds
    if (milliseconds > 0) {
      this.#timer = setTimeout(() => this.#peer.timedOut(), milliseconds).unref()
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
