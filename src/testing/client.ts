/**
 * What all the clients of this folder have in common: a request as a browser would mean it, the
 * answer as a web server would get it. Seen from the web server, which each of them stands for.
 *
 * Strings are byte strings (one character per byte), save in bodies: UTF-8.
 */
import { Buffer } from 'node:buffer'
import { PeerError } from '../errors.ts'
import type { Chunk, HeaderList } from '../types.ts'

/** A request to an application, wherever that is mounted. */
export interface TestRequest {
  /** Default GET. */
  readonly method?: string | undefined
  /** The raw request target below the mount point: '/a%20b?c', '', 'http://host/a'. */
  readonly target: string
  /** Content-Length is added where it is missing, and Host for HTTP. */
  readonly headers?: Readonly<HeaderList> | undefined
  readonly body?: Chunk | undefined
}

/** What came back. */
export interface TestResponse {
  /** `'200 OK'`: what a browser would see in the status line. */
  readonly status: string
  /** As they came, in their order. */
  readonly headers: HeaderList
  /** The body as far as it came. */
  readonly body: Buffer
  /**
   * The answer was broken off, as far as the gateway can say so: exit code, appStatus, framing, or
   * fewer bytes than Content-Length.
   */
  readonly broken: boolean
  /** What was written to `wsgi.errors`, where the gateway carries it. */
  readonly errors?: string | undefined
}

/** Talks to one application through one gateway. */
export interface Client {
  /**
   * @throws {PeerError} for an answer that is none, or that does not come within the timeout.
   */
  request(request: TestRequest): Promise<TestResponse>
  close(): Promise<void>
}

/** What every client can be told. */
export interface ClientOptions {
  /** The mount point: '' (default) or '/…', without characters that need escaping. */
  readonly mount?: string | undefined
  /** Milliseconds for an answer to be complete. */
  readonly timeout?: number | undefined
}

/** No application that is alive takes so long on a test's request. */
export const DEFAULT_TIMEOUT = 20_000

/** A test that collects more than this had better not. */
export const MAX_ANSWER = 256 * 1024 * 1024

/** The raw target with the mount point in it. */
export function mountedTarget(target: string, mount = ''): string {
  const [, authority = '', path = ''] =
    /^([a-z][a-z0-9+.-]*:\/\/[^/?#]*)?(.*)$/is.exec(target) ?? []
  if (path === '*') return path
  const mounted = mount + path
  return authority + (/^[^?#]/.test(mounted) ? mounted : `/${mounted}`)
}

/** The body's bytes. */
export function bodyBytes(body: Chunk = ''): Buffer {
  return typeof body === 'string'
    ? Buffer.from(body)
    : Buffer.from(body.buffer, body.byteOffset, body.byteLength)
}

/** The values of a header in their order. Names compare without case. */
export function valuesOf(headers: Readonly<HeaderList>, name: string): string[] {
  const wanted = name.toLowerCase()
  return headers.filter(([key]) => key.toLowerCase() === wanted).map(([, value]) => value)
}

/** Collects what comes, up to MAX_ANSWER. */
export class Collector {
  readonly #pieces: Buffer[] = []
  #size = 0

  add(piece: Buffer): void {
    this.#size += piece.length
    if (this.#size > MAX_ANSWER) {
      throw new PeerError('PORTICO_TOO_LARGE', `an answer of more than ${MAX_ANSWER} bytes`)
    }
    this.#pieces.push(piece)
  }

  bytes(): Buffer {
    return Buffer.concat(this.#pieces)
  }
}
