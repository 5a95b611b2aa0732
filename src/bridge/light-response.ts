/** `LightResponse`: what `new Response(…)` creates after `installLightFetch()`. */
import type { Chunk, HeaderList } from '../types.ts'
import { copyHeaders } from './light-request.ts'

type Init = ConstructorParameters<typeof Response>[1]

/** A Response made of a string or bytes. A real one is created when something else is needed. */
export class LightResponse {
  readonly #body: Chunk | null
  readonly #status: number
  #headers: Headers | null
  #real: Response | null = null
  #sent = false

  private constructor(body: Chunk | null, status: number, headers: Headers | null) {
    this.#body = body
    this.#status = status
    this.#headers = headers
    if (typeof body === 'string' && headers !== null && !headers.has('content-type')) {
      headers.set('content-type', TEXT)
    }
  }

  /** `new Response(body, init)`; null if that needs a real one, or is an error. */
  static make(body: unknown = null, init: Init = NOTHING): Response | null {
    if (typeof body !== 'string' && body !== null && !isBytes(body)) return null
    if (typeof init !== 'object' || init === null) return null
    const { status = 200, statusText = '', headers } = init
    if (statusText !== '' || !Number.isInteger(status) || status < 200 || status > 599) return null
    if (body !== null && NULL_BODY.has(status)) return null
    const own = headers ? new Headers(headers) : null
    return new LightResponse(body, status, own) as unknown as Response
  }

  get status(): number {
    return this.#status
  }

  get statusText(): string {
    return ''
  }

  get ok(): boolean {
    return this.#status < 300
  }

  get headers(): Headers {
    return (this.#headers ??= new Headers(this.#ownHeaders()))
  }

  get bodyUsed(): boolean {
    return this.#sent || (this.#real?.bodyUsed ?? false)
  }

  /** The real Response of a light one; any other value unchanged. */
  static unwrap<T>(value: T): T | Response {
    if (typeof value !== 'object' || value === null || !(#real in value)) return value
    const { headers } = value
    if (value.#real === null) {
      // `globalThis.Response` would create a light one again.
      const RealResponse = Response.prototype.constructor as typeof Response
      value.#real = new RealResponse(value.#body, { status: value.#status, headers })
      if (value.#sent) void value.#real.text() // It has been read already.
    } else {
      copyHeaders(headers, value.#real.headers)
    }
    return value.#real
  }

  /** The content of a light Response that has no real one yet; null for anything else. */
  static take(value: unknown): { status: number; headers: HeaderList; body: Chunk | null } | null {
    if (typeof value !== 'object' || value === null || !(#real in value)) return null
    if (value.#real !== null || value.#sent) return null
    value.#sent = value.#body !== null
    const headers = value.#headers === null ? value.#ownHeaders() : [...value.#headers]
    return { status: value.#status, headers, body: value.#body }
  }

  #ownHeaders(): HeaderList {
    return typeof this.#body === 'string' ? [['content-type', TEXT]] : []
  }
}

const NOTHING: NonNullable<Init> = {}

/** Fetch Standard, section 5.2, "extract a body". */
const TEXT = 'text/plain;charset=UTF-8'

/** Fetch Standard, section 2.2.3: the null body statuses that the constructor accepts. */
const NULL_BODY = new Set([204, 205, 304])

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array && value.buffer instanceof ArrayBuffer
}
