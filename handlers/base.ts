/**
 * `BaseHandler`: runs an application for one request (wsgiref.handlers.BaseHandler).
 *
 * Seen from between the two: the application above, a transport below. All behaviour of the
 * contract is here, once: the order of `startResponse` and the body, Content-Length, HEAD, statuses
 * without a body, errors, closing. A gateway adds a transport and a few overrides.
 *
 * Everything runs in the caller's turn of the event loop for as long as the application and the
 * transport do not wait: a synchronous application under CGI never leaves it.
 */
import { Buffer } from 'node:buffer'
import type {
  Application,
  Body,
  Chunk,
  Environ,
  ErrorStream,
  HeaderList,
  InputStream,
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
  whenOpen,
} from '../src/response/body.ts'
import { completeEnviron, createEnviron } from '../src/environ/environ.ts'
import { logEntry } from '../src/log.ts'
import { asLogEntry, escapeControl, show } from '../src/text.ts'
import { ApplicationError, PeerError } from '../src/errors.ts'
import { checkStatus, Headers } from '../src/response/headers.ts'
import { LazyAbortController } from '../src/request/lazy-abort-controller.ts'
import type { PathOptions } from '../src/environ/quirks.ts'
import { FileWrapper, guessScheme, isFileWrapper, isHopByHop } from '../src/wsgiref/util.ts'

/** What a transport's methods return: nothing, or a promise where the caller has to wait. */
export type MaybePromise = void | Promise<void>

/** What every handler can be told. */
export interface HandlerOptions extends PathOptions {
  /** Variables that every request sees, unless its own have the same name. */
  readonly osEnviron?: Readonly<Record<string, string>> | undefined
  /** `wsgi.multiprocess`: whether other processes serve the same application. */
  readonly multiprocess?: boolean | undefined
  /** Milliseconds that the whole answer may take. Default: no limit. */
  readonly responseTimeout?: number | undefined
}

/** Characters of a path in the log: enough to find the request by. */
const MAX_SUBJECT = 200

// The defaults of each instance, made once.
const WSGI_VERSION = [1, 0] as const
const NO_VARIABLES = {}
const ERROR_HEADERS: Readonly<HeaderList> = [['Content-Type', 'text/plain']]

export class BaseHandler {
  // Configuration parameters; can be overridden in a subclass or an instance

  wsgiVersion: readonly [number, number] = WSGI_VERSION
  wsgiMultithread = false
  wsgiMultiprocess = false
  wsgiRunOnce = false
  /** Whether `wsgi.input` has an end of its own (`wsgi.input_terminated`). */
  inputTerminated = true
  /** `portico.gateway`. */
  gateway: Environ['portico.gateway'] = 'cgi'
  /** True where the answer goes straight to the client: a status line, Date and Server are sent. */
  originServer = true
  /** The version in the status line of an origin server. */
  httpVersion = '1.0'
  /** The value of an origin server's Server header and of SERVER_SOFTWARE. */
  serverSoftware: string | null = null
  /** Variables that every request sees, unless its own have the same name. */
  osEnviron: Readonly<Record<string, string>> = NO_VARIABLES
  /** Milliseconds after which an answer that is not complete is given up; 0 for no limit. */
  responseTimeout = 0
  /** Where SCRIPT_NAME ends and PATH_INFO begins. */
  paths: PathOptions

  // Collaborator classes

  /** `wsgi.file_wrapper`; null to leave it out. */
  wsgiFileWrapper: typeof FileWrapper | null = FileWrapper
  headersClass: typeof Headers = Headers

  // Error handling: what `errorOutput` sends

  errorStatus = '500 Internal Server Error'
  errorHeaders: Readonly<HeaderList> = ERROR_HEADERS
  errorBody: Chunk = 'A server error occurred.  Please contact the administrator.'

  constructor(options: HandlerOptions = {}) {
    this.paths = options
    if (options.osEnviron) this.osEnviron = options.osEnviron
    if (options.multiprocess) this.wsgiMultiprocess = true
    if (options.responseTimeout) this.responseTimeout = options.responseTimeout
  }

  // State variables: to be read, not to be set

  environ: Environ | null = null
  status: string | null = null
  headers: Headers | null = null
  headersSent = false
  /** Bytes of the body that have been handed to the transport. */
  bytesSent = 0
  result: Body | null = null

