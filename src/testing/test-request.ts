/** One request of a TestApp: built by chaining, sent when it is awaited, then checked. */
import { Buffer } from 'node:buffer'
import { isDeepStrictEqual } from 'node:util'
import { ApplicationError, PeerError } from '../errors.ts'
import { isInteger, refuse } from '../options/values.ts'
import type { HeaderList } from '../types.ts'
import { valuesOf } from '../response/cgi-response.ts'
import type { TestRequest, TestResponse } from './client.ts'

/** What `send` accepts. A plain object or an array is sent as JSON. */
export type Sendable = string | Uint8Array | URLSearchParams | FormData | object

/** A response, with helpers for tests. */
export interface TestResult extends TestResponse {
  /** The status code. */
  readonly code: number
  /** The body as UTF-8. */
  readonly text: string
  /** The body parsed as JSON. @throws {SyntaxError} if it is not JSON. */
  json(): unknown
  /** The values of a header joined with ', ', or undefined. Names are case-insensitive. */
  header(name: string): string | undefined
}

/** Checks a response; throws, or rejects, if the check fails. */
export type Check = (result: TestResult) => unknown

/** Sends a request, with cookies and redirects. */
export type Send = (request: TestRequest, redirects: number) => Promise<TestResponse>

/** Characters of a body in a message. */
const SHOWN = 300

/** A request; `await` sends it, once. */
export class TestCall implements PromiseLike<TestResult> {
  readonly #send: Send
  readonly #method: string
  readonly #target: string
  readonly #headers: HeaderList = []
  readonly #checks: Check[] = []
  #body: Sendable | undefined
  #redirects = 0
  #result: Promise<TestResult> | undefined

  constructor(send: Send, method: string, target: string) {
    this.#send = send
    this.#method = method
    this.#target = target
  }

  /**
   * Adds a header.
   *
   * @throws {ConfigurationError} if the value is not text.
   */
  set(name: string, value: string): this {
    this.#requireUnsent()
    if (typeof value !== 'string') refuse('set', `the header ${name}`, value, 'a string')
    this.#headers.push([name, value])
    return this
  }

  /**
   * Sets the body. Unless `set` gives a Content-Type, it is text/plain for a string, none for bytes,
   * that of the form for URLSearchParams and FormData, and application/json for other objects.
   */
  send(body: Sendable): this {
    this.#requireUnsent()
    this.#body = body
    return this
  }

  /**
   * Follows up to `max` redirects. Without this call, none.
   *
   * @throws {ConfigurationError} if `max` is not a whole number.
   */
  redirects(max: number): this {
    this.#requireUnsent()
    if (!isInteger(max, 0)) refuse('redirects', 'max', max, 'a whole number, 0 or more')
    this.#redirects = max
    return this
  }

