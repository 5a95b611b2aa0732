/**
 * One request of a TestApp, in the manner of supertest: built by chaining, sent when it is awaited,
 * its answer compared with what is expected. Seen from the test.
 */
import { Buffer } from 'node:buffer'
import { isDeepStrictEqual } from 'node:util'
import { ApplicationError, PeerError } from '../errors.ts'
import type { HeaderList } from '../types.ts'
import { type TestRequest, type TestResponse, valuesOf } from './client.ts'

/** What `send` takes: a plain object or an array goes as JSON. */
export type Sendable = string | Uint8Array | URLSearchParams | FormData | object

/** An answer, with what tests look at. */
export interface TestResult extends TestResponse {
  /** The number in the status. */
  readonly code: number
  /** The body as UTF-8. */
  readonly text: string
  /** The body as JSON. @throws {SyntaxError} if it is none. */
  json(): unknown
  /** The values of a header joined with ', ', or undefined. Names compare without case. */
  header(name: string): string | undefined
}

/** Looks at an answer; throws, or rejects, if it is not as it should be. */
export type Check = (answer: TestResult) => unknown

/** What carries a request out: the TestApp, which knows cookies and redirects. */
export type Send = (request: TestRequest, redirects: number) => Promise<TestResponse>

/** Enough of a body to know what went wrong. */
const SHOWN = 300

/** A request that has not been sent; `await` sends it, once. */
export class TestCall implements PromiseLike<TestResult> {
  readonly #send: Send
  readonly #method: string
  readonly #target: string
  readonly #headers: HeaderList = []
  readonly #checks: Check[] = []
  #body: Sendable | undefined
  #redirects = 0
  #answer: Promise<TestResult> | undefined

  constructor(send: Send, method: string, target: string) {
    this.#send = send
    this.#method = method
    this.#target = target
  }

  /** Adds a header. */
  set(name: string, value: string): this {
    this.#requireUnsent()
    this.#headers.push([name, value])
    return this
  }

  /**
   * The body. Unless `set` names it, Content-Type is that of what is sent: text/plain for a string,
   * none for bytes, the form's for URLSearchParams and FormData, application/json for other objects.
   */
  send(body: Sendable): this {
    this.#requireUnsent()
    this.#body = body
    return this
  }

  /** Follows up to `max` redirects; without it none. */
  redirects(max: number): this {
    this.#requireUnsent()
    this.#redirects = max
    return this
  }

  /**
   * Expects a status; a status and a body; a header (a text is the whole value); or what a function
   * checks. A body is a text, a pattern, bytes, or an object that the answer is the JSON of.
   */
  expect(status: number, body?: string | RegExp | object): this
  expect(name: string, value: string | RegExp): this
  expect(check: Check): this
  expect(body: string | RegExp | object): this
  expect(first: number | string | object | Check, second?: string | RegExp | object): this {
    this.#requireUnsent()
    if (typeof first === 'number') {
      this.#checks.push(({ code, ...answer }) => {
        if (code !== first) throw mismatch('status', first, answer.status, answer)
      })
      if (second !== undefined) this.#checks.push((answer) => checkBody(answer, second))
    } else if (typeof first === 'function') {
      this.#checks.push(first as Check)
    } else if (typeof first === 'string' && second !== undefined) {
      const wanted = second as string | RegExp
      this.#checks.push((answer) => {
        const value = answer.header(first)
        if (value === undefined || !matches(value, wanted)) {
          throw mismatch(first, wanted, value, answer)
        }
      })
    } else {
      this.#checks.push((answer) => checkBody(answer, first))
    }
    return this
  }

  /** Sends the request, if that has not been done, and hands on the answer that was expected. */
  // oxlint-disable-next-line unicorn/no-thenable -- to be awaited is what it is for
  then<A = TestResult, B = never>(
    resolved?: ((answer: TestResult) => A | PromiseLike<A>) | null,
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#answer ??= this.#run()
    return this.#answer.then(resolved, rejected)
  }

  /** An expectation that nobody looks at any more would always be met. */
  #requireUnsent(): void {
    if (this.#answer) throw new ApplicationError('The request has been sent already')
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
    const answer = asAnswer(response)
    if (answer.broken) {
      throw new PeerError('PORTICO_BODY_CUT_SHORT', `The answer was broken off${details(answer)}`)
    }
    for (const check of this.#checks) await check(answer)
    return answer
  }
}

/** Fetch knows how forms are encoded, and the type of each body. */
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

function asAnswer(response: TestResponse): TestResult {
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
  return typeof wanted === 'string' ? value === wanted : wanted.test(value)
}

function checkBody(answer: TestResult, wanted: string | RegExp | object): void {
  const { text, body } = answer
  if (typeof wanted === 'string' || wanted instanceof RegExp) {
    if (!matches(text, wanted)) throw mismatch('body', wanted, text, answer)
  } else if (wanted instanceof Uint8Array) {
    if (!body.equals(wanted)) throw mismatch('body', `${wanted.length} bytes`, text, answer)
  } else {
    let value: unknown
    try {
      value = answer.json()
    } catch {
      throw mismatch('body', JSON.stringify(wanted), text, answer)
    }
    if (!isDeepStrictEqual(value, wanted)) {
      throw mismatch('body', JSON.stringify(wanted), text, answer)
    }
  }
}

/** What `expect` throws: the application is not as the test says. */
function mismatch(
  what: string,
  wanted: string | number | RegExp,
  got: string | undefined,
  answer: Pick<TestResult, 'status' | 'text' | 'errors'>,
): ApplicationError {
  const shown = got === undefined ? 'none' : JSON.stringify(got.slice(0, SHOWN))
  const expected = typeof wanted === 'string' ? JSON.stringify(wanted) : String(wanted)
  return new ApplicationError(`${what}: expected ${expected}, got ${shown}${details(answer)}`)
}

/** What the application said about it, and the beginning of what it answered. */
function details({ status, text, errors }: Pick<TestResult, 'status' | 'text' | 'errors'>): string {
  const log = errors === undefined || errors === '' ? '' : `\nwsgi.errors: ${errors}`
  return `\n${status}\n${text.slice(0, SHOWN)}${log}`
}
