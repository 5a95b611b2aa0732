/**
 * `makeServer`: an HTTP server for development, as in wsgiref.simple_server. It validates the
 * application, exists before it listens, and serves one request or until it is closed.
 */
import type { Runnable } from '../src/application/to-application.ts'
import type { Address } from '../src/server/listen.ts'
import type { GatewayServer } from '../src/server/gateway-server.ts'
import { ConfigurationError } from '../src/errors.ts'
import { checkOptions } from '../src/options/check.ts'
import { isInteger, refuse } from '../src/options/values.ts'
import { HTTPHandler, type HTTPOptions } from './http.ts'

/** Reports the end of each request. */
class CountingHandler extends HTTPHandler {
  readonly #onHandled: () => void

  constructor(options: HTTPOptions, onHandled: () => void) {
    super(options)
    this.#onHandled = onHandled
  }

  override finished(): void {
    this.#onHandled()
  }
}

/**
 * A server made by `makeServer`. As in wsgiref.simple_server, it exists before it listens.
 */
export class WSGIServer {
  readonly #options: HTTPOptions
  readonly #application: Runnable
  #server: GatewayServer | null = null
  #starting: Promise<GatewayServer> | null = null
  /** Called after each request. */
  #onHandled = () => {}

  constructor(application: Runnable, options: HTTPOptions) {
    this.#application = application
    this.#options = options
  }

  /** Where it listens; null before `start()` and after `close()`. */
  get address(): Address | null {
    return this.#server?.address ?? null
  }

  /**
   * Resolves when connections are accepted. `serveForever` and `handleRequest` call it.
   *
   * @throws {ConfigurationError} if it cannot listen.
   */
  async start(): Promise<Address> {
    this.#starting ??= this.#listen()
    const server = await this.#starting
    return server.address
  }

  async #listen(): Promise<GatewayServer> {
    const handler = new CountingHandler(this.#options, () => this.#onHandled())
    try {
      this.#server = await handler.run(this.#application)
      return this.#server
    } catch (error) {
      this.#starting = null
      throw error
    }
  }

  /** Serves until `close()` is called. */
  async serveForever(): Promise<void> {
    await this.start()
    await this.#server?.closed
  }

  /** Serves one request, then closes. */
  async handleRequest(): Promise<void> {
    const handled = new Promise<void>((resolve) => (this.#onHandled = resolve))
    await this.start()
    await handled
    await this.close()
  }

  /** Stops accepting; resolves when active requests have finished. */
  async close(): Promise<void> {
    await this.#starting
    await this.#server?.close()
    this.#server = this.#starting = null
  }
}

/**
 * Makes a development server for `application`, as in wsgiref.simple_server. The application is
 * validated unless NODE_ENV is 'production' or `validate` is false:
 *
 *     await makeServer('127.0.0.1', 8000, application).serveForever()
 *
 * @throws {ConfigurationError} for arguments of another type, and for an unknown option. Where the
 *   server cannot listen, `start()` and `serveForever()` reject.
 * @param host an address; '' for every address of the machine.
 * @param port 0 picks one that is free.
 */
export function makeServer(
  host: string,
  port: number,
  application: Runnable,
  options: HTTPOptions = {},
): WSGIServer {
  // JavaScript programs call it with fewer arguments.
  const where = 'makeServer(host, port, application, options)'
  if (typeof host !== 'string') refuse(where, 'host', host, "a string, such as '127.0.0.1'")
  if (!isInteger(port, 0, 65_535)) refuse(where, 'port', port, 'a whole number from 0 to 65535')
  if (options?.listen !== undefined) {
    throw new ConfigurationError(`${where}: listen is not an option here; it has host and port`)
  }
  checkOptions('http', options)
  const name = host.includes(':') ? `[${host}]` : host || '*'
  const validate = options.validate ?? process.env['NODE_ENV'] !== 'production'
  return new WSGIServer(application, { ...options, validate, listen: `${name}:${port}` })
}
