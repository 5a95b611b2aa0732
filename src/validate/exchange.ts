/**
 * One request under the validator: in which order `startResponse`, `write` and the body came, and
 * how many bytes. Application and gateway meet here, so both are checked.
 */
import type { Chunk, StartResponse, Write } from '../types.ts'
import type { OpenBody } from './open.ts'
import { count, fail, show } from './report.ts'
import { checkEntity, checkError, checkHeaders, checkStatus, isBodiless } from './response.ts'

/** What a listener of node:http does with its second argument. */
const RESPONSE_METHODS = ['end', 'json', 'send', 'setHeader', 'status', 'write', 'writeHead']

export class Exchange {
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
  /** The call of `startResponse` that threw the error it was given. */
  #broken = 0
  #iterating = false
  #over = false
  #pendingWrites = 0

  constructor(method: string, open: OpenBody) {
    this.#isHead = method === 'HEAD'
    this.#open = open
  }

  /** How many chunks the body has given. */
  get chunks(): number {
    return this.#chunks
  }

  /// ## startResponse
  /// - `startResponse(status, headers, error?)` announces the response. It is called with two or
  ///   three arguments, before the first chunk and not after the body has ended. Nothing is sent
  ///   before the first chunk. *(not checked)*
  /// - A second call needs `error`. Before the head is sent it replaces the head; afterwards the
  ///   gateway throws `error`. *(not checked: what middleware keeps back has not been sent)*
  /// - What the gateway throws then the application lets through. It gives neither a chunk nor an
  ///   end to what cannot be completed.
  /// ## The gateway's duties
  /// - `startResponse` returns `write`, a function; `write` returns a Promise.
  startResponse(inner: StartResponse): StartResponse {
    const startResponse: StartResponse = (...args: unknown[]) => {
      const where = `startResponse call ${++this.#starts}`
      if (args.length !== 2 && args.length !== 3) {
        fail(`${where}: takes (status, headers, error?), not ${count(args.length, 'argument')}`)
      }
      const [status, given, error] = args
      if (this.#over) fail(`${where}: came after the body had ended; it must come before`)
      this.#checkUnbroken(where)
      const code = checkStatus(where, status)
      const headers = checkHeaders(where, given)
      checkError(where, error)
      if (this.#started && (error === undefined || error === null)) {
        fail(
          `${where}: Headers already set! It must be given the error that made it necessary, not ` +
            show(error),
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
        fail(`gateway: ${where} must return write, a function, not ${show(write)}`)
      }
      this.#started = true
      this.#code = code
      this.#declared = declared
      return this.#write((chunk) => write(chunk))
    }
    return refuseListener(startResponse)
  }

  /// ## startResponse
  /// - `write(chunk)` is for programs that cannot return their body. It takes one chunk, and comes
  ///   before the body: never from inside the iterable that is returned.
  /// - *Warning:* an asynchronous application that is done before what it wrote, and a plain
  ///   function that wrote more than the client takes at once: each `write` is to be awaited, or
  ///   a slow client fills the memory.
  #write(write: (chunk: Chunk) => unknown): Write {
    return (...args: unknown[]) => {
      const where = `write call ${++this.#writes}`
      if (args.length !== 1) {
        fail(`${where}: takes one chunk, not ${count(args.length, 'argument')}`)
      }
      const [chunk] = args
      if (this.#over) fail(`${where}: came after the body had ended; it must come before`)
      if (this.#iterating) {
        fail(`${where}: came after the iteration of the body had begun; it must come before`)
      }
      this.#count(where, chunk)
      const written = write(chunk)
      if (!(written instanceof Promise)) {
        fail(`gateway: ${where} must return a Promise, not ${show(written)}`)
      }
      this.#pendingWrites++
      // The Promise itself is given on, and what is derived from it is heard: a rejection that
      // nobody waits for ends the process, and not every application waits.
      written.finally(() => this.#pendingWrites--).catch(() => {})
      return written
    }
  }

  /** The promise of an asynchronous application has been kept. */
  returned(): void {
    if (this.#pendingWrites === 0) return
    this.#open.warn(
      `write: every call must be awaited before the body is returned; ${this.#pending()}`,
    )
  }

  /** A plain function has returned. It could not await; it may have had no need to. */
  returnedAtOnce(): void {
    if (this.#pendingWrites === 0) return
    setImmediate(() => {
      if (this.#pendingWrites === 0) return
      const { warn, warnLate } = this.#open
      const told = this.#over ? warnLate : warn
      told(
        `write: an application that writes must be async and await each call; ${this.#pending()}`,
      )
    }).unref()
  }

  #pending(): string {
    return `${this.#pendingWrites} of ${count(this.#writes, 'call')} had not finished`
  }

  /** Objects if the application goes on where it had to let its own error through. */
  #checkUnbroken(where: string): void {
    if (this.#broken === 0) return
    fail(
      `${where}: came after startResponse call ${this.#broken} had thrown the error it was given; ` +
        'the application must let it through',
    )
  }

  /** The first `next()` of the body. */
  iterate(): void {
    this.#iterating = true
  }

  /// ## The body
  /// - Every chunk is a Uint8Array or a string; a string is sent as UTF-8. An empty one is allowed
  ///   and sends nothing.
  /// - `startResponse` is called before the first chunk. A generator may do it at its first step.
  /// - If there is a Content-Length, the body has as many bytes.
  /// - The body of 1xx, 204 and 304 is empty. *Warning:* a body for HEAD; the gateway drops it.
  chunk(chunk: unknown): asserts chunk is Chunk {
    this.#count(`body chunk ${++this.#chunks}`, chunk)
  }

  #count(where: string, chunk: unknown): asserts chunk is Chunk {
    if (!(chunk instanceof Uint8Array) && typeof chunk !== 'string') {
      const hint = chunk instanceof Promise ? '; await it first' : ''
      fail(`${where}: must be a Uint8Array or a string, not ${show(chunk)}${hint}`)
    }
    this.#checkUnbroken(where)
    if (!this.#started) {
      fail(`${where}: came before startResponse; it must be called first`)
    }
    const before = this.#sent
    this.#sent += typeof chunk === 'string' ? Buffer.byteLength(chunk) : chunk.byteLength
    if (this.#sent === 0) return
    if (isBodiless(this.#code)) {
      fail(
        `${where}: must be empty for the status ${this.#code}, which has no body, not ` +
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

  /** The body came to its end by itself. */
  finish(): void {
    this.#over = true
    const where = `body: the end after ${count(this.#chunks, 'chunk')}`
    this.#checkUnbroken(where)
    if (!this.#started) fail(`${where}: came before startResponse; it must be called first`)
    if (this.#isHead || isBodiless(this.#code)) return
    if (this.#declared !== undefined && this.#sent < this.#declared) {
      fail(
        `${where}: Content-Length is ${this.#declared}, but only ${count(this.#sent, 'byte')} came`,
      )
    }
  }

  /** The body was closed, or failed. */
  abandon(): void {
    this.#over = true
  }
}

/** A listener `(req, res)` cannot be told by its looks, but by what it asks of its second argument. */
function refuseListener(startResponse: StartResponse): StartResponse {
  for (const method of RESPONSE_METHODS) {
    Object.defineProperty(startResponse, method, {
      get: () =>
        fail(
          `The application must call startResponse(status, headers), not its ${method}(); ` +
            'a listener (req, res) has to be wrapped: fromNode(listener)',
        ),
    })
  }
  return startResponse
}
