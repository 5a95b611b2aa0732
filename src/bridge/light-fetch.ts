/**
 * `installLightFetch`: Request and Response for a process that does nothing but answer. From the
 * handler's side they are the global ones; what those have that costs time (a stream for each body,
 * an AbortController for each Request) is made when somebody asks for it.
 */
import type { Chunk, HeaderList } from '../types.ts'
import { copyHeaders, LightRequest } from './fetch-request.ts'
import { forwardTo } from './light-prototype.ts'

/** The Request that has been put in place. */
let installed: typeof Request | null = null

/**
 * Puts light versions in place of the global Request, Response and fetch of this process, which
 * make an application behind `fromFetch` several times as fast. Call it once, before the first
 * request.
 *
 * Everything that the Fetch Standard says of them holds but one thing: the bytes that a Response is
 * made of are not copied, and so must not be changed before they have been sent.
 */
export function installLightFetch(): void {
  if (installed === globalThis.Request) return
  const { Request, Response, fetch } = globalThis
  // Proxies: `instanceof`, subclasses and static methods are those of the classes themselves.
  installed = new Proxy(Request, {
    construct: (target, args: unknown[], newTarget) =>
      Reflect.construct(
        target,
        args.map((it) => LightRequest.unwrap(it)),
        newTarget,
      ) as Request,
  })
  const light: typeof Response = new Proxy(Response, {
    construct(target, args: ConstructorParameters<typeof Response>, newTarget): Response {
      const made = newTarget === light ? LightResponse.make(args[0], args[1]) : null
      return made ?? (Reflect.construct(target, args, newTarget) as Response)
    },
  })
  forwardTo(Request, installed, LightRequest)
  forwardTo(Response, light, LightResponse)
  globalThis.Request = LightRequest.seenThrough = installed
  globalThis.Response = light
  globalThis.fetch = new Proxy(fetch, {
    apply: (target, _self, args: Parameters<typeof fetch>) =>
      target(...(args.map((it) => LightRequest.unwrap(it)) as typeof args)),
  })
}

type Init = ConstructorParameters<typeof Response>[1]

/** A Response of a body that is there: a text, or bytes. */
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

  /** What `new Response(body, init)` makes; null where that has to be a real one, or an error. */
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

  /** The real one of a light response; anything else as it is. */
  static unwrap<T>(value: T): T | Response {
    if (typeof value !== 'object' || value === null || !(#real in value)) return value
    const { headers } = value
    if (value.#real === null) {
      // Not a light one again: this is a call of the class itself.
      const RealResponse = Response.prototype.constructor as typeof Response
      value.#real = new RealResponse(value.#body, { status: value.#status, headers })
      if (value.#sent) void value.#real.text() // It has been read, and cannot be again.
    } else {
      copyHeaders(headers, value.#real.headers)
    }
    return value.#real
  }

  /** What a light response comes to of which there is no real one yet; null for anything else. */
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

/** Fetch Standard, section 2.2.3, "null body status", which may be given to the constructor. */
const NULL_BODY = new Set([204, 205, 304])

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array && value.buffer instanceof ArrayBuffer
}
