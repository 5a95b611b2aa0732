/** Requests and responses of the raw HTTP client. */
import type { Buffer } from 'node:buffer'
import type { Chunk, HeaderList } from '../types.ts'

/** A request. It is neither checked nor normalised. */
export interface HttpRequest {
  /** Default GET. */
  method?: string
  /** The request target, sent unchanged. Default '/'. */
  target?: string
  /** Unless `exact` is set, Host and the framing of the body are added if missing. */
  headers?: HeaderList
  /** Sent in chunks if the headers have `Transfer-Encoding: chunked`, otherwise unchanged. */
  body?: Chunk | Iterable<Chunk> | AsyncIterable<Chunk>
  /** Default '1.1'. */
  version?: string
  /** Adds no header to `headers`. */
  exact?: boolean
  /** Called for each 1xx response, so that a body can wait for 100 Continue. */
  onInformational?: (response: HttpHead) => void
}

/** Status line and headers as received. */
export interface HttpHead {
  version: string
  status: number
  reason: string
  headers: HeaderList
  /** The values of a header joined with ', ', or undefined. Names compare without case. */
  header: (name: string) => string | undefined
}

/** A response whose body has not been read. */
export interface HttpStream extends HttpHead {
  /** The 1xx responses before it. */
  informational: HttpHead[]
  /** Trailer fields of a chunked body; complete when the body has been read. */
  trailers: HeaderList
  /** The body without its framing; throws PeerError if it is truncated or malformed. Call it once. */
  chunks: () => AsyncGenerator<Buffer, void, undefined>
}

/** A complete response. */
export interface HttpResponse extends HttpHead {
  informational: HttpHead[]
  trailers: HeaderList
  body: Buffer
  /** All bytes as received, with 1xx responses, head and framing. */
  raw: Buffer
}
