/** `LightRequest`: the Request that handlers get after `installLightFetch()`. */
import { TOKEN } from '../text.ts'
import type { Environ } from '../types.ts'
import { realRequest } from './real-request.ts'
import type { RequestBody } from './request-body.ts'

/** Header names and values alternately, as in `rawHeaders`. */
export type Lines = readonly string[]

/**
 * The key under which a light Request has itself. An object that inherits from it, or a Proxy of
 * it, finds it there, which a private field would not allow.
 */
const LIGHT = Symbol('portico.light')

/** The global Request that `installLightFetch` has set; null before it was called. */
let installed: typeof Request | null = null

/**
 * Has the method, URL, headers and signal of a request. Everything else comes from a real Request,
 * which is created when it is first needed (see `light-prototype.ts`).
 */
export class LightRequest {
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

  /** Notes that `Class`, now the global Request, accepts light requests as arguments. */
  static install(Class: typeof Request): void {
    installed = Class
  }

  /** Whether the global Request accepts light requests. */
  static get isInstalled(): boolean {
    return installed !== null && installed === globalThis.Request
  }

  /** Whether a request needs none of the checks of the real constructor. */
  static fits(method: string, lines: Lines): boolean {
    if (!PLAIN_METHOD.test(method)) return false
    for (let i = 0; i < lines.length; i += 2) {
      if (!TOKEN.test(lines[i]!) || NOT_VALUE.test(lines[i + 1]!)) return false
    }
    return true
  }

  /** The real Request of a light one; any other value unchanged. */
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
}

const PLAIN_METHOD = /^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$/
/** Fetch Standard, section 2.2.2, "header value". Every character of a byte string is a byte. */
const NOT_VALUE = /[\0\r\n]/

/** The names and values of `lines` as pairs. */
export function pairsOf(lines: Lines): [string, string][] {
  const pairs: [string, string][] = []
  for (let i = 0; i < lines.length; i += 2) pairs.push([lines[i]!, lines[i + 1]!])
  return pairs
}

/** Replaces all headers of `to`: a light object's headers may have changed since. */
export function copyHeaders(from: Headers, to: Headers): void {
  for (const name of Array.from(to.keys())) to.delete(name)
  for (const [name, value] of from) to.append(name, value)
}
