/**
 * The errors that Portico throws: the application's, the peer's, and those of the configuration.
 * Each has a stable `code`.
 *
 * `instanceof` works across copies of this file. A CGI script has one copy in portico.cjs and may
 * get another one from 'portico/forms', whose errors must have the same effect.
 */

/** Makes `instanceof` accept instances that another copy of this file has made. */
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
        return false // A revoked Proxy throws whatever it is asked.
      }
    },
  })
}

/** The base class of all of them. */
export abstract class PorticoError extends Error {
  abstract readonly code: string

  static {
    brand(this, 'PorticoError')
  }
}

/** The application broke the contract (PEP 3333). The response is a 500. */
export class ApplicationError extends PorticoError {
  override readonly name = 'ApplicationError'
  readonly code = 'PORTICO_APPLICATION'

  static {
    brand(this, 'ApplicationError')
  }
}

/** The codes of `PeerError`. */
export type PeerFault =
  | 'PORTICO_BAD_REQUEST'
  | 'PORTICO_BODY_CUT_SHORT'
  | 'PORTICO_DISCONNECTED'
  | 'PORTICO_PROTOCOL'
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
