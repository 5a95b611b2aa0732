/** `toFetch`: an application as a handler of the Fetch API: for Hono's `mount`, tests, runtimes. */
import diagnostics from 'node:diagnostics_channel'
import { Buffer } from 'node:buffer'
import { applicationOf, fetchOriginOf, linkApplication } from '../application/adapted.ts'
import { asApplication } from '../application/detect.ts'
import { validatedOnDemand } from '../application/to-application.ts'
import { checkCommonOptions } from '../options/common.ts'
import type { OptionsOf } from '../options/table.ts'
import { contentLength, setVariable } from '../environ/environ.ts'
import { log } from '../log.ts'
import { ErrorLog } from '../request/error-log.ts'
import { ApplicationError, PeerError } from '../errors.ts'
import { emptySource, Input, type ByteSource } from '../request/input.ts'
import { decodePath } from '../environ/decode-path.ts'
import type { Application, ApplicationClass, Chunk, ErrorStream, InputStream } from '../types.ts'
import { publishRequests } from '../request/trace.ts'
import { BaseHandler, type HandlerOptions, type MaybePromise } from '../../handlers/base.ts'

publishRequests(diagnostics)

/** A handler. Its second argument may have the variables of the client, which a Request lacks. */
export type FetchFunction = (
  request: Request,
  variables?: Readonly<Record<string, unknown>>,
) => Promise<Response>

/**
 * Creates a handler. It uses those of `variables` (Hono's `c.env`, which below `fromFetch` is the
 * environ) that identify the client: REMOTE_ADDR, REMOTE_USER and the like.
 * `toFetch(fromFetch(handler))` is the handler.
 *
 * The promise rejects with the request's abort reason if it is aborted before there is a head.
 *
 * @throws {ConfigurationError} if `application` is not an application, or the options cannot work.
 */
export function toFetch(
  application: Application | ApplicationClass,
  options: OptionsOf<'cgi'> = {},
): FetchFunction {
  checkCommonOptions('toFetch()', options)
  const run = applicationOf(application) ?? asApplication(application)
  const origin = fetchOriginOf(run)
  if (origin !== undefined) return origin as FetchFunction
  const served = options.validate ? validatedOnDemand(run) : run
  const handler: FetchFunction = (request, variables = {}) =>
    new Promise((resolve, reject) => {
      new FetchRequestHandler(request, variables, options, { resolve, reject })
        .run(served)
        .catch(reject)
    })
  linkApplication(handler, run)
  return handler
}

/** The variables that are copied. Others may be secrets of the process. */
const CLIENT = [
  'REMOTE_ADDR',
  'REMOTE_HOST',
  'REMOTE_IDENT',
  'REMOTE_PORT',
  'REMOTE_USER',
  'AUTH_TYPE',
]

interface Promised {
  resolve(response: Response): void
  reject(error: unknown): void
}

/** Runs an application for one Request. */
class FetchRequestHandler extends BaseHandler {
  override gateway = 'http' as const
  override originServer = false
  readonly #request: Request
  readonly #variables: Readonly<Record<string, unknown>>
  readonly #promised: Promised
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null
  /** Bytes only: a web stream takes no strings, and the head is not among them as in FastCGI. */
  #chunks: Uint8Array[] = []
  /** Resolves what `_flush` waits for. */
  #wanted: () => void = () => {}

  constructor(
    request: Request,
    variables: Readonly<Record<string, unknown>>,
    options: HandlerOptions,
    promised: Promised,
  ) {
    super(options)
    this.#request = request
    this.#variables = variables
    this.#promised = promised
    if (request.signal.aborted) this.#abort()
    else request.signal.addEventListener('abort', this.#abort)
  }

  readonly #abort = () => {
    const reason: unknown = this.#request.signal.reason
    this.abort(reason instanceof Error ? reason : undefined)
  }

