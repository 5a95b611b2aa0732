/** `HandlerDefaults`: the members of `BaseHandler` that a gateway may override, with defaults. */
import { Buffer } from 'node:buffer'
import type {
  Body,
  Chunk,
  Environ,
  ErrorStream,
  HeaderList,
  InputStream,
  MaybePromise,
  StartResponse,
} from '../types.ts'
import type { PathOptions } from '../environ/path.ts'
import { PeerError } from '../errors.ts'
import type { Options } from '../options/options.ts'
import { FileWrapper, isFileWrapper } from '../response/file-wrapper.ts'
import { httpDate } from '../response/head.ts'
import { Headers } from '../response/headers.ts'
import { asLogEntry, show } from '../text.ts'
import { requestName } from './error-log.ts'
import { isTraced, RequestTrace } from './trace.ts'
import { guessScheme } from '../wsgiref/uri.ts'

/** The options of every handler. */
export type HandlerOptions = Pick<
  Options,
  'multiprocess' | 'osEnviron' | 'pathInfo' | 'responseTimeout' | 'scriptName'
>

/** The values of `BaseHandler#state`; the header of `handlers/base.ts` has the transitions. */
export type RequestState = 'waiting' | 'ready' | 'sending' | 'ended'

// Shared by all instances.
const WSGI_VERSION = [1, 0] as const
const NO_VARIABLES = {}
const ERROR_HEADERS: Readonly<HeaderList> = [['Content-Type', 'text/plain']]

export class HandlerDefaults {
  // Configuration: override it in a subclass or an instance

  wsgiVersion: readonly [number, number] = WSGI_VERSION
  wsgiMultithread = false
  wsgiMultiprocess = false
  wsgiRunOnce = false
  /** `wsgi.input_terminated`: whether `wsgi.input` ends without a CONTENT_LENGTH. */
  inputTerminated = true
  /** `portico.gateway`. */
  gateway: Environ['portico.gateway'] = 'cgi'
  /** True if the response goes directly to the client: it has a status line, Date and Server. */
  originServer = true
  /** The version in an origin server's status line. */
  httpVersion = '1.0'
  /** The value of an origin server's Server header and of SERVER_SOFTWARE. */
  serverSoftware: string | null = null
  /** Variables for every request; a variable of the request with the same name wins. */
  osEnviron: Readonly<Record<string, string>> = NO_VARIABLES
  /** Milliseconds for the whole response; 0 for no limit. */
  responseTimeout = 0
  /** The options for SCRIPT_NAME and PATH_INFO. */
  paths: PathOptions
  /** `wsgi.file_wrapper`; null to leave it out. */
  wsgiFileWrapper: typeof FileWrapper | null = FileWrapper
  headersClass: typeof Headers = Headers

  // What `errorOutput` sends

  errorStatus = '500 Internal Server Error'
  errorHeaders: Readonly<HeaderList> = ERROR_HEADERS
  errorBody: Chunk = 'A server error occurred.  Please contact the administrator.'

  constructor(options: HandlerOptions = {}) {
    this.paths = options
    if (options.osEnviron) this.osEnviron = options.osEnviron
    if (options.multiprocess) this.wsgiMultiprocess = true
    if (options.responseTimeout) this.responseTimeout = options.responseTimeout
  }

  // State: for subclasses to read, not to set

  /** Null before `setupEnviron`, unless the gateway has created it, and after `close`. */
  environ: Environ | null = null
  status: string | null = null
  headers: Headers | null = null
  headersSent = false
  /** Bytes of the body that the handler has passed to the transport. */
  bytesSent = 0
  result: Body | null = null
  /** What `node:diagnostics_channel` gets; null without a subscriber. */
  trace: RequestTrace | null = null

  /** Null without a subscriber. */
  getTrace(): RequestTrace | null {
    return isTraced() ? (this.trace ??= new RequestTrace(this.environ!)) : null
  }

  /** Calls `_end`, and publishes the end when the transport has taken the response. */
  endTraced(complete: boolean): MaybePromise {
    const { trace } = this
    if (trace === null) return this._end(complete)
    const { bytesSent, status } = this
    const end = () => trace.end(status, bytesSent, complete)
    const wait = this._end(complete)
    return wait ? wait.finally(end) : end()
  }

