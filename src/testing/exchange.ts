/**
 * One request and its response as it arrives: what the clients for tests and `portico request`
 * share. A client collects the response; the command writes each chunk when it comes.
 */
import { Buffer } from 'node:buffer'
import type { Readable } from 'node:stream'
import type { HeaderList, MaybePromise } from '../types.ts'
import { Collector, type TestRequest, type TestResponse } from './client.ts'
import { CgiHeadReader, declaredLength } from '../response/cgi-response.ts'
import { EmptyResponse } from './failures.ts'

/** Head of a response. */
export interface ResponseHead {
  /** `'200 OK'`, as a browser sees it. */
  readonly status: string
  readonly headers: HeaderList
}

/** Gets a response as it arrives. */
export interface Receiver {
  /** The connection is open, or the script runs. */
  connected?(): void
  /** Comes once, before the body. */
  head(head: ResponseHead): void
  /** A chunk of the body. The client reads no more until the promise is fulfilled. */
  body(chunk: Buffer): MaybePromise
  /** A chunk of what the application writes to its error log, if the gateway transmits it. */
  log?(chunk: Buffer): void
  /** Bytes as they are sent ('>') and received ('<'): of FastCGI and SCGI. */
  wire?(direction: '>' | '<', bytes: Buffer): void
}

/** Resolves to the reason why the response is incomplete; to undefined if it is complete. */
export type Exchange = (
  request: TestRequest,
  receiver: Receiver,
  signal?: AbortSignal,
) => Promise<string | undefined>

/** Sends a request and collects the response in memory. */
export async function collect(
  exchange: Exchange,
  request: TestRequest,
  transmitsLog: boolean,
): Promise<TestResponse> {
  const body = new Collector()
  const log = new Collector()
  let head: ResponseHead = { status: '', headers: [] }
  const broken = await exchange(request, {
    head: (received) => (head = received),
    body: (chunk) => body.add(chunk),
    log: (chunk) => log.add(chunk),
  })
  const { status, headers } = head
  const response = { status, headers, body: body.bytes(), broken: broken !== undefined }
  return transmitsLog ? { ...response, errors: log.bytes().toString() } : response
}

/** Passes a CGI response (RFC 3875, section 6) on to a receiver, in chunks of any size. */
export class CgiResponseReader {
  readonly #receiver: Receiver
  readonly #method: string
  readonly #reader = new CgiHeadReader()
  #size = 0
  #head: ResponseHead | null = null
  #received = 0
  #fault: unknown

  constructor(receiver: Receiver, method = 'GET') {
    this.#receiver = receiver
    this.#method = method
  }

  /** Whether a byte has arrived. */
  get started(): boolean {
    return this.#size > 0
  }

  add(chunk: Buffer): MaybePromise {
    this.#size += chunk.length
    if (this.#fault !== undefined) return
    try {
      if (this.#head !== null) return this.#pass(chunk)
      const bodyStart = this.#reader.add(chunk)
      if (bodyStart === null) return
      this.#head = this.#reader.head!
      this.#receiver.head(this.#head)
      return this.#pass(chunk.subarray(bodyStart))
    } catch (error) {
      this.#fault = error
    }
  }

  /**
   * Call it when the response has ended. Returns the reason if it is incomplete.
   *
   * @throws {PeerError} PORTICO_PROTOCOL, if the head is malformed, or nothing has arrived.
   */
  end(): string | undefined {
    if (this.#fault !== undefined) throw this.#fault
    if (!this.started) throw new EmptyResponse('PORTICO_PROTOCOL', 'The response is empty')
    if (this.#head === null) throw this.#reader.incomplete()
    const length = declaredLength(this.#head, this.#method)
    if (length === undefined || this.#received >= length) return undefined
    return `the body has ${this.#received} of ${length} bytes`
  }

  #pass(chunk: Buffer): MaybePromise {
    this.#received += chunk.length
    if (chunk.length > 0) return this.#receiver.body(chunk)
  }
}

/** Reads no more from a stream until the promise is fulfilled. */
export function pauseFor(stream: Readable, wait: MaybePromise): void {
  if (!wait) return
  stream.pause()
  void wait.then(
    () => stream.resume(),
    () => stream.destroy(),
  )
}