  override addCgiVars(): void {
    const environ = this.environ!
    const url = new URL(this.#request.url)
    const https = url.protocol === 'https:'
    environ.REQUEST_METHOD = this.#request.method
    environ.SCRIPT_NAME = ''
    environ.PATH_INFO = decodePath(url.pathname)
    environ.QUERY_STRING = url.search.slice(1)
    environ['REQUEST_URI'] = url.pathname + url.search
    environ.SERVER_PROTOCOL = 'HTTP/1.1'
    environ.SERVER_NAME = url.hostname
    environ.SERVER_PORT = url.port || (https ? '443' : '80')
    environ['GATEWAY_INTERFACE'] = 'CGI/1.1'
    if (https) environ['HTTPS'] = 'on'
    for (const name of CLIENT) {
      const value = this.#variables[name]
      if (typeof value === 'string') setVariable(environ, name, value)
    }
    for (const [name, value] of this.#request.headers) {
      // With other characters two headers could become one variable ('X_User', 'X-User').
      if (!/^[a-z0-9-]+$/i.test(name) || name === 'transfer-encoding') continue
      const variable = name.toUpperCase().replaceAll('-', '_')
      const own = variable === 'CONTENT_TYPE' || variable === 'CONTENT_LENGTH'
      setVariable(environ, own ? variable : `HTTP_${variable}`, value)
    }
    environ['HTTP_HOST'] ??= url.host
  }

  override getStdin(): InputStream {
    const { body, bodyUsed } = this.#request
    if (bodyUsed) return new Input(spent)
    if (body === null) return new Input(emptySource, 0)
    return new Input(readerSource(body), contentLength(this.environ!) ?? Infinity)
  }

  override getStderr(): ErrorStream {
    return STDERR
  }

  override sendHeaders(): void {
    this.cleanupHeaders()
    this.headersSent = true
  }

  override _write(chunk: Chunk): void {
    this.#chunks.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk)
  }

  override _flush(): MaybePromise {
    const controller = (this.#controller ??= this.#stream())
    for (const chunk of this.#chunks.splice(0)) controller.enqueue(chunk)
    if ((controller.desiredSize ?? 0) > 0) return
    return new Promise((resolve) => {
      this.#wanted = resolve
    })
  }

  override _end(complete: boolean): void {
    this.#request.signal.removeEventListener('abort', this.#abort)
    this.#wanted()
    const error = this.signal.aborted
      ? this.signal.reason
      : new PeerError('PORTICO_BODY_CUT_SHORT', 'The application ended its response early')
    if (this.#controller !== null && complete) {
      for (const chunk of this.#chunks) this.#controller.enqueue(chunk)
      this.#controller.close()
    } else if (this.#controller !== null) {
      this.#controller.error(error)
    } else if (this.headersSent && complete) {
      this.#respond(Buffer.concat(this.#chunks))
    } else if (this.headersSent) {
      this.#stream().error(error)
    } else {
      this.#promised.reject(error)
    }
  }

  /** Responds with a stream, which is written no faster than it is read. */
  #stream(): ReadableStreamDefaultController<Uint8Array> {
    let controller: ReadableStreamDefaultController<Uint8Array>
    const stream = new ReadableStream<Uint8Array>(
      {
        start: (own) => {
          controller = own
        },
        pull: () => this.#wanted(),
        cancel: (reason: unknown) => this.abort(reason instanceof Error ? reason : undefined),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: HIGH_WATER_MARK }),
    )
    this.#respond(stream)
    return controller!
  }

  #respond(body: ReadableStream<Uint8Array> | Uint8Array): void {
    const status = this.status!
    const code = Number(status.slice(0, 3))
    const init = { status: code, statusText: status.slice(4), headers: this.headers!.items() }
    const empty = this.#request.method === 'HEAD' || [101, 103, 204, 205, 304].includes(code)
    try {
      this.#promised.resolve(new Response(empty ? null : body, init))
    } catch (unfit) {
      this.#promised.reject(unfit) // A status that Response does not allow: 1xx, 600 and above.
    }
  }
}

/** Bytes that may wait for the reader of a Response. Node's sockets have the same limit. */
const HIGH_WATER_MARK = 65_536

const STDERR = new ErrorLog(log)

/** Reads from a web stream. */
function readerSource(stream: ReadableStream<Uint8Array>): ByteSource {
  let reader: ReadableStreamDefaultReader<Uint8Array> | null = null
  let rest: Buffer = Buffer.alloc(0)
  return {
    async read(size) {
      while (rest.length === 0) {
        reader ??= stream.getReader()
        const { done, value } = await reader.read()
        if (done) return null
        rest = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
      }
      const head = rest.subarray(0, size)
      rest = rest.subarray(head.length)
      return head
    },
  }
}

const spent: ByteSource = {
  read() {
    throw new ApplicationError(
      'The body of this Request has already been read',
      'PORTICO_BODY_ALREADY_READ',
    )
  },
}