  /** The result while it has not been closed. */
  #open: Body | null = null
  /** What is being iterated of it. */
  #iterator: Iterator<unknown> | AsyncIterator<unknown> | null = null
  #exhausted = false
  /** The bytes of a result that is a file: reading moves where it stands, so it is asked before. */
  #fileLength: number | undefined
  /** The bytes that Content-Length announces; infinite if nothing does. */
  #declared = Infinity
  /** False for HEAD, 1xx, 204 and 304: the body is dropped (RFC 9110, section 6.4.1). */
  #wantsBody = true
  /** The application has sent more than it declared: the rest is not asked for. */
  #overrun = false
  /** Nothing more is to be sent: the answer is complete, or nobody is there to get it. */
  #over = false
  readonly #lifetime = new LazyAbortController()
  /** The error that has ended the request. */
  #failure: unknown

  /**
   * Runs `application` for the one request that this handler is for.
   *
   * Resolves when the answer has been handed to the transport. It rejects only if the handling of
   * an error fails itself; the body has been closed then, and the transport told by `_end`.
   */
  async run(application: Application): Promise<void> {
    const wait = this.#run(application)
    if (wait) await wait
  }

  /**
   * `run` for a server, which goes on whatever happens: even if the handling of an error fails
   * itself, as where an `errorOutput` throws, only this request ends.
   */
  start(application: Application): void {
    // Without a promise where nothing waits, for it would cost a small request a tenth; but a `run`
    // that a subclass has overridden is the one that counts.
    const own = this.run === BaseHandler.prototype.run
    const wait = own ? this.#run(application) : this.run(application)
    wait?.catch((error: unknown) => logEntry(show(error)))
  }

