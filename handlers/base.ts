/**
 * `BaseHandler`: runs an application for one request (wsgiref.handlers.BaseHandler). It implements
 * the whole contract; a gateway adds a transport and a few overrides.
 *
 * The life of a request, whose `state` only moves forward:
 *
 *     state     event                     next      what is called
 *     waiting   startResponse             ready
 *     ready     startResponse with error  ready
 *     ready     a chunk, or the end       sending   cleanupHeaders, _writeHead
 *     sending   a chunk                   sending   _write, then _flush
 *     sending   the end of the body       ended     _end(complete), then close
 *     sending   an error                  ended     logException, _end(false); closes the body
 *     others    an error                  ended     logException, then errorOutput's response
 *     any       abort                     ended     _end(false); aborts portico.signal, closes the body
 *     ended     any                       ended     nothing is sent; an error is logged
 *
 * The server calls `start` or `run` once. It may call `abort` (the client is gone) and `disconnected`
 * (the client closed its half) at any time, more than once. `fail` takes errors from outside
 * `run`, such as uncaught exceptions. `_end` is called once, after the last `_write`. The body is
 * closed once.
 *
 * Everything runs in the caller's turn of the event loop unless the application or the transport
 * waits: a synchronous application under CGI never leaves it.
 */
import { Buffer } from 'node:buffer'
import type {
  Application,
  Body,
  Chunk,
  HeaderPairs,
  MaybePromise,
  StartResponse,
  Write,
} from '../src/types.ts'
import {
  bodyLength,
  chunkLength,
  closeBody,
  isChunk,
  isPromise,
  iteratorOf,
} from '../src/response/body.ts'
import { completeEnviron, createEnviron } from '../src/environ/environ.ts'
import { isLoss } from '../src/request/error-log.ts'
import { logEntry } from '../src/log.ts'
import { show } from '../src/text.ts'
import { ApplicationError, PeerError } from '../src/errors.ts'
import { HandlerDefaults } from '../src/request/handler-defaults.ts'
import type { HandlerOptions, RequestState } from '../src/request/handler-defaults.ts'
import { whenOpen } from '../src/response/file-part.ts'
import { isFileWrapper } from '../src/response/file-wrapper.ts'
import { frame, isBodiless, isHopByHop, lengthToAdd, UNFRAMED } from '../src/response/head.ts'
import { checkPairs, checkStatus } from '../src/response/headers.ts'
import { LazyAbortController } from '../src/environ/lazy-abort-controller.ts'

export type { HandlerOptions, MaybePromise, RequestState }

const HEADERS_NOT_SET = 'PORTICO_HEADERS_NOT_SET'
const WRITTEN = Promise.resolve()

export class BaseHandler extends HandlerDefaults {
  /** The result until it is closed, and its iterator. */
  #open: Body | null = null
  #iterator: Iterator<unknown> | AsyncIterator<unknown> | null = null
  /** The length of the body, once opening or iterating it has revealed that. */
  #knownLength: number | undefined
  #framing = UNFRAMED
  /** The application has sent more than it declared; the rest is not asked for. */
  #overrun = false
  /** `_end` has been called, or is about to be. */
  #ended = false
  readonly #lifetime = new LazyAbortController()
  /** The error that the response reports. */
  #failure: unknown

  get state(): RequestState {
    if (this.#ended) return 'ended'
    if (this.headersSent) return 'sending'
    return this.headers === null ? 'waiting' : 'ready'
  }

  /**
   * Runs `application` for one request. Resolves when the transport has taken the response.
   *
   * Rejects only if handling an error fails as well; `_end` has been called then.
   */
  async run(application: Application): Promise<void> {
    const wait = this.#run(application)
    if (wait) await wait
  }

  /** Calls `run` for a server. If it rejects, the error is logged and only this request ends. */
  start(application: Application): void {
    // Creates no promise unless something waits: a promise costs a tenth of a small request.
    const own = this.run === BaseHandler.prototype.run
    const wait = own ? this.#run(application) : this.run(application)
    wait?.catch((error: unknown) => {
      logEntry(show(error))
      this.abort()
    })
  }

  #run(application: Application): MaybePromise {
    const timer = this.responseTimeout > 0 ? this.#startTimer() : undefined
    let end: MaybePromise = undefined
    try {
      this.setupEnviron()
      const trace = this.getTrace()
      const wait = trace ? trace.run(() => this.#call(application)) : this.#call(application)
      if (wait) end = wait.catch((error: unknown) => this.fail(error))
    } catch (error) {
      end = this.fail(error)
    }
    if (timer === undefined || !end) clearTimeout(timer)
    else end = end.finally(() => clearTimeout(timer))
    return end
  }

  #call(application: Application): MaybePromise {
    const result = application(this.environ!, this.startResponse.bind(this))
    return isPromise(result) ? this.#finishLater(result) : this.#finish(result)
  }

