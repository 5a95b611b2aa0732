/**
 * An HTTP/1.1 client for tests, seen from the client's side of the socket (RFC 9112).
 *
 * Node's own client repairs and refuses what a test wants to send and hides what a server really
 * answered. This one sends the bytes it is given, reads strictly, and shows headers as the ordered
 * pairs that came. Strings are byte strings (one character per byte), save in bodies: UTF-8.
 */
import { Buffer } from 'node:buffer'
import { connect, type Socket } from 'node:net'
import { ConfigurationError, PeerError } from '../errors.ts'
import type { Chunk, HeaderList } from '../types.ts'
import { disconnected, malformed, SocketReader, within } from './socket-reader.ts'

/** Where the server listens: TCP (`host` defaults to 127.0.0.1) or a Unix socket. */
export type HttpPlace = { host?: string; port: number } | { path: string }

/**
 * A place, also as the option `listen` has it: 'HOST:PORT' or 'unix:PATH'.
 *
 * @throws {ConfigurationError} for a string that is neither.
 */
export function readPlace(
  place: HttpPlace | string,
): { host: string; port: number } | { path: string } {
  if (typeof place === 'object') {
    return 'path' in place ? place : { host: place.host ?? '127.0.0.1', port: place.port }
  }
  const [, path, bracketed, host, port] =
    /^(?:unix:(.+)|(?:\[([^[\]]+)\]|([^\s:/[\]]*)):(\d{1,5}))$/s.exec(place) ?? []
  if (path !== undefined) return { path }
  if (port !== undefined) return { host: bracketed ?? (host || '127.0.0.1'), port: Number(port) }
  throw new ConfigurationError(
    `${JSON.stringify(place)} is no place: accepted are 'unix:PATH' and 'HOST:PORT'`,
  )
}

/** Limits of a connection; all have defaults. */
export interface HttpOptions {
  /** Milliseconds without a byte, either way, while the server's answer is waited for. */
  timeout?: number
  /** Bytes of a response head (and of a trailer section). */
  maxHead?: number
  /** Bytes of a body that is collected; `chunks()` has no limit. */
  maxBody?: number
}

/** A request. Nothing in it is checked or normalised. */
export interface HttpRequest {
  /** Default GET. */
  method?: string
  /** The request target as it goes on the wire. Default '/'. */
  target?: string
  /** Without `exact`, Host and the framing of the body are added where they are missing. */
  headers?: HeaderList
  /** Sent chunked if `Transfer-Encoding: chunked` is among the headers, else as it is. */
  body?: Chunk | Iterable<Chunk> | AsyncIterable<Chunk>
  /** Default '1.1'. */
  version?: string
  /** Sends no header that is not in `headers`. */
  exact?: boolean
  /** Called for each 1xx answer as it comes, so that a body can wait for a 100 (Continue). */
  onInformational?: (response: HttpHead) => void
}

/** Status line and headers as they came. */
export interface HttpHead {
  version: string
  status: number
  reason: string
  headers: HeaderList
  /** The values of a header joined with ', ', or undefined. Names compare without case. */
  header: (name: string) => string | undefined
}

/** An answer whose body is still on its way. */
export interface HttpStream extends HttpHead {
  /** The 1xx answers that came before. */
  informational: HttpHead[]
  /** Trailer fields of a chunked body; complete once the body has been read. */
  trailers: HeaderList
  /** The body without its framing, once; throws PeerError if it is cut short or malformed. */
  chunks: () => AsyncGenerator<Buffer, void, undefined>
}

/** An answer that is all there. */
export interface HttpResponse extends HttpHead {
  informational: HttpHead[]
  trailers: HeaderList
  body: Buffer
  /** Every byte of it as it came: 1xx answers, head, framing and all. */
  raw: Buffer
}

/** No server that is alive leaves a test client waiting for so long. */
const DEFAULT_TIMEOUT = 10_000

/** Four times what Node and Apache accept; nginx sends no more than its buffers, 8 × 8 KiB. */
const DEFAULT_MAX_HEAD = 64 * 1024

/** A test that collects more than this had better read `chunks()`. */
const DEFAULT_MAX_BODY = 256 * 1024 * 1024

/** A chunk's size line: a few digits and what little extension anybody sends. */
const MAX_CHUNK_LINE = 4096

/** RFC 9112, section 4; the reason may be empty, and some servers leave out its space. */
const STATUS_LINE = /^HTTP\/(\d\.\d) ([1-9]\d\d)(?: ([\t -~\x80-\xff]*))?$/

