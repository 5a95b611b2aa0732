/**
 * What ends a process that is a server: a signal, or an error that nobody caught. Seen from whoever
 * started it, who wants no accepted request lost and a word about what is waited for.
 */
import { logEntry } from '../log.ts'
import { show } from '../text.ts'
import type { GatewayServer } from '../server/gateway-server.ts'

/** How long the process may still run after its last server has closed, in milliseconds. */
const EXIT_TIME = 1000

/** Errors that are told; a timer that throws each time it fires would fill the log until the end. */
const MAX_TOLD = 10

/** How long, in milliseconds, the closing of a server needs no explanation. */
const PATIENCE = 500

/**
 * Closes the server on SIGTERM or SIGINT and then lets the process end; a second signal ends it at
 * once. Whoever started us decides about other signals: Node keeps SIGUSR1 for its debugger,
 * libfcgi ends on it as on SIGTERM.
 */
export function closeOnSignals(
  server: GatewayServer,
  signals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT'],
): void {
  const onSignal = () => {
    for (const signal of signals) process.removeListener(signal, onSignal)
    void stop(server, '; a second signal ends it now')
  }
  for (const signal of signals) process.on(signal, onSignal)
}

const guarded = new Set<GatewayServer>()
let told = 0

/**
 * Closes the server on an error that nobody caught, such as one thrown by a timer or a rejection
 * without a handler, and lets the process end with exit code 1, so that whoever started it starts
 * it anew. What runs is answered until then.
 *
 * Node would end at once, and with it every request that runs beside; and it is not safe to go on
 * for longer, since what the error left half done is not known. Where something else listens for
 * 'uncaughtException' or 'unhandledRejection', that decides, and nothing happens here.
 */
export function exitOnUncaughtError(server: GatewayServer): void {
  if (guarded.size === 0) process.on('uncaughtException', onFault)
  guarded.add(server)
  void forget(server)
}

async function forget(server: GatewayServer): Promise<void> {
  await server.closed
  guarded.delete(server)
  // Behind an error the process is about to end, and Node would cut off what a pipe has not taken.
  if (guarded.size === 0 && told === 0) process.off('uncaughtException', onFault)
}

/** Node calls it for a rejection as well, where nobody listens for those. */
function onFault(error: unknown, origin: NodeJS.UncaughtExceptionOrigin): void {
  if (process.listenerCount('uncaughtException') > 1) return
  const what = origin === 'unhandledRejection' ? 'Unhandled rejection' : 'Uncaught exception'
  process.exitCode = 1
  for (const server of guarded) void stop(server, '')
  told += 1
  if (told > MAX_TOLD) return
  logEntry(`${what}: what runs is still answered, then this process ends with exit code 1`)
  logEntry(show(error))
}

function countOf(connections: number): string {
  return connections === 1 ? '1 connection' : `${connections} connections`
}

const stopping = new WeakSet<GatewayServer>()

async function stop(server: GatewayServer, hint: string): Promise<void> {
  if (stopping.has(server)) return
  stopping.add(server)
  const notice = setTimeout(() => {
    const seconds = Math.ceil(server.shutdownTimeout / 1000)
    const peers = countOf(server.connections)
    logEntry(`Waiting up to ${seconds} s for what runs on ${peers}${hint}`)
  }, PATIENCE)
  await server.close()
  clearTimeout(notice)
  if (server.abortedConnections > 0) {
    logEntry(`Cut off what still ran on ${countOf(server.abortedConnections)}`)
  }
  // The process ends by itself, when what it wrote is out: `process.exit` cuts off what a pipe
  // has not taken. The timer keeps nothing alive, and fires only if something else does.
  setTimeout(() => process.exit(), EXIT_TIME).unref()
}
