/**
 * `run(app)`: the same file as a CGI script, a FastCGI process and a local HTTP server. Here, and
 * only here, it is decided which of them this process is.
 */
import { ConfigurationError } from '../src/errors.ts'
import { recognise, type Runnable } from '../src/recognise.ts'
import { describeDescriptor } from '../src/server/inherited.ts'
import { closeOnSignals, type GatewayServer } from '../src/server/lifecycle.ts'
import type { Gateway } from '../src/types.ts'
import type { FastCGIOptions } from './fastcgi.ts'
import type { HTTPOptions } from './http.ts'

/**
 * The options of whichever handler it will be, and the choice itself. A `handlerClass` belongs to
 * one gateway, and so to its handler.
 */
export type RunOptions = Omit<FastCGIOptions & HTTPOptions, 'handlerClass'> & {
  /** Which gateway to be; without it the surroundings decide. */
  readonly gateway?: Gateway | undefined
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
 * The HTTP server's URL is printed to stderr. So is, in one line, why a server cannot be started;
 * the process ends with exit code 1 then. Whoever wants to catch that uses a handler.
 */
export async function run(
  application: Runnable,
  options: RunOptions = {},
): Promise<GatewayServer | null> {
  try {
    return await start(application, options)
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 1
    return null
  }
}

async function start(application: Runnable, options: RunOptions): Promise<GatewayServer | null> {
  const { gateway, listen }: Surroundings = options.gateway
    ? { gateway: asGateway(options.gateway, 'gateway') }
    : detectGateway()
  // A socket that was handed over is where whoever started us expects to be answered.
  const settings = { ...options, listen: listen ?? options.listen }
  const { application: app, shape } = await recognise(application)
  switch (gateway) {
    case 'cgi': {
      const { CGIHandler } = await import('./cgi.ts')
      await new CGIHandler(settings).run(app)
      return null
    }
    case 'fastcgi': {
      const { FastCGIHandler } = await import('./fastcgi.ts')
      return stoppable(await new FastCGIHandler(settings).run(app))
    }
    case 'scgi': {
      const { SCGIHandler } = await import('./scgi.ts')
      return stoppable(await new SCGIHandler(settings).run(app))
    }
    case 'http': {
      const { HTTPHandler } = await import('./http.ts')
      const server = await new HTTPHandler(settings).run(app)
      process.stderr.write(`Serving ${shape} on ${urlOf(server)}\n`)
      return stoppable(server)
    }
  }
}

const GATEWAYS: readonly string[] = ['cgi', 'fastcgi', 'scgi', 'http'] satisfies Gateway[]

function asGateway(name: string, option: string): Gateway {
  if (GATEWAYS.includes(name)) return name as Gateway
  throw new ConfigurationError(`${option}: '${name}' is none of ${GATEWAYS.join(', ')}`)
}

/** SIGTERM and SIGINT let requests finish (FastCGI 1.0, section 7) instead of cutting them off. */
function stoppable(server: GatewayServer): GatewayServer {
  closeOnSignals(server)
  return server
}

function urlOf({ address }: GatewayServer): string {
  if (address.kind !== 'tcp') return address.kind === 'unix' ? `unix:${address.path}` : 'fd'
  const host = address.host.includes(':') ? `[${address.host}]` : address.host
  return `http://${host}:${address.port}/`
}