/** RFC 9110, sections 5.6.2 and 5.5: no folding, no control bytes. */
const HEADER_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)$/

const CHUNK_LINE = /^([0-9A-Fa-f]{1,13})[\t ]*(?:;.*)?$/

/**
 * Sends one request over a connection of its own and collects the answer.
 *
 * @throws {PeerError} PORTICO_PROTOCOL for an answer that is not HTTP/1.x, PORTICO_BODY_CUT_SHORT,
 *   PORTICO_TOO_LARGE, and PORTICO_DISCONNECTED when the server goes away or is silent for too long.
 */
export async function httpRequest(
  place: HttpPlace | string,
  request: HttpRequest = {},
  options: HttpOptions = {},
): Promise<HttpResponse> {
  const connection = await openHttp(place, options)
  try {
    return await connection.request(request)
  } finally {
    connection.close()
  }
}

/** Opens a connection for several requests, for streamed answers, or for bytes of one's own. */
export async function openHttp(
  place: HttpPlace | string,
  options: HttpOptions = {},
): Promise<HttpConnection> {
  // A server that has said all may still read on: only close() ends our side.
  const where = readPlace(place)
  const socket = connect({ ...where, allowHalfOpen: true })
  const timeout = options.timeout ?? DEFAULT_TIMEOUT
  try {
    const connected = new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    await within(timeout, 'no connection', connected)
  } catch (error) {
    socket.destroy()
    throw disconnected(error)
  }
  const host = 'path' in where ? 'localhost' : `${where.host}:${where.port}`
  return new HttpConnection(socket, host, options)
}

/** One connection to a server. Requests on it go one after the other. */
export class HttpConnection {
  readonly #socket: Socket
  readonly #host: string
  readonly #reader: SocketReader
  readonly #maxHead: number
  readonly #maxBody: number
  #answerIsDue = false
  #sending = false

  /** Use `openHttp`. */
  constructor(socket: Socket, host: string, options: HttpOptions) {
    this.#socket = socket
    this.#host = host
    this.#maxHead = options.maxHead ?? DEFAULT_MAX_HEAD
    this.#maxBody = options.maxBody ?? DEFAULT_MAX_BODY
    this.#reader = new SocketReader(socket, options.timeout ?? DEFAULT_TIMEOUT)
  }

  /** Sends a request and collects the answer. */
  async request(request: HttpRequest = {}): Promise<HttpResponse> {
    const raw: Buffer[] = []
    this.#reader.record = raw
    try {
      const { chunks, ...answer } = await this.stream(request)
      const body: Buffer[] = []
      let size = 0
      for await (const chunk of chunks()) {
        size += chunk.length
        if (size > this.#maxBody) {
          throw new PeerError('PORTICO_TOO_LARGE', `a body of more than ${this.#maxBody} bytes`)
        }
        body.push(chunk)
      }
      return { ...answer, body: Buffer.concat(body), raw: Buffer.concat(raw) }
    } finally {
      this.#reader.record = undefined
    }
  }

