/**
 * Checks of one response: the order of `startResponse`, `write` and the body, and the number of bytes.
 */
import type { Chunk, StartResponse, Write } from '../types.ts'
import type { OpenBody } from './open.ts'
import { count, describe, fail } from './report.ts'
import { checkEntity, checkError, checkHeaders, statusCodeOf, isBodiless } from './response.ts'

/** What a listener of node:http uses of its second argument. */
const RESPONSE_METHODS = ['end', 'json', 'send', 'setHeader', 'status', 'write', 'writeHead']

export class CheckedExchange {
  readonly #isHead: boolean
  readonly #open: OpenBody
  #started = false
  #code = 0
  #declared: number | undefined
  #sent = 0
  /** Calls of `startResponse` and of `write`, and chunks of the body. */
  #starts = 0
  #writes = 0
  #chunks = 0
  /** The number of the `startResponse` call that threw the error it was given. */
  #broken = 0
  #iterating = false
  #over = false
  #pendingWrites = 0

  constructor(method: string, open: OpenBody) {
    this.#isHead = method === 'HEAD'
    this.#open = open
  }

  /** How many chunks the body has returned. */
  get chunks(): number {
    return this.#chunks
  }

  /// ## startResponse
  /// - `startResponse(status, headers, error?)` begins the response. The application calls it with
  ///   two or three arguments, before the first chunk, and not after the end of the body. Nothing is
  ///   sent before the first chunk. *(not checked)*
  /// - A second call must pass `error`. If the headers have not been sent, the call replaces them.
  ///   If they have, the gateway throws `error`. *(not checked: middleware may hold headers back)*
  /// - The application does not catch that error. It produces no further chunk, and does not end the
  ///   body normally.
  /// ## The gateway's duties
  /// - `startResponse` returns a function, `write`. `write` returns a Promise.
  startResponse(inner: StartResponse): StartResponse {
    const startResponse: StartResponse = (...args: unknown[]) => {
      const where = `startResponse call ${++this.#starts}`
      if (args.length !== 2 && args.length !== 3) {
        fail(`${where}: takes (status, headers, error?), not ${count(args.length, 'argument')}`)
      }
      const [status, given, error] = args
      if (this.#over) {
        fail(`${where}: called after the end of the body; call it before the first chunk`)
      }
      this.#checkUnbroken(where)
      const code = statusCodeOf(where, status)
      const headers = checkHeaders(where, given)
      checkError(where, error)
      if (this.#started && (error === undefined || error === null)) {
        fail(
          `${where}: Headers already set! A second call must pass the error that caused it, not ` +
            describe(error),
        )
      }
      const declared = checkEntity(where, code, headers, this.#open.warn)
      const line = String(status)
      let write: unknown
      try {
        write = args.length === 3 ? inner(line, headers, error) : inner(line, headers)
      } catch (thrown) {
        if (error !== undefined && thrown === error) this.#broken = this.#starts
        throw thrown
      }
      if (typeof write !== 'function') {
        fail(`gateway: ${where} must return write, a function, not ${describe(write)}`)
      }
      this.#started = true
      this.#code = code
      this.#declared = declared
      return this.#write((chunk) => write(chunk))
    }
    return refuseListener(startResponse)
  }

  /// ## startResponse
  /// - `write(chunk)` is for programs that cannot return their body. It takes one chunk. It is called
  ///   before the body is iterated, never from inside the iterable that is returned.
  /// - *Warning:* an async application returns while a `write` is pending, or a plain function writes
  ///   more than the client takes at once. Await each `write`: otherwise a slow client fills the
  ///   memory.
  #write(write: (chunk: Chunk) => unknown): Write {
    return (...args: unknown[]) => {
      const where = `write call ${++this.#writes}`
      if (args.length !== 1) {
        fail(`${where}: takes one chunk, not ${count(args.length, 'argument')}`)
      }
      const [chunk] = args
      if (this.#over)
        fail(`${where}: called after the end of the body; call it before the first chunk`)
      if (this.#iterating) {
        fail(`${where}: called after the iteration of the body had begun; call it before`)
      }
      this.#count(where, chunk)
      const written = write(chunk)
      if (!(written instanceof Promise)) {
        fail(`gateway: ${where} must return a Promise, not ${describe(written)}`)
      }
      this.#pendingWrites++
      // Not every application awaits it, and an unhandled rejection would end the process.
      written.finally(() => this.#pendingWrites--).catch(() => {})
      return written
    }
  }

  /** An async application has returned its body. */
  returned(): void {
    if (this.#pendingWrites === 0) return
    this.#open.warn(`write: await every call before returning the body; ${this.#pending()}`)
  }

  /** A plain function has returned. It cannot await, and need not if the client takes everything. */
  returnedAtOnce(): void {
    if (this.#pendingWrites === 0) return
    setImmediate(() => {
      if (this.#pendingWrites === 0) return
      const { warn, warnLate } = this.#open
      const report = this.#over ? warnLate : warn
      report(`write: make the application async and await every call; ${this.#pending()}`)
    }).unref()
  }

  #pending(): string {
    return `${this.#pendingWrites} of ${count(this.#writes, 'call')} had not finished`
  }

  /** Fails if the application continues after `startResponse` threw its error. */
  #checkUnbroken(where: string): void {
    if (this.#broken === 0) return
    fail(
      `${where}: came after startResponse call ${this.#broken} had thrown the error it was given; ` +
        'the application must not catch that error',
    )
  }

  /** The first `next()` of the body. */
  iterate(): void {
    this.#iterating = true
  }

  /// ## The body
  /// - Every chunk is a Uint8Array or a string. A string is sent as UTF-8. An empty chunk is allowed
  ///   and sends nothing.
  /// - The bytes of a Uint8Array do not change any more, because they may be sent later.
  ///   *(not checked)*
  /// - `startResponse` is called before the first chunk. A generator may call it in its first step.
  /// - If there is a Content-Length, the body has that many bytes.
  /// - The body of a 1xx, 204 or 304 response is empty. *Warning:* a body for HEAD, which the gateway
  ///   drops.
  chunk(chunk: unknown): asserts chunk is Chunk {
    this.#count(`body chunk ${++this.#chunks}`, chunk)
  }

  #count(where: string, chunk: unknown): asserts chunk is Chunk {
    if (!(chunk instanceof Uint8Array) && typeof chunk !== 'string') {
      const hint = chunk instanceof Promise ? '; await it first' : ''
      fail(`${where}: must be a Uint8Array or a string, not ${describe(chunk)}${hint}`)
    }
    this.#checkUnbroken(where)
    if (!this.#started) {
      fail(`${where}: came before startResponse; call startResponse first`)
    }
    const before = this.#sent
    this.#sent += typeof chunk === 'string' ? Buffer.byteLength(chunk) : chunk.byteLength
    if (this.#sent === 0) return
    if (isBodiless(this.#code)) {
      fail(
        `${where}: must be empty for status ${this.#code}, which has no body, not ` +
          count(this.#sent, 'byte'),
      )
    }
    if (this.#isHead) {
      if (before === 0) {
        this.#open.warn(`${where}: should be empty for HEAD, not ${count(this.#sent, 'byte')}`)
      }
    } else if (this.#declared !== undefined && this.#sent > this.#declared) {
      fail(`${where}: Content-Length is ${this.#declared}, but ${count(this.#sent, 'byte')} came`)
    }
  }

  /** The body has ended normally. */
  finish(): void {
    this.#over = true
    const where = `body: the end after ${count(this.#chunks, 'chunk')}`
    this.#checkUnbroken(where)
    if (!this.#started) fail(`${where}: came before startResponse; call startResponse first`)
    if (this.#isHead || isBodiless(this.#code)) return
    if (this.#declared !== undefined && this.#sent < this.#declared) {
      fail(
        `${where}: Content-Length is ${this.#declared}, but only ${count(this.#sent, 'byte')} came`,
      )
    }
  }

  /** The body was closed early, or failed. */
  abandon(): void {
    this.#over = true
  }
}

/** A listener `(req, res)` is recognised by the methods that it calls on its second argument. */
function refuseListener(startResponse: StartResponse): StartResponse {
  for (const method of RESPONSE_METHODS) {
    Object.defineProperty(startResponse, method, {
      get: () =>
        fail(
          `The application must call startResponse(status, headers), not its ${method}(); ` +
            'wrap a listener (req, res): fromNode(listener)',
        ),
    })
  }
  return startResponse
}
