/** What a server needs from its connections. */
import type { Socket } from 'node:net'
import type { SocketHandle } from '../node-internals/hand-over.ts'
import type { Expirable } from './deadlines.ts'
import type { HeldRequest } from './held-request.ts'

/** A connection of a gateway, made from an accepted socket. */
export interface Connection extends Expirable {
  /**
   * Takes no further request, and closes as soon as possible: at once if the connection is idle;
   * after the response if a request is running or its first bytes have arrived. Called once.
   */
  end(): void
  /**
   * Like `end()`, but an idle connection stays open and serves one more request, which may be on its
   * way. `end()` is called later. Absent for connections that carry only one request.
   */
  endAfterNext?(): void
  /**
   * Calls `give` once no request is running, none has begun to arrive, and every response has been
   * written. Absent if the connection cannot move to another process.
   */
  retire?(give: Give): void
  /** Closes at once and aborts running requests. */
  destroy(): void
  /** How many requests have begun on this connection. */
  readonly requests?: number
  /** Whether no request is running; absent if the connection does not know. */
  readonly idle?: boolean
  /** How many requests are running; absent if the connection does not know. */
  readonly active?: number
  /** The requests that are running. */
  held?(): HeldRequest[]
  /** Called when the socket has closed. */
  closed?(): void
}

/** Takes an idle connection. */
export type Give = (socket: Socket) => void

/**
 * Sends the handle of a connection to another process, and calls `sent` when it was sent or has
 * failed.
 */
export type SendHandle = (handle: SocketHandle, sent: (error: Error | null) => void) => void

export interface CloseOptions {
  /** Milliseconds to wait for running requests. Default: the option `shutdownTimeout`. */
  readonly timeout?: number | undefined
  /** False leaves connections that wait to be accepted to the socket's other holders. */
  readonly takeWaiting?: boolean | undefined
}
