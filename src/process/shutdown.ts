/** What ends a process that is a server: a signal, or an uncaught error. */
import { logEntry } from '../log.ts'
import type { GatewayServer } from '../server/gateway-server.ts'
import { show } from '../text.ts'

/** How long the process may still run after its last server has closed, in milliseconds. */
const EXIT_TIME = 1000

/** Uncaught errors that are logged: a timer that throws each time would fill the log. */
const MAX_LOGGED = 10

/** How long, in milliseconds, a shutdown needs no explanation. */
const PATIENCE = 500

/**
 * Closes the server on SIGTERM or SIGINT, and lets the process end; a second signal ends it at
 * once. A signal that comes while the server starts closes it as soon as it has started. The
 * listeners go when the server closes.
 *
 * Other signals keep their effect: Node has SIGUSR1 for its debugger, while libfcgi ends on it.
 */
export function closeOnSignals(
  server: GatewayServer | Promise<GatewayServer>,
  signals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT'],
): void {
  const starting = Promise.resolve(server)
  const removeListeners = (): void => {
    for (const signal of signals) process.removeListener(signal, onSignal)
  }
  const onSignal = (): void => {
    removeListeners()
    void starting.then((started) => stop(started, '. Press Ctrl-C again to stop now'), ignore)
  }
  for (const signal of signals) process.on(signal, onSignal)
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
 * Node would end at once, with all running requests. To go on for longer is not safe, since nobody
 * knows what the error left half done. Where the program listens for 'uncaughtException' or
 * 'unhandledRejection' itself, nothing happens here.
 */
export function exitOnUncaughtError(server: GatewayServer): void {
  if (guarded.size === 0) process.on('uncaughtException', onUncaught)
  guarded.add(server)
  void forget(server)
}

async function forget(server: GatewayServer): Promise<void> {
  await server.closed
  guarded.delete(server)
  // After an error the listener stays: Node would end at once and truncate what a pipe has not taken.
  if (guarded.size === 0 && logged === 0) process.off('uncaughtException', onUncaught)
}

/** Node calls it for a rejection as well, unless something listens for 'unhandledRejection'. */
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
  }, PATIENCE)
  await server.close()
  clearTimeout(notice)
  const { abortedConnections } = server
  if (abortedConnections > 0) logEntry(`Closed ${countOf(abortedConnections)} that had not ended`)
  // The process ends by itself when its output is written: `process.exit` truncates what a pipe has
  // not taken. The timer keeps nothing alive, and fires only if something else does.
  setTimeout(() => process.exit(), EXIT_TIME).unref()
}

function countOf(connections: number): string {
  return connections === 1 ? '1 connection' : `${connections} connections`
}