  /**
   * Expects a status, a status and a body, a header, a body, or what a function checks. A string is
   * the whole value; a regular expression matches a part. A body can also be bytes, or an object that
   * equals the parsed JSON.
   */
  expect(status: number, body?: string | RegExp | object): this
  expect(name: string, value: string | RegExp): this
  expect(check: Check): this
  expect(body: string | RegExp | object): this
  expect(first: number | string | object | Check, second?: string | RegExp | object): this {
    this.#requireUnsent()
    if (typeof first === 'number') {
      this.#checks.push(({ code, ...result }) => {
        if (code !== first) throw mismatch('status', first, result.status, result)
      })
      if (second !== undefined) this.#checks.push((result) => checkBody(result, second))
    } else if (typeof first === 'function') {
      this.#checks.push(first as Check)
    } else if (typeof first === 'string' && second !== undefined) {
      if (typeof second !== 'string' && !(second instanceof RegExp)) {
        refuse('expect', `the header ${first}`, second, 'a string or a regular expression')
      }
      const wanted = second
      this.#checks.push((result) => {
        const value = result.header(first)
        if (value === undefined || !matches(value, wanted)) {
          throw mismatch(first, wanted, value, result)
        }
      })
    } else {
      this.#checks.push((result) => checkBody(result, first))
    }
    return this
  }

  /** Sends the request, unless it was sent, and resolves to the response if all checks pass. */
  // oxlint-disable-next-line unicorn/no-thenable -- users await it
  then<A = TestResult, B = never>(
    resolved?: ((result: TestResult) => A | PromiseLike<A>) | null,
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#result ??= this.#run()
    return this.#result.then(resolved, rejected)
  }

  /** An expectation that is added later would never be checked. */
  #requireUnsent(): void {
    if (this.#result) throw new ApplicationError('The request has already been sent')
  }

  async #run(): Promise<TestResult> {
    const { type, bytes } = await encode(this.#body)
    const headers = [...this.#headers]
    if (type !== null && valuesOf(headers, 'Content-Type').length === 0) {
      headers.push(['Content-Type', type])
    }
    const request = { method: this.#method, target: this.#target, headers }
    const response = await this.#send(
      bytes === undefined ? request : { ...request, body: bytes },
      this.#redirects,
    )
    const result = asResult(response)
    if (result.broken) {
      throw new PeerError('PORTICO_BODY_CUT_SHORT', `The response was aborted${details(result)}`)
    }
    for (const check of this.#checks) await check(result)
    return result
  }
}

/** Encodes a body with the Fetch API, which knows forms and the type of each body. */
async function encode(
  body: Sendable | undefined,
): Promise<{ type: string | null; bytes: Buffer | undefined }> {
  if (body === undefined) return { type: null, bytes: undefined }
  const known =
    typeof body === 'string' ||
    body instanceof Uint8Array ||
    body instanceof URLSearchParams ||
    body instanceof FormData
  if (!known) return { type: 'application/json', bytes: Buffer.from(JSON.stringify(body)) }
  const encoded = new Response(body as ConstructorParameters<typeof Response>[0])
  return {
    type: encoded.headers.get('content-type'),
    bytes: Buffer.from(await encoded.arrayBuffer()),
  }
}

function asResult(response: TestResponse): TestResult {
  const text = response.body.toString()
  return {
    ...response,
    code: Number(response.status.slice(0, 3)),
    text,
    json: () => JSON.parse(text) as unknown,
    header(name) {
      const values = valuesOf(response.headers, name)
      return values.length === 0 ? undefined : values.join(', ')
    },
  }
}

function matches(value: string, wanted: string | RegExp): boolean {
  // Not `test()`, which begins where an expression with the flag g or y has found the last match.
  return typeof wanted === 'string' ? value === wanted : value.search(wanted) !== -1
}

function checkBody(result: TestResult, wanted: string | RegExp | object): void {
  const { text, body } = result
  if (typeof wanted === 'string' || wanted instanceof RegExp) {
    if (!matches(text, wanted)) throw mismatch('body', wanted, text, result)
  } else if (wanted instanceof Uint8Array) {
    if (!body.equals(wanted)) throw mismatch('body', `${wanted.length} bytes`, text, result)
  } else {
    let value: unknown
    try {
      value = result.json()
    } catch {
      throw mismatch('body', JSON.stringify(wanted), text, result)
    }
    if (!isDeepStrictEqual(value, wanted)) {
      throw mismatch('body', JSON.stringify(wanted), text, result)
    }
  }
}

/** The error of a failed check. */
function mismatch(
  what: string,
  wanted: string | number | RegExp,
  got: string | undefined,
  result: Pick<TestResult, 'status' | 'text' | 'errors'>,
): ApplicationError {
  const shown = got === undefined ? 'none' : JSON.stringify(got.slice(0, SHOWN))
  const expected = typeof wanted === 'string' ? JSON.stringify(wanted) : String(wanted)
  return new ApplicationError(`${what}: expected ${expected}, got ${shown}${details(result)}`)
}

/** The beginning of the response, and the log of the application. */
function details({ status, text, errors }: Pick<TestResult, 'status' | 'text' | 'errors'>): string {
  const log = errors === undefined || errors === '' ? '' : `\nwsgi.errors: ${errors}`
  return `\n${status}\n${text.slice(0, SHOWN)}${log}`
}
