/** Closes a server and ends its process after a signal or an uncaught error. */
import { ignoreOutputErrors, logEntry } from '../log.ts'
import { RUNTIME } from '../runtime.ts'
import type { GatewayServer } from '../server/gateway-server.ts'
import { show } from '../text.ts'

/** How long a process may still run after its last connection has closed, in milliseconds. */
export const EXIT_TIME = 1_000

/** How many uncaught errors are logged: a timer that always throws would fill the log. */
export const MAX_LOGGED = 10

/**
 * Milliseconds of a shutdown after which a message explains what the process waits for: longer than
 * idle connections stay open.
 */
const EXPLAIN_AFTER = 1_000

const CLOSING = ['SIGTERM', 'SIGINT'] as const

/**
 * Closes the server on SIGTERM or SIGINT and lets the process end; a second signal ends it at once.
 * If the signal arrives during the start, the server closes as soon as it has started. The listeners
 * are removed when the server has closed.
 *
 * Other signals keep their effect: libfcgi exits on SIGUSR1, but Node starts its debugger.
 */
export function closeOnSignals(server: GatewayServer | Promise<GatewayServer>): void {
  const starting = Promise.resolve(server)
  const removeListeners = (): void => {
    for (const signal of CLOSING) process.removeListener(signal, onSignal)
  }
  const onSignal = (): void => {
    removeListeners()
    void starting.then((started) => stop(started, '. Press Ctrl-C again to stop now'), ignore)
  }
  for (const signal of CLOSING) process.on(signal, onSignal)
  void starting.then((started) => started.closed).then(removeListeners, removeListeners)
}

function ignore(): void {}

const guarded = new Set<GatewayServer>()
let logged = 0

/**
 * Closes the server on an uncaught error, such as one thrown by a timer or a rejection without a
 * handler. Running requests complete, and the process ends with exit code 1, so that a supervisor
 * starts it again.
 *
 * Node would end the process at once, and with it all running requests. The process must not run
 * for longer either, because the error may have left its state inconsistent. If the program itself
 * listens for 'uncaughtException' or 'unhandledRejection', this function does nothing.
 */
export function exitOnUncaughtError(server: GatewayServer): void {
  if (guarded.size === 0) {
    ignoreOutputErrors()
    process.on('uncaughtException', onUncaught)
    if (RUNTIME === 'bun') process.on('unhandledRejection', onRejection)
  }
  guarded.add(server)
  void forget(server)
}

async function forget(server: GatewayServer): Promise<void> {
  await server.closed
  guarded.delete(server)
  // After an error the listener remains: otherwise Node would exit at the next error, and output that
  // waits for a pipe would be lost.
  if (guarded.size > 0 || logged > 0) return
  process.off('uncaughtException', onUncaught)
  process.off('unhandledRejection', onRejection)
}

/** Bun (1.4) would exit at once, where Node reports an uncaught exception. */
function onRejection(error: unknown): void {
  if (process.listenerCount('unhandledRejection') === 1) onUncaught(error, 'unhandledRejection')
}

/** Node also calls it for a rejection, unless the program listens for 'unhandledRejection'. */
function onUncaught(error: unknown, origin: NodeJS.UncaughtExceptionOrigin): void {
  if (process.listenerCount('uncaughtException') > 1) return
  const what = origin === 'unhandledRejection' ? 'Unhandled rejection' : 'Uncaught exception'
  process.exitCode = 1
  for (const server of guarded) void stop(server, '')
  logged += 1
  if (logged > MAX_LOGGED) return
  logEntry(`${what}: completing running requests, then exiting with code 1`)
  logEntry(show(error))
}

const stopping = new WeakSet<GatewayServer>()

async function stop(server: GatewayServer, hint: string): Promise<void> {
  if (stopping.has(server)) return
  stopping.add(server)
  const notice = setTimeout(() => {
    const seconds = Math.ceil(server.shutdownTimeout / 1000)
    logEntry(`Shutting down: waiting up to ${seconds} s for ${countOf(server.connections)}${hint}`)
  }, EXPLAIN_AFTER)
  await server.close()
  clearTimeout(notice)
  const { abortedConnections } = server
  if (abortedConnections > 0)
    logEntry(`Closed ${countOf(abortedConnections)} with unfinished requests`)
  // The process ends by itself when its output is written; `process.exit` would lose output that
  // waits for a pipe. The timer does not keep the process alive: it fires only if something else does.
  setTimeout(() => process.exit(), EXIT_TIME).unref()
}

function countOf(connections: number): string {
  return connections === 1 ? '1 connection' : `${connections} connections`
}
