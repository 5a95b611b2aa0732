/**
 * An environ as the Request of the Fetch API that a handler gets: a real one, or where
 * `installLightFetch` has been called a light one, which makes the real one when it has to.
 *
 * The globals of the Fetch API take 19 ms to load, more than Node itself: nothing here touches one
 * of them before the first request.
 */
import type { Buffer } from 'node:buffer'
import { PeerError } from '../errors.ts'
import type { Environ } from '../types.ts'
import { applicationUri } from '../wsgiref/util.ts'
import { forwardInsides, forwardTo } from './light-prototype.ts'
import type { RequestBody } from './request-body.ts'
import { headerLines } from './request-headers.ts'
import { targetOf } from './request-target.ts'

/** What the constructor of Request refuses (Fetch Standard, section 2.2.1). */
const FORBIDDEN_METHOD = /^(?:CONNECT|TRACE|TRACK)$/i

/** The names of headers and their values in turns. */
type Lines = readonly string[]

/** @throws {PeerError} for a request that the Fetch API cannot express. */
export function createRequest(environ: Environ, body: RequestBody): Request {
  const method = environ.REQUEST_METHOD
  if (FORBIDDEN_METHOD.test(method)) {
    const text = `${method} cannot be a Request`
    throw new PeerError('PORTICO_BAD_REQUEST', text, '501 Not Implemented')
  }
  const { url } = targetOf(environ)
  const path = url === '*' ? '/' : url
  const lines = headerLines(environ, body)
  try {
    const { uri, isNormal } = originOf(environ)
    if (LightRequest.seenThrough === undefined) LightRequest.seenThrough = standIn()
    if (LightRequest.seenThrough !== globalThis.Request || !isPlain(method, lines)) {
      return realRequest(environ, body, uri + path, pairsOf(lines))
    }
    const whole = isNormal && NORMAL_PATH.test(path) ? uri + path : new URL(uri + path).href
    return new LightRequest(environ, body, whole, lines) as unknown as Request
  } catch (error) {
    throw new PeerError('PORTICO_BAD_REQUEST', `This cannot be a Request: ${String(error)}`)
  }
}

/**
 * The global Request, if light ones pass for it though nothing has been replaced; null if not. Where
 * they do (Node 20 and 22) a short answer costs three quarters of what it costs with real ones.
 */
function standIn(): typeof Request | null {
  const { Request } = globalThis
  const url = 'http://localhost/'
  if (!forwardInsides(new Request(url), LightRequest)) return null
  forwardTo(Request, Request, LightRequest)
  try {
    const environ = { REQUEST_METHOD: 'PUT' } as Environ
    const light = new LightRequest(environ, { chunks: null, framing: null }, url, ['X-A', '1'])
    const { method, headers } = new Request(light as unknown as Request)
    return method === 'PUT' && headers.get('X-A') === '1' ? Request : null
  } catch {
    return null
  }
}

/** A path and a query that are the same in a URL: nothing to encode, no segment of dots. */
const NORMAL_PATH = /^(?:[\w~!$&()*+,;=:@?/-]|(?<!\/)\.)*$/

/** Scheme and host of requests. */
interface Origin {
  readonly host: string | undefined
  readonly name: string
  readonly port: string
  readonly scheme: string
  readonly uri: string
  /** Whether it is the same in a URL. */
  readonly isNormal: boolean
}

/** That of the last request: most processes have one. */
let origin: Origin | undefined

/** A Host that is none is passed over for SERVER_NAME. */
function originOf(environ: Environ): Origin {
  const { SERVER_NAME: name, SERVER_PORT: port, HTTP_HOST: host } = environ
  const scheme = environ['wsgi.url_scheme']
  if (
    origin?.host !== host ||
    origin?.name !== name ||
    origin.port !== port ||
    origin.scheme !== scheme
  ) {
    const parts = { SERVER_NAME: name, SERVER_PORT: port, HTTP_HOST: host }
    const uri = applicationUri({ ...parts, 'wsgi.url_scheme': scheme }).slice(0, -1)
    origin = { host, name, port, scheme, uri, isNormal: new URL(uri).href === `${uri}/` }
  }
  return origin
}

function pairsOf(lines: Lines): [string, string][] {
  const pairs: [string, string][] = []
  for (let i = 0; i < lines.length; i += 2) pairs.push([lines[i]!, lines[i + 1]!])
  return pairs
}

