/**
 * The base of the clients for all gateways. Each acts as a web server: it takes a request as a browser
 * would send it, and returns the gateway's response.
 *
 * Strings are byte strings, one character per byte, except in bodies, where they are UTF-8.
 */
import { Buffer } from 'node:buffer'
import { PeerError } from '../errors.ts'
import type { Chunk, HeaderList } from '../types.ts'

/** A request to an application at any mount point. */
export interface TestRequest {
  /** Default GET. */
  readonly method?: string | undefined
  /** The request target below the mount point, not decoded: '/a%20b?c', '', 'http://host/a'. */
  readonly target: string
  /** Content-Length, and for HTTP Host, are added if missing. */
  readonly headers?: Readonly<HeaderList> | undefined
  readonly body?: Chunk | undefined
}

/** A response. */
export interface TestResponse {
  /** `'200 OK'`: the status as a browser sees it. */
  readonly status: string
  /** The headers in the order of arrival. */
  readonly headers: HeaderList
  /** The body, as far as it arrived. */
  readonly body: Buffer
  /**
   * Whether the response was aborted, as far as the gateway can signal it: by exit code, appStatus,
   * framing, or fewer bytes than Content-Length.
   */
  readonly broken: boolean
  /** What was written to `wsgi.errors`, if the gateway transmits it. */
  readonly errors?: string | undefined
}

/** Sends requests to one application through one gateway. */
export interface Client {
  /**
   * @throws {PeerError} for an invalid response, or if the timeout expires first.
   */
  request(request: TestRequest): Promise<TestResponse>
  close(): Promise<void>
}

/** Options of every client. */
export interface ClientOptions {
  /** The mount point: '' (default) or '/…', without characters that need percent-encoding. */
  readonly mount?: string | undefined
  /** Milliseconds for a complete response; Infinity for no limit. Default 20,000. */
  readonly timeout?: number | undefined
}

export const DEFAULT_TIMEOUT = 20_000

/** Bytes of a response that is collected in memory. */
export const MAX_RESPONSE = 256 * 1024 * 1024

/** The request target with the mount point. */
export function mountedTarget(target: string, mount = ''): string {
  const [, authority = '', path = ''] =
    /^([a-z][a-z0-9+.-]*:\/\/[^/?#]*)?(.*)$/is.exec(target) ?? []
  if (path === '*') return path
  const mounted = mount + path
  return authority + (/^[^?#]/.test(mounted) ? mounted : `/${mounted}`)
}

/** The bytes of a body. */
export function bodyBytes(body: Chunk = ''): Buffer {
  return typeof body === 'string'
    ? Buffer.from(body)
    : Buffer.from(body.buffer, body.byteOffset, body.byteLength)
}

/** Collects chunks, up to MAX_RESPONSE bytes. */
export class Collector {
  readonly #chunks: Buffer[] = []
  #size = 0

  add(chunk: Buffer): void {
    this.#size += chunk.length
    if (this.#size > MAX_RESPONSE) {
      throw new PeerError('PORTICO_TOO_LARGE', `The response has more than ${MAX_RESPONSE} bytes`)
    }
    this.#chunks.push(chunk)
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks)
  }
}