  #run(application: Application): MaybePromise {
    const timer = this.responseTimeout > 0 ? this.#startTimer() : undefined
    let end: MaybePromise = undefined
    try {
      this.setupEnviron()
      const result = application(this.environ!, this.startResponse.bind(this))
      const wait = isPromise(result) ? this.#finishLater(result) : this.#finish(result)
      if (wait) end = wait.catch((error: unknown) => this.fail(error))
    } catch (error) {
      end = this.fail(error)
    }
    if (timer === undefined || !end) clearTimeout(timer)
    else end = end.finally(() => clearTimeout(timer))
    return end
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
      const message = `The answer was not complete after ${this.responseTimeout} ms`
      const error = new PeerError('PORTICO_TIMEOUT', message, '504 Gateway Timeout')
      this.disconnected(error)
      void this.fail(error)
    }, this.responseTimeout)
  }

  /**
   * The peer is gone, or the server gives up: `portico.signal` is aborted, the body is closed, and
   * what the application still sends is discarded. Without effect when the answer is over.
   */
  abort(reason: Error = new PeerError('PORTICO_DISCONNECTED', 'The client went away')): void {
    if (this.#over) return
    this.#over = true
    this.disconnected(reason)
    void this.#closeResult()
    void this.#endAborted()
  }

  async #endAborted(): Promise<void> {
    try {
      await this._end(false)
    } catch (error) {
      if (!isLoss(error)) this.logException(error)
    }
  }

  /**
   * The peer sends no more, and has probably gone: `portico.signal` is aborted. It may as well have
   * closed one half of the connection only, so what the application still answers is sent.
   */
  disconnected(
    reason: Error = new PeerError('PORTICO_DISCONNECTED', 'The client went away'),
  ): void {
    this.#lifetime.abort(reason)
  }

  /**
   * Ends the request for an error: one that `run` caught, or one that reached the process because
   * the application let it go (an uncaught exception, an unhandled rejection). The body is closed,
   * but not waited for: a generator closes only when the chunk that it waits for has come.
   */
  async fail(reason: unknown): Promise<void> {
    const error = reason ?? new ApplicationError(`The application threw ${String(reason)}`)
    void this.#closeResult()
    if (this.#over) {
      // Whoever waited on a connection that is gone may well throw what that wait threw.
      const known = error === this.#failure || this.#lifetime.aborted
      if (!known && !isLoss(error)) this.logException(error)
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

  /** Builds `environ`: the deployment's variables, the request's, and the keys of PEP 3333. */
  setupEnviron(): void {
    const environ = (this.environ ??= createEnviron())
    this.addCgiVars()
    if (this.osEnviron !== NO_VARIABLES) this.#addOsEnviron(environ)
    completeEnviron(environ, this.paths)
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
    environ['portico.abort'] = this.#lifetime // Where `portico.signal` comes from.
  }

  #addOsEnviron(environ: Record<string, unknown>): void {
    for (const name in this.osEnviron) {
      // CVE-2016-5385 again: whoever passes on all of `process.env` may have one.
      if (!(name in environ) && name !== 'HTTP_PROXY') environ[name] = this.osEnviron[name]
    }
  }

  /** `wsgi.url_scheme`. */
  getScheme(): string {
    return guessScheme(this.environ!)
  }

  /**
   * The `startResponse` that the application gets.
   *
   * @throws {ApplicationError} if the head cannot be sent as it is: a bad status, name or value, a
   *   hop-by-hop header (PEP 3333, "Other HTTP Features"), a second call without `error`.
   * @throws `error` itself if the head has been sent.
   */
  startResponse(status: string, headers: HeaderList, error?: unknown): Write {
    if (error !== undefined && error !== null) {
      if (this.headersSent) throw error
    } else if (this.headers !== null) {
      throw new ApplicationError('Headers already set!')
    }
    checkStatus(status)
    // To `Headers` nothing means none.
    if (headers === undefined) {
      throw new ApplicationError('Headers must be an array of pairs (got undefined)')
    }
    const checked = new this.headersClass(headers)
    for (const [name, value] of headers) {
      if (isHopByHop(name)) {
        throw new ApplicationError(`Hop-by-hop header, '${name}: ${value}', not allowed`)
      }
    }
    this.status = status
    this.headers = checked
    return (chunk) => this.#writeForApplication(chunk)
  }

  /**
   * The `write()` that the application gets. What the application does wrong is thrown at once. A
   * transport that fails ends the request by itself, for not every application waits; those that
   * do get a rejection, now and ever after, lest a loop of writes go on without a client.
   */
  #writeForApplication(chunk: Chunk): Promise<void> {
    let wait: MaybePromise
    try {
      wait = this.write(chunk)
      if (this.#over && this.#lifetime.aborted) this.signal.throwIfAborted()
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
   * @throws {ApplicationError} if there is no head to send yet, or `chunk` is none.
   */
  write(chunk: Chunk): MaybePromise {
    const size = chunkLength(chunk)
    if (this.#over) return
    if (!this.headersSent) {
      if (this.headers === null) throw new ApplicationError('write() before startResponse()')
      this.sendHeaders()
    }
    if (size > 0 && this.#wantsBody) this.#send(chunk, size)
    return this._flush()
  }

  /** Sends the result, and closes it. */
  finishResponse(): MaybePromise {
    const body: unknown = this.result
    if (this.#over) return this.#closeResult() // Aborted before there was a result.
    if (isChunk(body)) {
      this.#emit(body)
    } else if (Array.isArray(body)) {
      // All is there: the transport is flushed once, by `_end`.
      for (const chunk of body) this.#emit(chunk)
    } else {
      return this.#iterate(body)
    }
    return this.#complete()
  }

  /**
   * Platform-specific transmission of a file; called if the result is a `wsgiFileWrapper`. An
   * override calls `sendHeaders()` if the head is unsent, and returns true if it sent the file.
   */
  sendfile(): boolean | Promise<boolean> {
    return false
  }

  /** True if the result is a file that `sendfile` could send. */
  resultIsFile(): boolean {
    return this.wsgiFileWrapper !== null && isFileWrapper(this.result)
  }

  /** Sends the head of an answer whose body turned out to be empty. */
  finishContent(): void {
    if (this.headersSent) return
    if (this.headers === null) {
      throw new ApplicationError('The application ended without calling startResponse()')
    }
    this.sendHeaders()
  }

  /** Closes the result and forgets the request, so that a kept handler keeps nothing of it. */
  close(): MaybePromise {
    const wait = this.#closeResult()
    this.result = this.headers = this.status = this.environ = null
    return wait
  }

  /** Sends the head. */
  sendHeaders(): void {
    this.cleanupHeaders()
    this.headersSent = true
    if (!this.originServer || this.clientIsModern()) {
      this._writeHead(this.preamble() + this.headers!.toString())
    }
  }

  /** The last chance to change the headers before they are sent. */
  cleanupHeaders(): void {
    const headers = this.headers!
    const bodiless = isBodiless(this.status!)
    this.#wantsBody = !bodiless && this.environ!.REQUEST_METHOD !== 'HEAD'
    this.#declared = Infinity
    if (bodiless) {
      // RFC 9110, section 8.6: a 304 may say how long the body would be, the others may not.
      if (!this.status!.startsWith('304')) headers.delete('Content-Length')
      return
    }
    let length = headers.get('Content-Length')
    if (length === null) {
      this.setContentLength()
      length = headers.get('Content-Length')
      if (length === null) return
    } else if (headers.getAll('Content-Length').length > 1) {
      throw new ApplicationError('Content-Length is there more than once')
    }
    if (!/^[0-9]{1,15}$/.test(length)) {
      throw new ApplicationError(`Content-Length '${length}' is not a number of bytes`)
    }
    this.#declared = Number(length)
  }

  /** Adds Content-Length, which is not there, if the body's length is known without iterating. */
  setContentLength(): void {
    const body: unknown = this.result
    let length = isFileWrapper(body) ? this.#fileLength : bodyLength(body)
    if (length === undefined && this.#exhausted) length = 0
    // A HEAD request may be answered without the body that a GET would have.
    if (length === undefined || (length === 0 && this.environ!.REQUEST_METHOD === 'HEAD')) return
    this.headers!.append('Content-Length', String(length))
  }

  /** The lines before the application's headers: the status, and an origin server's own headers. */
  preamble(): string {
    if (!this.originServer) return `Status: ${this.status}\r\n`
    let lines = `HTTP/${this.httpVersion} ${this.status}\r\n`
    for (const [name, value] of this.originHeaders()) lines += `${name}: ${value}\r\n`
    return lines
  }

  /** What an origin server adds: Date and Server, each only if the application has none. */
  originHeaders(): HeaderList {
    const list: HeaderList = []
    if (!this.headers!.has('Date')) list.push(['Date', httpDate()])
    if (this.serverSoftware && !this.headers!.has('Server')) {
      list.push(['Server', this.serverSoftware])
    }
    return list
  }

  /** False for HTTP/0.9, whose clients take no head. */
  clientIsModern(): boolean {
    return this.environ!.SERVER_PROTOCOL.toUpperCase() !== 'HTTP/0.9'
  }

  /** Writes an error to `wsgi.errors`: a stack trace for ours, one line for the peer's. */
  logException(error: unknown): void {
    this.#log(error instanceof PeerError ? `${error.code}: ${error.message}` : show(error))
  }

  /** Logs `error`; answers with the error page if the head is unsent, else breaks the answer off. */
  async handleError(error: unknown): Promise<void> {
    this.logException(error)
    if (this.headersSent) {
      this.#over = true
      await this._end(false)
      return
    }
    const startResponse: StartResponse = (...head) => this.startResponse(...head)
    this.result = this.#open = this.errorOutput(this.environ!, startResponse, error)
    await this.finishResponse()
  }

  /**
   * The application that answers when the real one failed. It shows nothing of `error` but, for a
   * request that cannot be served, its status.
   */
  errorOutput(_environ: Environ, startResponse: StartResponse, error: unknown): Body {
    const headers = this.errorHeaders.map(([name, value]): [string, string] => [name, value])
    if (error instanceof PeerError) {
      startResponse(error.status, headers, error)
      return [`${error.status.slice(4)}\n`]
    }
    startResponse(this.errorStatus, headers, error)
    return [this.errorBody]
  }

  // What a gateway must override

  /**
   * Takes a piece of the body; a string is UTF-8. It may wait until `_flush`, and belongs to the
   * transport until it is sent. `_size` is its length in bytes, where the caller knows that.
   */
  _write(_chunk: Chunk, _size?: number): void {
    throw new TypeError('_write() must be overridden')
  }

  /** Takes the head, a byte string. */
  _writeHead(head: string): void {
    this._write(Buffer.from(head, 'latin1'))
  }

  /** Sends what `_write` took; returns a promise where the application has to wait before more. */
  _flush(): MaybePromise {
    throw new TypeError('_flush() must be overridden')
  }

  /**
   * The answer is over: called once, after the last `_write`. `complete` is false if it is shorter
   * than its head says, or was broken off.
   */
  _end(_complete: boolean): MaybePromise {
    return this._flush()
  }

  /** Returns `wsgi.input`. */
  getStdin(): InputStream {
    throw new TypeError('getStdin() must be overridden')
  }

  /** Returns `wsgi.errors`. */
  getStderr(): ErrorStream {
    throw new TypeError('getStderr() must be overridden')
  }

  /** Puts the request's CGI variables into `environ`. */
  addCgiVars(): void {
    throw new TypeError('addCgiVars() must be overridden')
  }

  /** Sends chunks as they come, each of them at once (PEP 3333, "Buffering and Streaming"). */
  async #iterate(body: unknown): Promise<void> {
    if (isFileWrapper(body)) {
      await whenOpen(body)
      this.#fileLength = bodyLength(body)
    }
    if (!this.resultIsFile() || !(await this.sendfile())) {
      const iterator = (this.#iterator = iteratorOf(body))
      while (!this.#over && !this.#satisfied()) {
        const next = iterator.next()
        const step = isPromise(next) ? await next : next
        if (step.done) {
          this.#exhausted = true
          break
        }
        this.#emit(step.value)
        const wait = this.#over ? undefined : this._flush()
        if (wait) await wait
      }
    }
    if (!this.#over) await this.#complete()
  }

  /** All that was to be sent has been: ends the answer, then closes the result. */
  #complete(): MaybePromise {
    this.finishContent()
    this.#over = true
    const short = this.#wantsBody && this.#declared !== Infinity && this.bytesSent < this.#declared
    if (short) {
      this.#log(`The application sent ${this.bytesSent} of the ${this.#declared} bytes it declared`)
    }
    const wait = this._end(!short)
    return wait ? wait.then(() => this.close()) : this.close()
  }

  /** One chunk of the result; the head goes before the first that is not empty. */
  #emit(chunk: unknown): void {
    if (this.#over) return // Another error has ended the request while this chunk was waited for.
    const size = chunkLength(chunk)
    if (this.headers === null) throw new ApplicationError('A body chunk before startResponse()')
    if (size === 0) return
    if (!this.headersSent) this.sendHeaders()
    if (this.#wantsBody) this.#send(chunk as Chunk, size)
  }

  /** True when no further chunk of the result could be sent. */
  #satisfied(): boolean {
    return this.#overrun || (this.headersSent && !this.#wantsBody)
  }

  #send(chunk: Chunk, size: number): void {
    const room = this.#declared - this.bytesSent
    if (size > room) {
      if (!this.#overrun) this.#log(`More than the declared ${this.#declared} bytes were cut off`)
      this.#overrun = true
      if (room === 0) return
      chunk = (typeof chunk === 'string' ? Buffer.from(chunk) : chunk).subarray(0, room)
      size = room
    }
    this.bytesSent += size
    this._write(chunk, size)
  }

  /** Closes the result: `close()`, else the iterator's `return()`; whatever happens, once. */
  #closeResult(): MaybePromise {
    const body = this.#open
    const iterator = this.#iterator
    this.#open = this.#iterator = null
    if (body === null || body === undefined) return
    try {
      const done = closeBody(body, iterator)
      if (isPromise(done)) return logFailure(done, (error) => this.logException(error))
    } catch (error) {
      this.logException(error)
    }
  }

  #log(text: string): void {
    const errors = this.getStderr()
    errors.write(asLogEntry(`${this.#subject()}${text}`))
    errors.flush()
  }

  /** Which request a line of the log is about; without the query, for that may hold secrets. */
  #subject(): string {
    // Neither complete nor there in every case; and the application may have put anything there.
    const { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO }: Partial<Environ> = this.environ ?? {}
    const [method, mount, path] = [REQUEST_METHOD, SCRIPT_NAME, PATH_INFO].map(textOf)
    if (!method) return ''
    const subject = `${method} ${mount! + path! || '/'}`.slice(0, MAX_SUBJECT)
    return `${escapeControl(subject).replaceAll('\n', '\\n')}: `
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

const WRITTEN = Promise.resolve()

/** Whether an error says that the client is gone: no fault of ours, and nothing to log. */
function isLoss(error: unknown): error is PeerError {
  return error instanceof PeerError && error.code === 'PORTICO_DISCONNECTED'
}

async function logFailure(
  done: PromiseLike<unknown>,
  log: (error: unknown) => void,
): Promise<void> {
  try {
    await done
  } catch (error) {
    log(error)
  }
}

/** RFC 9110, sections 15.2, 15.3.5 and 15.4.5. */
function isBodiless(status: string): boolean {
  return status.startsWith('1') || status.startsWith('204') || status.startsWith('304')
}

let dateSecond = 0
let dateText = ''

/** The time of an answer as HTTP wants it (RFC 9110, section 5.6.7); made once a second. */
function httpDate(): string {
  const now = Date.now()
  const second = Math.floor(now / 1000)
  if (second !== dateSecond) {
    dateSecond = second
    dateText = new Date(now).toUTCString()
  }
  return dateText
}
