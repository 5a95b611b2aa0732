/**
 * An HTTP/1.1 client for tests. It sends exactly what it is given and shows exactly what it receives:
 * Node's client would correct or refuse requests, and hide parts of responses.
 *
 * Strings are byte strings, one character per byte, except in bodies, where they are UTF-8.
 */
import { Buffer } from 'node:buffer'
import { connect, type Socket } from 'node:net'
import { ConfigurationError, PeerError } from '../errors.ts'
import { checkRows } from '../options/check-row.ts'
import { MAX_TIME, type OptionRow } from '../options/row.ts'
import type { Chunk, HeaderList } from '../types.ts'
import type { HttpHead, HttpRequest, HttpResponse, HttpStream } from './http-message.ts'
import { HttpResponseReader } from './http-response-reader.ts'
import { parseAddress, type ConnectTarget } from './server-address.ts'
import { disconnected, opened, SocketReader, watch, within } from './socket-reader.ts'

/** Limits of a connection; all have defaults. */
export interface HttpOptions {
  /** Milliseconds without a byte in either direction, while waiting for a response. Infinity: no limit. */
  timeout?: number
  /** Bytes of a response head (and of a trailer section). */
  maxHead?: number
  /** Bytes of a collected body; `chunks()` has no limit. */
  maxBody?: number
}

/** Milliseconds; a working server responds sooner. */
const DEFAULT_TIMEOUT = 10_000

/** Four times what Node and Apache accept. nginx sends at most its buffers, 8 × 8 KiB. */
const DEFAULT_MAX_HEAD = 64 * 1024

/** A test with a larger body should read `chunks()`. */
const DEFAULT_MAX_BODY = 256 * 1024 * 1024

const ROWS = {
  timeout: { kind: 'time', range: [1, MAX_TIME], noLimit: Infinity, help: '' },
  maxHead: { kind: 'bytes', help: '' },
  maxBody: { kind: 'bytes', noLimit: Infinity, help: '' },
} as const satisfies Record<keyof HttpOptions, OptionRow>

/**
 * Sends one request over a new connection and collects the response.
 *
 * @throws {PeerError} PORTICO_PROTOCOL if the response is not HTTP/1.x, PORTICO_BODY_CUT_SHORT,
 *   PORTICO_TOO_LARGE, or PORTICO_DISCONNECTED if the server disconnects or times out.
 */
export async function httpRequest(
  address: ConnectTarget,
  request: HttpRequest = {},
  options: HttpOptions = {},
): Promise<HttpResponse> {
  const connection = await openHttp(address, options)
  try {
    return await connection.request(request)
  } finally {
    connection.close()
  }
}

/** Opens a connection for several requests, streamed responses, or raw bytes. */
export async function openHttp(
  address: ConnectTarget,
  options: HttpOptions = {},
  signal?: AbortSignal,
): Promise<HttpConnection> {
  checkRows('openHttp', ROWS, options)
  // A server that has ended its side may still read, so only close() ends ours.
  const parsed = parseAddress(address)
  const socket = connect({ ...parsed, allowHalfOpen: true })
  const timeout = options.timeout ?? DEFAULT_TIMEOUT
  const ended = watch(socket, signal)
  try {
    await within(timeout, 'no connection', opened(socket))
  } catch (error) {
    socket.destroy()
    throw ended(disconnected(error))
  } finally {
    ended()
  }
  const host = 'path' in parsed ? 'localhost' : `${parsed.host}:${parsed.port}`
  return new HttpConnection(socket, host, options)
}

/** One connection to a server. It carries one request at a time. */
export class HttpConnection {
  readonly #socket: Socket
  readonly #host: string
  readonly #reader: SocketReader
  readonly #responses: HttpResponseReader
  readonly #maxHead: number
  readonly #maxBody: number
  #responseIsDue = false
  #sending = false

  /** Use `openHttp`. */
  constructor(socket: Socket, host: string, options: HttpOptions) {
    this.#socket = socket
    this.#host = host
    this.#maxHead = options.maxHead ?? DEFAULT_MAX_HEAD
    this.#maxBody = options.maxBody ?? DEFAULT_MAX_BODY
    this.#reader = new SocketReader(socket, options.timeout ?? DEFAULT_TIMEOUT)
    this.#responses = new HttpResponseReader(this.#reader, this.#maxHead)
  }