  /** Sends a request and resolves with the head of the answer; `chunks()` has the body. */
  async stream(request: HttpRequest = {}): Promise<HttpStream> {
    if (this.#sending || this.#answerIsDue) {
      throw new ConfigurationError('the request before is not over')
    }
    // The body goes out while the answer is read: a server may answer before it has all of it.
    const fault = this.#sendRequest(request).catch((error: unknown) => {
      // Without the rest of its body the request would never be answered.
      if (!(error instanceof PeerError)) this.close()
      return error
    })
    try {
      return await this.receive(request.method, request.onInformational)
    } catch (error) {
      // Why nothing came: the connection broke, or the producer of the body threw.
      throw this.#socket.destroyed ? ((await fault) ?? error) : error
    }
  }

  /** Sends bytes as they are (a string: a byte string); resolves when more may be sent. */
  async send(bytes: Uint8Array | string): Promise<void> {
    const chunk = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes
    // An answer that waits to be read is read first: Node throws it away when a write fails.
    await new Promise((resolve) => setImmediate(resolve))
    await new Promise<void>((resolve, reject) => {
      this.#socket.write(chunk, (error) => (error ? reject(disconnected(error)) : resolve()))
    })
  }

  /** Reads the next answer, to a request of this method. */
  async receive(
    method = 'GET',
    onInformational?: (response: HttpHead) => void,
  ): Promise<HttpStream> {
    if (this.#answerIsDue) {
      throw new ConfigurationError('the answer before has not been read to its end')
    }
    this.#answerIsDue = true
    const informational: HttpHead[] = []
    let budget = this.#maxHead
    for (;;) {
      const { head, size } = await this.#head(budget)
      // One budget for all of them: an endless row of 1xx answers is a head without an end.
      budget -= size
      if (head.status >= 200 || head.status === 101) {
        const trailers: HeaderList = []
        const chunks = this.#body(method, head, trailers)
        return { ...head, informational, trailers, chunks: () => chunks }
      }
      informational.push(head)
      onInformational?.(head)
    }
  }

  /** Says that nothing more will be sent, and reads on. */
  end(): void {
    this.#socket.end()
  }

  close(): void {
    this.#socket.destroy()
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
      // An empty chunk would end a chunked body.
      if (bytes.length === 0) continue
      if (!chunked) await this.send(bytes)
      else await this.send(Buffer.concat([hexLine(bytes.length), bytes, CRLF]))
    }
    if (chunked) await this.send('0\r\n\r\n')
  }

  async #head(budget: number): Promise<{ head: HttpHead; size: number }> {
    const line = await this.#reader.line(budget)
    const match = STATUS_LINE.exec(line)
    if (!match) throw malformed('status line', line)
    const { fields, size } = await this.#fields(budget - line.length - 2)
    const [, version = '', status, reason = ''] = match
    return {
      size: size + line.length + 2,
      head: {
        version,
        status: Number(status),
        reason,
        headers: fields,
        header: (name) => valueOf(fields, name),
      },
    }
  }

  /** Header or trailer fields with the empty line after them. */
  async #fields(budget: number): Promise<{ fields: HeaderList; size: number }> {
    const fields: HeaderList = []
    for (let size = 0; ;) {
      const line = await this.#reader.line(budget - size)
      size += line.length + 2
      if (line === '') return { fields, size }
      const match = HEADER_LINE.exec(line)
      if (!match) throw malformed('header line', line)
      fields.push([match[1]!, trimBlanks(match[2]!)])
    }
  }

  /** RFC 9112, section 6.3, in its order, without the lenience towards doubtful framing. */
  async *#body(
    method: string,
    head: HttpHead,
    trailers: HeaderList,
  ): AsyncGenerator<Buffer, void, undefined> {
    const encoding = head.header('transfer-encoding')
    const length = head.header('content-length')
    if (encoding !== undefined && length !== undefined) {
      throw malformed('framing', 'both Transfer-Encoding and Content-Length')
    }
    if (method === 'HEAD' || head.status === 204 || head.status === 304) {
      // Nothing to read.
    } else if (encoding !== undefined) {
      if (encoding.toLowerCase() !== 'chunked') throw malformed('Transfer-Encoding', encoding)
      yield* this.#chunkedBody(trailers)
    } else if (length !== undefined) {
      if (!/^\d{1,15}$/.test(length)) throw malformed('Content-Length', length)
      yield* this.#reader.take(Number(length))
    } else {
      yield* this.#reader.rest()
    }
    this.#answerIsDue = false
  }

  async *#chunkedBody(trailers: HeaderList): AsyncGenerator<Buffer, void, undefined> {
    for (;;) {
      const line = await this.#reader.line(MAX_CHUNK_LINE)
      const match = CHUNK_LINE.exec(line)
      if (!match) throw malformed('chunk size', line)
      const size = Number.parseInt(match[1]!, 16)
      if (size === 0) break
      yield* this.#reader.take(size)
      const end = await this.#reader.line(MAX_CHUNK_LINE)
      if (end !== '') throw malformed('end of a chunk', end)
    }
    trailers.push(...(await this.#fields(this.#maxHead)).fields)
  }
}

const CRLF = Buffer.from('\r\n')

function hexLine(size: number): Buffer {
  return Buffer.from(`${size.toString(16)}\r\n`)
}

function isWhole(body: HttpRequest['body']): body is Chunk {
  return typeof body === 'string' || body instanceof Uint8Array
}

function valueOf(headers: HeaderList, name: string): string | undefined {
  const wanted = name.toLowerCase()
  const values = headers.filter(([key]) => key.toLowerCase() === wanted).map(([, value]) => value)
  return values.length === 0 ? undefined : values.join(', ')
}

/** Without a regular expression: `/[\t ]+$/` is quadratic in blanks. */
function trimBlanks(value: string): string {
  let start = 0
  let end = value.length
  while (start < end && isBlank(value[start])) start += 1
  while (start < end && isBlank(value[end - 1])) end -= 1
  return value.slice(start, end)
}

function isBlank(character: string | undefined): boolean {
  return character === ' ' || character === '\t'
}
