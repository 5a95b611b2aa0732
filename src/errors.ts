/**
 * The errors that Portico throws: for faults of the application, the peer and the configuration.
 * Each has a stable `code`.
 *
 * `instanceof` works across copies of this file: a CGI script has one copy in portico.cjs, and
 * 'portico/forms' may load another one.
 */

/** Makes `instanceof` accept the errors of another copy of this file. */
function brand(constructor: abstract new (...args: never[]) => PorticoError, name: string): void {
  const symbol = Symbol.for(`portico.${name}`)
  Object.defineProperty(constructor.prototype, symbol, { value: true })
  Object.defineProperty(constructor, Symbol.hasInstance, {
    value(this: unknown, value: unknown): boolean {
      try {
        // A subclass inherits this method, but not the brand.
        if (this !== constructor) return Function.prototype[Symbol.hasInstance].call(this, value)
        return typeof value === 'object' && value !== null && symbol in value
      } catch {
        return false // A revoked Proxy throws at every access.
      }
    },
  })
}

/** The base class of these errors. */
export abstract class PorticoError extends Error {
  abstract readonly code: string

  static {
    brand(this, 'PorticoError')
  }
}

/** The rules that an application can break, one code each; docs/errors.md lists them. */
export type ApplicationFault =
  | 'PORTICO_APPLICATION'
  | 'PORTICO_BODY_ALREADY_READ'
  | 'PORTICO_HEADERS_ALREADY_SET'
  | 'PORTICO_HEADERS_NOT_SET'
  | 'PORTICO_HOP_BY_HOP_HEADER'
  | 'PORTICO_INPUT_BUSY'
  | 'PORTICO_INVALID_ARGUMENT'
  | 'PORTICO_INVALID_BODY'
  | 'PORTICO_INVALID_CHUNK'
  | 'PORTICO_INVALID_CONTENT_LENGTH'
  | 'PORTICO_INVALID_HEADER'
  | 'PORTICO_INVALID_STATUS'
  | 'PORTICO_NO_RESPONSE'

/** The application broke the contract (PEP 3333). The response is a 500. */
export class ApplicationError extends PorticoError {
  override readonly name = 'ApplicationError'
  readonly code: ApplicationFault

  static {
    brand(this, 'ApplicationError')
  }

  constructor(
    message: string,
    code: ApplicationFault = 'PORTICO_APPLICATION',
    options?: ErrorOptions,
  ) {
    super(message, options)
    this.code = code
  }
}

/** The codes of `PeerError`. */
export type PeerFault =
  | 'PORTICO_BAD_REQUEST'
  | 'PORTICO_BODY_CUT_SHORT'
  | 'PORTICO_DISCONNECTED'
  | 'PORTICO_PROTOCOL'
  | 'PORTICO_SCRIPT'
  | 'PORTICO_TIMEOUT'
  | 'PORTICO_TOO_LARGE'

/** The client or the web server sent a request that cannot be served, or disconnected. */
export class PeerError extends PorticoError {
  override readonly name = 'PeerError'
  readonly code: PeerFault
  /** The status line of the response, if a response is still possible. */
  readonly status: string

  static {
    brand(this, 'PeerError')
  }

  constructor(code: PeerFault, message: string, status = '400 Bad Request') {
    super(message)
    this.code = code
    this.status = status
  }
}

/** The process was started with options that cannot work. */
export class ConfigurationError extends PorticoError {
  override readonly name = 'ConfigurationError'
  readonly code = 'PORTICO_CONFIGURATION'

  static {
    brand(this, 'ConfigurationError')
  }
}

/**
 * Marks a promise as handled if it is rejected because of the peer: a client that leaves before the
 * application awaits the promise would otherwise end the process. Any other rejection that nothing
 * handles stays an unhandled one, so that it is noticed.
 */
export function excusePeer<T>(promise: Promise<T>): Promise<T> {
  const result = promise.catch((error: unknown) => {
    if (error instanceof PeerError) result.catch(() => {})
    throw error
  })
  return result
}

/**
 * Marks a promise as handled, so that a disconnect before the caller awaits it is not an unhandled
 * rejection, which would end the process.
 */
export function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

/** Passes each promise of `next()` through `guard`, for callers that iterate by hand. */
export function guardSteps<T>(
  generator: AsyncGenerator<T, void, undefined>,
  guard: <P>(promise: Promise<P>) => Promise<P>,
): AsyncGenerator<T, void, undefined> {
  const next = generator.next.bind(generator)
  generator.next = () => guard(next())
  return generator
}
