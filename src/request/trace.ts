/**
 * Publishes requests on `node:diagnostics_channel`: `portico:request:start`, `:end` and `:error`.
 *
 * Without a subscriber a request costs three reads of a property. This file does not load the
 * module: on Node 20 that would cost each CGI script 0.3 ms. Servers load it, and CGIHandler uses it
 * if the script has loaded it.
 */
import type { Channel } from 'node:diagnostics_channel'
import type { Environ } from '../types.ts'

/** What subscribers get: one object for all events of a request. */
export interface RequestMessage {
  readonly environ: Environ
  /** `'200 OK'`; null until `:end`, and if there was no response. */
  status: string | null
  /** Bytes of the body that the application has sent; 0 until `:end`. */
  bytesSent: number
  /** Whether the whole response has been sent; false until `:end`. */
  complete: boolean
  /** The last error of the application; undefined without one. */
  error: unknown
}

/** The channels; the name of each after 'portico:request:'. */
type Channels = Readonly<Record<'start' | 'end' | 'error', Channel>>

let channels: Channels | null = null

/** Publishes from now on, with node:diagnostics_channel if it is given. */
export function publishRequests(diagnostics?: { channel(name: string): Channel }): void {
  if (diagnostics === undefined) return
  channels ??= {
    start: diagnostics.channel('portico:request:start'),
    end: diagnostics.channel('portico:request:end'),
    error: diagnostics.channel('portico:request:error'),
  }
}

/** Whether there is a subscriber. */
export function isTraced(): boolean {
  return (
    channels !== null &&
    (channels.start.hasSubscribers || channels.end.hasSubscribers || channels.error.hasSubscribers)
  )
}

/** One request that is published. */
export class RequestTrace {
  readonly message: RequestMessage
  #state: 'new' | 'started' | 'ended' = 'new'

  constructor(environ: Environ) {
    this.message = { environ, status: null, bytesSent: 0, complete: false, error: undefined }
  }

  /** Publishes the start, and runs the application with the stores that are bound to the channel. */
  run<T>(application: () => T): T {
    this.#state = 'started'
    return channels!.start.runStores(this.message, application)
  }

  fail(error: unknown): void {
    this.#start()
    this.message.error = error
    channels!.error.publish(this.message)
  }

  /** Only the first call has an effect. */
  end(status: string | null, bytesSent: number, complete: boolean): void {
    if (this.#state === 'ended') return
    this.#start()
    this.#state = 'ended'
    Object.assign(this.message, { status, bytesSent, complete })
    channels!.end.publish(this.message)
  }

  /** For a request that was refused before the application could run. */
  #start(): void {
    if (this.#state !== 'new') return
    this.#state = 'started'
    channels!.start.publish(this.message)
  }
}
