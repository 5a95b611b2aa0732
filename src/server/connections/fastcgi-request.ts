/** The interface between a FastCGI connection and a handler. */
import type { ApplicationOptions } from '../../protocol/fastcgi-events.ts'
import type { Part } from '../../protocol/part.ts'
import type { BodyQueue } from '../../request/body-queue.ts'
import type { Application, Environ } from '../../types.ts'
import type { ServerOptions } from '../gateway-server.ts'
import type { WriteBatch } from '../write-batch.ts'

/** A request on a connection, as a handler runs it. */
export interface FastCGIRequest {
  readonly id: number
  readonly input: BodyQueue
  readonly environ: Environ | null
  readonly headersSent: boolean
  /** Set by the connection when the web server no longer wants the response. */
  refused: boolean
  start(application: Application): void
  abort(): void
  disconnected(reason?: Error): void
  fail(error: Error): Promise<void>
  /** Resolves when the application has stopped reading the body; null if it has not begun. */
  readsOn(): Promise<void> | null
}

/** What a request calls on its connection. */
export interface FastCGITransport {
  /** Sends part of a response, and before it text for the web server's log. */
  send(id: number, parts: readonly Part[], log: string): void | Promise<void>
  /**
   * Sends the end of a response.
   *
   * @param complete false if the response is shorter than its head says, or was aborted
   */
  endRequest(request: FastCGIRequest, parts: readonly Part[], log: string, complete: boolean): void
}

/** What the connections of one server share. */
export interface FastCGIContext<Options extends ServerOptions = ServerOptions> {
  readonly application: Application
  readonly options: Options
  readonly protocol: ApplicationOptions
  readonly batch: WriteBatch
  /** Runs a request. */
  readonly requestHandler: new (
    connection: FastCGITransport,
    id: number,
    environ: Environ,
    input: BodyQueue,
    options: Options,
  ) => FastCGIRequest
}
