/** `inProcessClient`: a gateway without a server, for tests. Request and response are in memory. */
import { Buffer } from 'node:buffer'
import { contentLength, setVariable } from '../environ/environ.ts'
import { ErrorLog } from '../request/error-log.ts'
import { bytesSource, Input } from '../request/input.ts'
import { toApplication, type Runnable } from '../application/to-application.ts'
import { parseCgiResponse } from '../testing/cgi-response.ts'
import { cgiVariables, type CgiServer } from '../testing/cgi-variables.ts'
import {
  bodyBytes,
  type Client,
  Collector,
  type TestRequest,
  type TestResponse,
} from '../testing/client.ts'
import type { Application, Chunk, ErrorStream, InputStream } from '../types.ts'
import { BaseHandler, type MaybePromise } from '../../handlers/base.ts'

export interface InProcessOptions extends CgiServer {
  /** False leaves the validator out. */
  readonly validate?: boolean | undefined
  /** Further variables of each request: REMOTE_USER, for example. */
  readonly variables?: Readonly<Record<string, string>> | undefined
}

/**
 * A client whose gateway is in this process. `portico.gateway` is 'http', and `errors` of the
 * response is what was written to `wsgi.errors`. The application is wrapped in `validator`, unless
 * it belongs to a framework. Without an application each request is a ConfigurationError.
 */
export function inProcessClient(application: Runnable, options: InProcessOptions = {}): Client {
  let prepared: Promise<Application> | undefined
  return {
    async request(request) {
      const app = await (prepared ??= prepare(application, options))
      const handler = new InProcessHandler(request, options)
      await handler.run(app)
      return handler.response()
    },
    close: () => Promise.resolve(),
  }
}

async function prepare(candidate: Runnable, options: InProcessOptions): Promise<Application> {
  const { application } = await toApplication(candidate, { validate: options.validate !== false })
  return application
}

class InProcessHandler extends BaseHandler {
  override originServer = false
  override gateway = 'http' as const
  readonly #request: TestRequest
  readonly #options: InProcessOptions
  readonly #output = new Collector()
  #errors = ''
  #broken = false

  constructor(request: TestRequest, options: InProcessOptions) {
    super()
    this.#request = request
    this.#options = options
  }

  /** The response, after `run` has resolved. */
  response(): TestResponse {
    const { status, headers, body } = parseCgiResponse(this.#output.bytes())
    return { status, headers, body, broken: this.#broken, errors: this.#errors }
  }

  override addCgiVars(): void {
    const given = Object.entries(this.#options.variables ?? {})
    const variables = [...cgiVariables(this.#request, this.#options), ...given]
    const environ = this.environ!
    for (const [name, value] of variables) setVariable(environ, name, value)
    const { SERVER_NAME: host, SERVER_PORT: port } = environ
    environ['HTTP_HOST'] ??= port === '80' ? host : `${host}:${port}`
  }

  override getStdin(): InputStream {
    const body = bodyBytes(this.#request.body)
    return new Input(bytesSource(body), contentLength(this.environ!) ?? body.length)
  }

  override getStderr(): ErrorStream {
    return new ErrorLog((text) => (this.#errors += text))
  }

  override _write(chunk: Chunk): void {
    // Copied, because the application may change a chunk after this returns.
    this.#output.add(Buffer.from(bodyBytes(chunk)))
  }

  override _flush(): MaybePromise {}

  override _end(complete: boolean): void {
    this.#broken = !complete
  }
}