function realRequest(
  environ: Environ,
  { chunks }: RequestBody,
  url: string,
  headers: Headers | [string, string][],
): Request {
  const method = environ.REQUEST_METHOD
  const init: RequestInit = { method, headers }
  // A GET with a body cannot be a Request, either; nobody reads such a body.
  if (chunks !== null && !/^(?:GET|HEAD)$/i.test(method)) {
    Object.assign(init, { body: webStream(chunks), duplex: 'half' })
  }
  RequestClass ??= defineRequest()
  return new RequestClass(url, init, environ)
}

/** Where a Request finds its environ. */
const ENVIRON = Symbol('portico.environ')

/** Made with the first request. */
let RequestClass: ReturnType<typeof defineRequest> | undefined

/**
 * A Request whose signal is that of the environ. To follow it from the beginning costs a Request
 * three times what else it costs, so it is asked for where it is used; `new Request(url, request)`
 * does.
 */
function defineRequest() {
  class GatewayRequest extends Request {
    readonly [ENVIRON]: Environ

    constructor(url: string, init: RequestInit, environ: Environ) {
      super(url, init)
      this[ENVIRON] = environ
    }
  }
  // Not in the class: to TypeScript what these override are properties.
  const overrides: PropertyDescriptorMap & ThisType<GatewayRequest> = {
    constructor: { value: Request },
    signal: {
      enumerable: true,
      get() {
        return this[ENVIRON]['portico.signal']
      },
    },
    clone: {
      enumerable: true,
      value() {
        const copy = Object.setPrototypeOf(clone.call(this), GatewayRequest.prototype) as object
        return Object.assign(copy, { [ENVIRON]: this[ENVIRON] })
      },
    },
  }
  const { clone } = Request.prototype
  Object.defineProperties(GatewayRequest.prototype, overrides)
  return GatewayRequest
}

/** The body is read from the gateway only as the handler reads it. */
function webStream(chunks: AsyncIterator<Buffer>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await chunks.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
    },
    { highWaterMark: 0 },
  )
}

/** Whether the constructor of Request has nothing to say of method and headers. */
function isPlain(method: string, lines: Lines): boolean {
  if (!PLAIN_METHOD.test(method)) return false
  for (let i = 0; i < lines.length; i += 2) {
    if (!TOKEN.test(lines[i]!) || NOT_VALUE.test(lines[i + 1]!)) return false
  }
  return true
}

const PLAIN_METHOD = /^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$/
/** RFC 9110, section 5.6.2. */
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/
/** Fetch Standard, section 2.2.2, "header value"; a byte string is always one of bytes. */
const NOT_VALUE = /[\0\r\n]/

/**
 * The light Request, in itself: what inherits from it, or is a Proxy for it, finds it there. In Node
 * 20 and 22 the real one may be used like that.
 */
const LIGHT = Symbol('portico.light')

/**
 * A Request that has method, URL, headers and signal. For anything else it makes a real one, which
 * `forwardTo` lets it pass for.
 */
export class LightRequest {
  /**
   * The global Request that takes one of these for its first argument; null if there is none, and
   * undefined if nobody has tried.
   */
  static seenThrough: typeof Request | null | undefined

  readonly [LIGHT]: LightRequest
  readonly #environ: Environ
  readonly #body: RequestBody
  readonly #url: string
  readonly #lines: Lines
  #headers: Headers | null = null
  #real: Request | null = null

  constructor(environ: Environ, body: RequestBody, url: string, lines: Lines) {
    this[LIGHT] = this
    this.#environ = environ
    this.#body = body
    this.#url = url
    this.#lines = lines
  }

  get method(): string {
    return this[LIGHT].#environ.REQUEST_METHOD
  }

  get url(): string {
    return this[LIGHT].#url
  }

  get headers(): Headers {
    const light = this[LIGHT]
    return (light.#headers ??= new Headers(pairsOf(light.#lines)))
  }

  get signal(): AbortSignal {
    return this[LIGHT].#environ['portico.signal']
  }

  /** The real one of a light request; anything else as it is. */
  static unwrap<T>(value: T): T | Request {
    if (typeof value !== 'object' || value === null) return value
    const { [LIGHT]: light } = value as Partial<LightRequest>
    if (light === undefined) return value
    if (light.#real === null) {
      light.#real = realRequest(light.#environ, light.#body, light.#url, light.headers)
    } else {
      copyHeaders(light.headers, light.#real.headers)
    }
    return light.#real
  }
}

/** What has been changed in the headers of a light object since the real one was made. */
export function copyHeaders(from: Headers, to: Headers): void {
  for (const name of Array.from(to.keys())) to.delete(name)
  for (const [name, value] of from) to.append(name, value)
}
