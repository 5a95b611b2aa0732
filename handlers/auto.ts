/**
 * `run(app)`: the same file as a CGI script, a FastCGI process and a local HTTP server. Here, and
 * only here, it is decided which of them this process is.
 */
import { ConfigurationError } from '../src/errors.ts'
import { logEntry } from '../src/log.ts'
import { recognise, type Runnable } from '../src/application/to-application.ts'
import { describeDescriptor } from '../src/server/inherited-sockets.ts'
import type { GatewayServer } from '../src/server/gateway-server.ts'
import type { Gateway } from '../src/types.ts'
import type { FastCGIOptions } from './fastcgi.ts'
import type { HTTPOptions } from './http.ts'

/**
 * The options of whichever handler it will be, and the choice itself. A `requestHandler` belongs to
 * one gateway, and so to its handler.
 */
export type RunOptions = Omit<FastCGIOptions & HTTPOptions, 'requestHandler'> & {
  /** Which gateway to be; without it the surroundings decide. */
  readonly gateway?: Gateway | undefined
  /**
   * Whether an error that nobody caught closes the server, which answers what runs, before the
   * process ends with exit code 1. Default: true; false leaves it to Node, which ends at once.
   */
  readonly exitOnUncaughtError?: boolean | undefined
}

/** Which gateway the process has been started for, and where that listens if it is known. */
export interface Surroundings {
  readonly gateway: Gateway
  /** Absent where the options, or the handler's own default, decide. */
  readonly listen?: string | undefined
}

/**
 * Looks around, in this order:
 *
 * 1. PORTICO_GATEWAY says it, and PORTICO_LISTEN where to listen.
 * 2. REQUEST_METHOD and GATEWAY_INTERFACE are set: CGI. Before any look at fd 0, which is a socket
 *    under Apache's mod_cgid, too.
 * 3. systemd has passed a socket to this process: FastCGI on it.
 * 4. fd 0 is a listening socket, as from spawn-fcgi, mod_fcgid and lighttpd: FastCGI on it.
 * 5. Otherwise HTTP, where PORTICO_LISTEN says.
 *
 * @throws {ConfigurationError} if PORTICO_GATEWAY names no gateway.
 */
export function detectGateway(env: NodeJS.ProcessEnv = process.env): Surroundings {
  const { PORTICO_GATEWAY: named } = env
  const listen = env['PORTICO_LISTEN'] || undefined
  if (named) return { gateway: asGateway(named, 'PORTICO_GATEWAY'), listen }
  if (env['REQUEST_METHOD'] && env['GATEWAY_INTERFACE']) return { gateway: 'cgi' }
  if (Number(env['LISTEN_PID']) === process.pid && Number(env['LISTEN_FDS']) >= 1) {
    return { gateway: 'fastcgi', listen: 'systemd' }
  }
  if (describeDescriptor(0) === 'listening') return { gateway: 'fastcgi', listen: 'fd:0' }
  return { gateway: 'http', listen }
}

/**
 * Runs an application behind whatever has started this process; meant for the last line of a
 * script. Resolves to the server, or to null when a CGI request has been answered.
 *
 * PORTICO_SOCKET_MODE, PORTICO_SOCKET_OWNER and PORTICO_SOCKET_GROUP are the rights of a Unix socket
 * that it makes; like PORTICO_LISTEN they come before the options.
 *
 * The HTTP server's URL is printed to stderr, and where another one listens if that is a terminal.
 * So is, in one line, why a server cannot be started; the process ends with exit code 1 then.
 * Whoever wants to catch that uses a handler.
 */
export async function run(
  application: Runnable,
  options: RunOptions = {},
): Promise<GatewayServer | null> {
  try {
    return await start(application, options)
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    const { code } = (error.cause ?? {}) as NodeJS.ErrnoException
    // Nobody looks at it where the program itself says what it is.
    const heeded = code === 'EADDRINUSE' && !options.gateway
    say(error.message + (heeded ? '; PORTICO_LISTEN chooses another place' : ''))
    process.exitCode = 1
    return null
  }
}

async function start(application: Runnable, options: RunOptions): Promise<GatewayServer | null> {
  const { gateway, listen }: Surroundings = options.gateway
    ? { gateway: asGateway(options.gateway, 'gateway') }
    : detectGateway()
  // A socket that was handed over is where whoever started us expects to be answered.
  const settings = { ...options, ...socketRights(), listen: listen ?? options.listen }
  const { application: app, shape } = await recognise(application)
  if (gateway === 'cgi') {
    const { CGIHandler } = await import('./cgi.ts')
    await new CGIHandler(settings).run(app)
    return null
  }
  const handler = await handlerFor(gateway, settings)
  const { exitOnUncaughtError, closeOnSignals } = await import('../src/process/shutdown.ts')
  const server = await handler.run(app)
  // Requests finish (FastCGI 1.0, section 7) instead of being cut off, from the first one on.
  closeOnSignals(server)
  if (options.exitOnUncaughtError !== false) exitOnUncaughtError(server)
  // What a web server starts has nobody to tell.
  if (gateway === 'http') say(`Serving ${shape} on ${placeOf(server, 'http://')}`)
  else if (process.stderr.isTTY)
    say(`Serving ${shape} over ${NAMES[gateway]} on ${placeOf(server)}`)
  return server
}

/** Who may use a Unix socket, as far as whoever started us says it. */
function socketRights({ env } = process): Pick<RunOptions, 'mode' | 'owner' | 'group'> {
  const rights: Record<string, string> = {}
  for (const option of ['mode', 'owner', 'group']) {
    const value = env[`PORTICO_SOCKET_${option.toUpperCase()}`]
    if (value) rights[option] = value
  }
  return rights
}

/** A server's handler; the others are not loaded. */
async function handlerFor(gateway: Exclude<Gateway, 'cgi'>, settings: RunOptions) {
  switch (gateway) {
    case 'fastcgi':
      return new (await import('./fastcgi.ts')).FastCGIHandler(settings)
    case 'scgi':
      return new (await import('./scgi.ts')).SCGIHandler(settings)
    case 'http':
      return new (await import('./http.ts')).HTTPHandler(settings)
  }
}

const NAMES = { fastcgi: 'FastCGI', scgi: 'SCGI' } as const

const GATEWAYS: readonly string[] = ['cgi', 'fastcgi', 'scgi', 'http'] satisfies Gateway[]

function asGateway(name: string, option: string): Gateway {
  if (GATEWAYS.includes(name)) return name as Gateway
  throw new ConfigurationError(`${option}: '${name}' is none of ${GATEWAYS.join(', ')}`)
}

function say(text: string): void {
  logEntry(text)
}

/** Where the server is, in the words of `listen`, or for a browser with a `scheme`. */
function placeOf({ address }: GatewayServer, scheme = ''): string {
  if (address.kind === 'unix') return `unix:${address.path}`
  if (address.kind === 'fd') return `fd:${address.fd}`
  const host = address.host.includes(':') ? `[${address.host}]` : address.host
  return `${scheme}${host}:${address.port}${scheme && '/'}`
}
