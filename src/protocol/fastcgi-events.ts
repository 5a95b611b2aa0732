/** The options and events of the application's side of a FastCGI connection. */
import type { Buffer } from 'node:buffer'

export interface ApplicationOptions {
  /** False refuses a second request while one is active, with CANT_MPX_CONN. Default: true. */
  readonly multiplex?: boolean | undefined
  /** Requests in flight on this connection; one more is refused with OVERLOADED. Default: 64. */
  readonly maxActive?: number | undefined
  /** Bytes of PARAMS of a request, record headers included; beyond it a 431. Default: 1 MiB. */
  readonly maxParamsBytes?: number | undefined
  /** The value of FCGI_MAX_CONNS; left out of GET_VALUES_RESULT if it is not set. */
  readonly maxConns?: number | undefined
  /** The value of FCGI_MAX_REQS; left out of GET_VALUES_RESULT if it is not set. */
  readonly maxReqs?: number | undefined
}

/** Why a request was aborted: ABORT_REQUEST, the end of the connection, or a fault on it. */
export type AbortCause = 'abort-request' | 'disconnected' | 'protocol-error'

export type ApplicationEvent =
  /** PARAMS are complete: their pairs are the bytes of `block` from `start` to `end`. */
  | {
      readonly type: 'request'
      readonly id: number
      readonly role: number
      readonly keepConn: boolean
      readonly block: Buffer
      readonly start: number
      readonly end: number
    }
  /** A chunk of the body, a view of the memory in which it arrived. */
  | { readonly type: 'stdin'; readonly id: number; readonly data: Buffer }
  | { readonly type: 'stdin-end'; readonly id: number }
  /** Comes once for a request that was announced; it stays active until `end()`. */
  | { readonly type: 'abort'; readonly id: number; readonly cause: AbortCause }
  /** Bytes to send without the application; `close` is the value of `closing` after them. */
  | {
      readonly type: 'reply'
      readonly data: Buffer
      readonly close: boolean
      /** For the log: why a request was refused whose records are still arriving. */
      readonly refused?: string
    }
  /** The peer broke the protocol. This is the last event, and the connection has to be closed. */
  | { readonly type: 'error'; readonly message: string }