  /** Sends a request and collects the response. */
  async request(request: HttpRequest = {}): Promise<HttpResponse> {
    const raw: Buffer[] = []
    this.#reader.record = raw
    try {
      const { chunks, ...head } = await this.stream(request)
      const body: Buffer[] = []
      let size = 0
      for await (const chunk of chunks()) {
        size += chunk.length
        if (size > this.#maxBody) {
          throw new PeerError(
            'PORTICO_TOO_LARGE',
            `The response body has more than ${this.#maxBody} bytes`,
          )
        }
        body.push(chunk)
      }
      return { ...head, body: Buffer.concat(body), raw: Buffer.concat(raw) }
    } finally {
      this.#reader.record = undefined
    }
  }

  /** Sends a request and resolves to the head of the response; `chunks()` reads the body. */
  async stream(request: HttpRequest = {}): Promise<HttpStream> {
    if (this.#sending || this.#responseIsDue) {
      throw new ConfigurationError('A request is already in progress on this connection')
    }
    // The body is sent while the response is read: a server may respond early.
    const fault = this.#sendRequest(request).catch((error: unknown) => {
      // The server would wait for the rest of the body forever.
      if (!(error instanceof PeerError)) this.close()
      return error
    })
    try {
      return await this.receive(request.method, request.onInformational)
    } catch (error) {
      // Throw the cause, which may be an error that the body threw.
      throw this.#socket.destroyed ? ((await fault) ?? error) : error
    }
  }

  /** Sends raw bytes, or a byte string; resolves when more may be sent. */
  async send(bytes: Uint8Array | string): Promise<void> {
    const chunk = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes
    // Reads a waiting response first: Node discards it if a write fails.
    await new Promise((resolve) => setImmediate(resolve))
    await new Promise<void>((resolve, reject) => {
      this.#socket.write(chunk, (error) => (error ? reject(disconnected(error)) : resolve()))
    })
  }

  /** Reads the next response, to a request with this method. */
  async receive(
    method = 'GET',
    onInformational?: (response: HttpHead) => void,
  ): Promise<HttpStream> {
    if (this.#responseIsDue) {
      throw new ConfigurationError('The previous response has not been read to its end')
    }
    this.#responseIsDue = true
    const informational: HttpHead[] = []
    let budget = this.#maxHead
    for (;;) {
      const { head, size } = await this.#responses.head(budget)
      // One budget for all: an endless series of 1xx responses is an endless head.
      budget -= size
      if (head.status >= 200 || head.status === 101) {
        const trailers: HeaderList = []
        const chunks = this.#read(this.#responses.body(method, head, trailers))
        return { ...head, informational, trailers, chunks: () => chunks }
      }
      informational.push(head)
      onInformational?.(head)
    }
  }

  /** Ends the sending side. */
  end(): void {
    this.#socket.end()
  }

  close(): void {
    this.#socket.destroy()
  }

  async *#read(body: AsyncGenerator<Buffer>): AsyncGenerator<Buffer, void, undefined> {
    yield* body
    this.#responseIsDue = false
  }

  async #sendRequest(request: HttpRequest): Promise<void> {
    this.#sending = true
    const { method = 'GET', target = '/', version = '1.1', body } = request
    const headers = [...(request.headers ?? [])]
    const has = (name: string) => headers.some(([key]) => key.toLowerCase() === name)
    if (!request.exact) {
      if (!has('host')) headers.unshift(['Host', this.#host])
      if (body !== undefined && !has('content-length') && !has('transfer-encoding')) {
        if (isWhole(body)) headers.push(['Content-Length', String(Buffer.byteLength(body))])
        else headers.push(['Transfer-Encoding', 'chunked'])
      }
    }
    const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    await this.send(`${method} ${target} HTTP/${version}\r\n${lines}\r\n`)
    if (body !== undefined) await this.#sendBody(body, headers)
    this.#sending = false
  }

  async #sendBody(body: NonNullable<HttpRequest['body']>, headers: HeaderList): Promise<void> {
    const chunked = headers.some(
      ([name, value]) => name.toLowerCase() === 'transfer-encoding' && /\bchunked$/i.test(value),
    )
    for await (const chunk of isWhole(body) ? [body] : body) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
      // An empty chunk would end the body.
      if (bytes.length === 0) continue
      if (!chunked) await this.send(bytes)
      else await this.send(Buffer.concat([hexLine(bytes.length), bytes, CRLF]))
    }
    if (chunked) await this.send('0\r\n\r\n')
  }
}

const CRLF = Buffer.from('\r\n')

function hexLine(size: number): Buffer {
  return Buffer.from(`${size.toString(16)}\r\n`)
}

function isWhole(body: HttpRequest['body']): body is Chunk {
  return typeof body === 'string' || body instanceof Uint8Array
}