  // The environ

  /** `wsgi.url_scheme`. */
  getScheme(): string {
    return guessScheme(this.environ!)
  }

  /** Adds the variables of `osEnviron` that the request does not have. */
  addOsEnviron(environ: Record<string, unknown>): void {
    if (this.osEnviron === NO_VARIABLES) return
    for (const name in this.osEnviron) {
      // If `osEnviron` is all of `process.env`, it may contain HTTP_PROXY (CVE-2016-5385).
      if (!(name in environ) && name !== 'HTTP_PROXY') environ[name] = this.osEnviron[name]
    }
  }

  /** Returns `wsgi.input`. */
  getStdin(): InputStream {
    throw new TypeError('getStdin() must be overridden')
  }

  /** Returns `wsgi.errors`. */
  getStderr(): ErrorStream {
    throw new TypeError('getStderr() must be overridden')
  }

  /** Puts the CGI variables of the request into `environ`. */
  addCgiVars(): void {
    throw new TypeError('addCgiVars() must be overridden')
  }

  // The head

  /** The lines before the application's headers: the status, and an origin server's headers. */
  preamble(): string {
    if (!this.originServer) {
      // Of two lines, Apache takes the last one for the status, and nginx the first.
      if (this.headers!.has('Status')) this.headers!.delete('Status')
      return `Status: ${this.status}\r\n`
    }
    let lines = `HTTP/${this.httpVersion} ${this.status}\r\n`
    for (const [name, value] of this.originHeaders()) lines += `${name}: ${value}\r\n`
    return lines
  }

  /** Date and Server, unless the application has set them. */
  originHeaders(): HeaderList {
    const list: HeaderList = []
    if (!this.headers!.has('Date')) list.push(['Date', httpDate()])
    if (this.serverSoftware && !this.headers!.has('Server')) {
      list.push(['Server', this.serverSoftware])
    }
    return list
  }

  /** False for HTTP/0.9, which has no head. */
  clientIsModern(): boolean {
    return this.environ!.SERVER_PROTOCOL.toUpperCase() !== 'HTTP/0.9'
  }

  // The body

  /**
   * Sends a file by a faster way of the platform, if there is one. It is called if the result is a
   * `wsgiFileWrapper`. An override calls `sendHeaders()` if `headersSent` is false, and returns true
   * if it sent the file.
   */
  sendfile(): boolean | Promise<boolean> {
    return false
  }

  /** True if the result is a file that `sendfile` could send. */
  resultIsFile(): boolean {
    return this.wsgiFileWrapper !== null && isFileWrapper(this.result)
  }

  /**
   * Queues a chunk of the body, which `_flush` sends at the latest. A string is sent as UTF-8. The
   * chunk must not change until it is sent. `_size` is its length in bytes, if the caller knows it.
   */
  _write(_chunk: Chunk, _size?: number): void {
    throw new TypeError('_write() must be overridden')
  }

  /** Queues the head, a byte string. */
  _writeHead(head: string): void {
    this._write(Buffer.from(head, 'latin1'))
  }

  /** Sends everything that is queued. Returns a promise if the application has to wait. */
  _flush(): MaybePromise {
    throw new TypeError('_flush() must be overridden')
  }

  /**
   * Ends the response; called once, after the last `_write`. `complete` is false if the response was
   * aborted, or is shorter than its Content-Length.
   */
  _end(_complete: boolean): MaybePromise {
    return this._flush()
  }

  // Errors

  /** Logs an error to `wsgi.errors`: one line for a fault of the peer, else a stack trace. */
  logException(error: unknown): void {
    this.logText(error instanceof PeerError ? `${error.code}: ${error.message}` : show(error))
  }

  /** Logs one entry to `wsgi.errors`, after the method and the path of the request. */
  logText(text: string): void {
    const errors = this.getStderr()
    errors.write(asLogEntry(requestName(this.environ) + text))
    errors.flush()
  }

  /**
   * The application that sends the error page. It shows nothing of `error` except the status of a
   * `PeerError`.
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
}
