/** `inProcessClient`: a gateway without a server, for tests. Request and response are in memory. */
import diagnostics from 'node:diagnostics_channel'
import { Buffer } from 'node:buffer'
import { refuseLineBreaks, contentLength, setVariable } from '../environ/environ.ts'
import { ErrorLog } from '../request/error-log.ts'
import { bytesSource, Input } from '../request/input.ts'
import { toApplication, type Runnable } from '../application/to-application.ts'
import { checkClientOptions, VARIABLES } from '../testing/check-options.ts'
import { bodyBytes, type Client, type TestRequest } from '../testing/client.ts'
import { CgiResponseReader, collect, type Exchange, type Receiver } from '../testing/exchange.ts'
import { variablesFor, type VariableOptions } from '../testing/variables.ts'
import type { Application, Chunk, ErrorStream, InputStream } from '../types.ts'
import { publishRequests } from '../request/trace.ts'
import { BaseHandler, type MaybePromise } from '../../handlers/base.ts'

export interface InProcessOptions extends VariableOptions {
  /** False leaves the validator out. */
  readonly validate?: boolean | undefined
}

publishRequests(diagnostics)

/**
 * A client whose gateway is in this process. `portico.gateway` is 'http', or with `as` 'fastcgi', and
 * `errors` of the response is what was written to `wsgi.errors`. The application is wrapped in
 * `validator`, unless it belongs to a framework. Without an application each request is a
 * ConfigurationError.
 *
 * @throws {ConfigurationError} for an unknown option, or a value of the wrong kind.
 */
export function inProcessClient(application: Runnable, options: InProcessOptions = {}): Client {
  checkClientOptions('inProcessClient', options, [...VARIABLES, 'validate'])
  const exchange = inProcessExchange(application, options)
  return {
    request: (request) => collect(exchange, request, true),
    close: () => Promise.resolve(),
  }
}

/** Runs the application in this process for each request. */
export function inProcessExchange(application: Runnable, options: InProcessOptions = {}): Exchange {
  let prepared: Promise<Application> | undefined
  return async (request, receiver, signal) => {
    const app = await (prepared ??= prepare(application, options))
    const handler = new InProcessHandler(request, options, receiver)
    const abort = () => handler.abort()
    signal?.addEventListener('abort', abort)
    receiver.connected?.()
    try {
      await Promise.race([handler.run(app), aborted(signal)])
      signal?.throwIfAborted()
      return handler.end()
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }
}

/** Rejects when the signal aborts: an application need not notice that its client is gone. */
function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
}

async function prepare(candidate: Runnable, options: InProcessOptions): Promise<Application> {
  const { application } = await toApplication(candidate, { validate: options.validate !== false })
  return application
}

class InProcessHandler extends BaseHandler {
  override originServer = false
  override gateway: 'fastcgi' | 'http'
  readonly #request: TestRequest
  readonly #options: InProcessOptions
  readonly #receiver: Receiver
  readonly #reader: CgiResponseReader
  #wait: MaybePromise = undefined
  #broken = false

  constructor(request: TestRequest, options: InProcessOptions, receiver: Receiver) {
    super()
    this.gateway = options.as === undefined ? 'http' : 'fastcgi'
    this.#request = request
    this.#options = options
    this.#receiver = receiver
    this.#reader = new CgiResponseReader(receiver, request.method)
  }

  /** Returns the reason if the response is incomplete, after `run` has resolved. */
  end(): string | undefined {
    const reason = this.#reader.end()
    return this.#broken ? 'the application failed' : reason
  }

  override addCgiVars(): void {
    const environ = this.environ!
    const variables = variablesFor(this.#request, this.#options, { gateway: 'fastcgi' })
    for (const [name, value] of variables) setVariable(environ, name, value)
    refuseLineBreaks(environ)
    const { SERVER_NAME: host, SERVER_PORT: port } = environ
    environ['HTTP_HOST'] ??= port === '80' ? host : `${host}:${port}`
  }

  override getStdin(): InputStream {
    const body = bodyBytes(this.#request.body)
    return new Input(bytesSource(body), contentLength(this.environ!) ?? body.length)
  }

  override getStderr(): ErrorStream {
    return new ErrorLog((text) => this.#receiver.log?.(Buffer.from(text)))
  }

  // Each chunk reaches the reader at once: no transport gains from joining it with others.
  override _write(chunk: Chunk): void {
    // Copied, because the application may change a chunk after this returns.
    const wait = this.#reader.add(Buffer.from(bodyBytes(chunk)))
    if (wait) this.#wait = wait
  }

  override _flush(): MaybePromise {
    const wait = this.#wait
    this.#wait = undefined
    return wait
  }

  override _end(complete: boolean): void {
    this.#broken = !complete
  }
}