  async #finishLater(result: PromiseLike<Body>): Promise<void> {
    const wait = this.#finish(await result)
    if (wait) await wait
  }

  #finish(result: Body): MaybePromise {
    this.result = this.#open = result
    return this.finishResponse()
  }

  #startTimer(): NodeJS.Timeout {
    return setTimeout(() => {
      const message = `The response was not complete after ${this.responseTimeout} ms`
      const error = new PeerError('PORTICO_TIMEOUT', message, '504 Gateway Timeout')
      // In this order: the first log line lets promises continue in Deno (2.9), and the application,
      // which the signal has woken, would respond before the 504.
      void this.fail(error)
      this.disconnected(error)
    }, this.responseTimeout)
  }

  /**
   * The client is gone, or the server gives up: aborts `portico.signal`, closes the body, and
   * discards what the application still sends. No effect once the response has ended.
   */
  abort(reason: Error = new PeerError('PORTICO_DISCONNECTED', 'The client disconnected')): void {
    if (this.#ended) return
    this.#ended = true
    this.disconnected(reason)
    void this.#closeResult()
    void this.#endAborted()
  }

  async #endAborted(): Promise<void> {
    try {
      await this.endTraced(false)
    } catch (error) {
      if (!isLoss(error)) this.logException(error)
    }
  }

  /**
   * The client sends no more, and is probably gone: aborts `portico.signal`. The response is still
   * sent, because the client may have closed only its half of the connection.
   */
  disconnected(
    reason: Error = new PeerError('PORTICO_DISCONNECTED', 'The client disconnected'),
  ): void {
    this.#lifetime.abort(reason)
  }

  /**
   * Ends the request because of an error that `run` caught, or that reached the process (an uncaught
   * exception). Closes the body without waiting: a generator closes only at its next chunk.
   */
  async fail(reason: unknown): Promise<void> {
    const error = reason ?? new ApplicationError(`The application threw ${String(reason)}`)
    void this.#closeResult()
    if (this.#ended) {
      // An application that waited for a client that is gone may throw the reason of the abort.
      if (error === this.#failure || this.#lifetime.aborted || isLoss(error)) return
      this.logException(error)
      return
    }
    if (isLoss(error)) {
      this.abort(error)
      return
    }
    this.#failure = error
    try {
      await this.handleError(error)
    } catch (second) {
      void this.#closeResult()
      this.abort(isLoss(second) ? second : undefined)
      if (!isLoss(second)) throw second
    }
  }

  /** `portico.signal`. */
  get signal(): AbortSignal {
    return this.#lifetime.signal
  }

  /** Fills `environ`: the request's variables, the deployment's, and the keys of PEP 3333. */
  setupEnviron(): void {
    const environ = (this.environ ??= createEnviron())
    this.addCgiVars()
    this.addOsEnviron(environ)
    completeEnviron(environ, this.paths, this.gateway)
    if (this.originServer && this.serverSoftware) environ['SERVER_SOFTWARE'] ??= this.serverSoftware
    environ['wsgi.version'] = this.wsgiVersion
    environ['wsgi.url_scheme'] = this.getScheme()
    environ['wsgi.input'] = this.getStdin()
    environ['wsgi.errors'] = this.getStderr()
    environ['wsgi.multithread'] = this.wsgiMultithread
    environ['wsgi.multiprocess'] = this.wsgiMultiprocess
    environ['wsgi.run_once'] = this.wsgiRunOnce
    environ['wsgi.input_terminated'] = this.inputTerminated
    if (this.wsgiFileWrapper) environ['wsgi.file_wrapper'] = this.wsgiFileWrapper
    environ['portico.gateway'] = this.gateway
    environ['portico.abort'] = this.#lifetime // The prototype's `portico.signal` reads it.
  }

  /**
   * The `startResponse` that the application gets.
   *
   * @throws {ApplicationError} for a status, name or value that cannot be sent, a hop-by-hop header
   *   (PEP 3333, "Other HTTP Features"), or a second call without `error`.
   * @throws `error` itself if the head has been sent.
   */
  startResponse(status: string, headers: HeaderPairs, error?: unknown): Write {
    if (error !== undefined && error !== null) {
      if (this.headersSent) throw error
    } else if (this.headers !== null) {
      throw new ApplicationError('Headers already set!', 'PORTICO_HEADERS_ALREADY_SET')
    }
    checkStatus(status)
    checkPairs(headers) // `new Headers()` takes undefined for an empty list.
    const checked = new this.headersClass(headers)
    const refused = checked.findName(isHopByHop)
    if (refused !== undefined) {
      const header = `${refused}: ${checked.get(refused)}`
      const message = `Hop-by-hop header, '${header}', not allowed`
      throw new ApplicationError(message, 'PORTICO_HOP_BY_HOP_HEADER')
    }
    this.status = status
    this.headers = checked
    return (chunk) => this.#writeForApplication(chunk)
  }

  /**
   * The `write()` that the application gets. It throws for mistakes of the application. If the
   * transport fails, the request ends, because not every application awaits its writes. One that
   * does gets a rejection from this and every later write, so that a loop of writes ends.
   */
  #writeForApplication(chunk: Chunk): Promise<void> {
    let wait: MaybePromise
    try {
      wait = this.write(chunk)
      if (this.#ended && this.#lifetime.aborted) this.signal.throwIfAborted()
    } catch (error) {
      if (error instanceof ApplicationError) throw error
      wait = Promise.reject(error)
    }
    if (!wait) return WRITTEN
    wait.catch((error: unknown) => this.fail(error))
    return wait
  }

  /**
   * Sends a chunk, and the head before the first one.
   *
   * @throws {ApplicationError} before `startResponse`, or if `chunk` is not a chunk.
   */
  write(chunk: Chunk): MaybePromise {
    const size = chunkLength(chunk)
    if (this.#ended) return
    if (!this.headersSent) {
      if (this.headers === null)
        throw new ApplicationError('write() before startResponse()', HEADERS_NOT_SET)
      this.sendHeaders()
    }
    if (size > 0 && this.#framing.sendsBody) this.#send(chunk, size)
    return this._flush()
  }

  /** Sends the result, and closes it. */
  finishResponse(): MaybePromise {
    const body: unknown = this.result
    if (this.#ended) return this.#closeResult() // Aborted before the application returned.
    const chunks: unknown[] | null = isChunk(body) ? [body] : Array.isArray(body) ? body : null
    if (chunks === null) return this.#iterate(body)
    // A single chunk is measured once: a text has to be searched for that.
    if (chunks.length === 1) this.#emit(chunks[0], (this.#knownLength = chunkLength(chunks[0])))
    // All chunks exist already, so `_end` flushes them together.
    else for (const chunk of chunks) this.#emit(chunk)
    return this.#complete()
  }

  /** Sends the head of a response whose body is empty. */
  finishContent(): void {
    if (this.headersSent) return
    if (this.headers === null) {
      throw new ApplicationError(
        'The application ended without calling startResponse()',
        HEADERS_NOT_SET,
      )
    }
    this.sendHeaders()
  }

  /** Closes the result, and drops references that a retained handler would keep in memory. */
  close(): MaybePromise {
    const wait = this.#closeResult()
    this.result = this.headers = this.status = this.environ = null
    return wait
  }

  sendHeaders(): void {
    this.cleanupHeaders()
    this.headersSent = true
    if (!this.originServer || this.clientIsModern()) {
      this._writeHead(this.preamble() + this.headers!.toString())
    }
  }

  /** Frames the body. An override can make last changes to `headers`, and calls `super`. */
  cleanupHeaders(): void {
    const headers = this.headers!
    const status = this.status!
    if (!isBodiless(status) && !headers.has('Content-Length')) this.setContentLength()
    this.#framing = frame(status, this.environ!.REQUEST_METHOD, headers.getAll('Content-Length'))
    if (this.#framing.dropsLength) headers.delete('Content-Length')
  }

  /** Adds Content-Length if the length of the body is known without iterating it. */
  setContentLength(): void {
    const body: unknown = this.result
    const known = this.#knownLength ?? (isFileWrapper(body) ? undefined : bodyLength(body))
    const length = lengthToAdd(this.environ!.REQUEST_METHOD, known)
    if (length !== undefined) this.headers!.append('Content-Length', length)
  }

  /** Logs `error` and sends the error page, or ends the response as incomplete after the head. */
  async handleError(error: unknown): Promise<void> {
    this.getTrace()?.fail(error)
    this.logException(error)
    if (this.headersSent) {
      this.#ended = true
      await this.endTraced(false)
      return
    }
    const startResponse: StartResponse = (...head) => this.startResponse(...head)
    this.result = this.#open = this.errorOutput(this.environ!, startResponse, error)
    await this.finishResponse()
  }

  /** Sends each chunk before it asks for the next (PEP 3333, "Buffering and Streaming"). */
  async #iterate(body: unknown): Promise<void> {
    if (isFileWrapper(body)) {
      await whenOpen(body)
      this.#knownLength = bodyLength(body) // Reading moves the file's position.
    }
    if (!this.resultIsFile() || !(await this.sendfile())) {
      const iterator = (this.#iterator = iteratorOf(body))
      while (!this.#ended && !this.#overrun) {
        if (this.headersSent && !this.#framing.sendsBody) break
        const next = iterator.next()
        const step = isPromise(next) ? await next : next
        if (step.done) {
          this.#knownLength ??= 0 // Used only if the head is unsent: no chunk had a byte.
          break
        }
        this.#emit(step.value)
        const wait = this.#ended ? undefined : this._flush()
        if (wait) await wait
      }
    }
    if (!this.#ended) await this.#complete()
  }

  /** Ends the response, then closes the result. */
  #complete(): MaybePromise {
    this.finishContent()
    this.#ended = true
    const { sendsBody, declared } = this.#framing
    const short = sendsBody && declared !== Infinity && this.bytesSent < declared
    if (short) {
      this.logText(`The application sent ${this.bytesSent} of the ${declared} bytes it declared`)
    }
    const wait = this.endTraced(!short)
    return wait ? wait.then(() => this.close()) : this.close()
  }

  /** Sends a chunk of the result, and the head before the first that is not empty. */
  #emit(chunk: unknown, size = chunkLength(chunk)): void {
    if (this.#ended) return // An error ended the request while this chunk was awaited.
    if (this.headers === null)
      throw new ApplicationError('A body chunk before startResponse()', HEADERS_NOT_SET)
    if (size === 0) return
    if (!this.headersSent) this.sendHeaders()
    if (this.#framing.sendsBody) this.#send(chunk as Chunk, size)
  }

  #send(chunk: Chunk, size: number): void {
    const { declared } = this.#framing
    const room = declared - this.bytesSent
    if (size > room) {
      const message = `The application sent more than the ${declared} bytes it declared; truncated`
      if (!this.#overrun) this.logText(message)
      this.#overrun = true
      if (room === 0) return
      chunk = (typeof chunk === 'string' ? Buffer.from(chunk) : chunk).subarray(0, room)
      size = room
    }
    this.bytesSent += size
    this._write(chunk, size)
  }

  /** Closes the result once: by `close()`, else by its iterator's `return()`. */
  #closeResult(): MaybePromise {
    const body = this.#open
    const iterator = this.#iterator
    this.#open = this.#iterator = null
    if (body === null || body === undefined) return
    try {
      const done = closeBody(body, iterator)
      if (!isPromise(done)) return
      return Promise.resolve(done).catch((e: unknown) => this.logException(e)) as Promise<void>
    } catch (error) {
      this.logException(error)
    }
  }
}
