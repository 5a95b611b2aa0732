/**
 * The errors that Portico throws: what the application did wrong, what the peer did wrong, and
 * what whoever started the process got wrong. Each has a stable `code`.
 */

/** The base of all of them. */
export abstract class PorticoError extends Error {
  abstract readonly code: string
}

/** The application broke the contract (PEP 3333). Answered with a 500. */
export class ApplicationError extends PorticoError {
  override readonly name = 'ApplicationError'
  readonly code = 'PORTICO_APPLICATION'
}

/** What a peer can get wrong. */
export type PeerFault =
  | 'PORTICO_BAD_REQUEST'
  | 'PORTICO_BODY_CUT_SHORT'
  | 'PORTICO_DISCONNECTED'
  | 'PORTICO_PROTOCOL'
  | 'PORTICO_TIMEOUT'
  | 'PORTICO_TOO_LARGE'

/** The client or the web server sent what cannot be served, or went away. */
export class PeerError extends PorticoError {
  override readonly name = 'PeerError'
  readonly code: PeerFault
  /** The HTTP status line to answer with, where an answer is still possible. */
  readonly status: string

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
}
