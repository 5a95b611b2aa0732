/**
 * Where `run` hands its application over in a process of `portico serve`, which has the sockets and
 * the options. The link is a global symbol: the application may load another copy of Portico.
 */
import type { Runnable } from './to-application.ts'

const HOST = Symbol.for('portico.host')

/** What serves the applications of this process. */
export interface Host {
  /** Serves what a file gave to `run`; resolves to the server, a `GatewayServer`. */
  run(application: Runnable, options: object): Promise<object>
}

const globals = globalThis as { [HOST]?: Host | undefined }

/** Undefined lets the program run by itself again. */
export function setHost(host: Host | undefined): void {
  globals[HOST] = host
}

/** The host of this process; undefined if the program runs by itself. */
export function currentHost(): Host | undefined {
  return globals[HOST]
}
