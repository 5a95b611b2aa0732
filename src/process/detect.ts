/** Detects the gateway that this process was started for. */
import { ConfigurationError } from '../errors.ts'
import { GATEWAY_NAMES, type Gateway } from '../gateways.ts'
import { suggestion } from '../options/names.ts'
import { describeDescriptor } from '../server/inherited-sockets.ts'

/** The gateway that a process was started for, and where it listens if that is known. */
export interface Surroundings {
  readonly gateway: Gateway
  /** Absent if the options, or the gateway's default, decide. */
  readonly listen?: string | undefined
  /** True if the web server may start further processes of the same program. */
  readonly multiprocess?: true
}

/**
 * Decides by the environment and descriptor 0, in this order:
 *
 * 1. PORTICO_GATEWAY names the gateway, and PORTICO_LISTEN where to listen.
 * 2. REQUEST_METHOD and GATEWAY_INTERFACE are set: CGI. This comes before descriptor 0, which is a
 *    socket under Apache's mod_cgid, too.
 * 3. systemd has passed a socket to this process: FastCGI on it.
 * 4. Descriptor 0 is a listening socket, as from spawn-fcgi, mod_fcgid and lighttpd: FastCGI on it.
 * 5. Otherwise HTTP, on PORTICO_LISTEN.
 *
 * @throws {ConfigurationError} if PORTICO_GATEWAY is not the name of a gateway.
 */
export function detectGateway(env: NodeJS.ProcessEnv = process.env): Surroundings {
  const { PORTICO_GATEWAY: named } = env
  const listen = env['PORTICO_LISTEN'] || undefined
  if (named) return { gateway: asGateway(named, 'PORTICO_GATEWAY'), listen }
  if (env['REQUEST_METHOD'] && env['GATEWAY_INTERFACE']) return { gateway: 'cgi' }
  if (Number(env['LISTEN_PID']) === process.pid && Number(env['LISTEN_FDS']) >= 1) {
    return { gateway: 'fastcgi', listen: 'systemd' }
  }
  if (describeDescriptor(0) === 'listening') {
    // mod_fcgid starts a process for each concurrent request, lighttpd `max-procs` of them.
    return { gateway: 'fastcgi', listen: 'fd:0', multiprocess: true }
  }
  return { gateway: 'http', listen }
}

/**
 * Checks the name of a gateway; `where` is the option or variable that contains it.
 *
 * @throws {ConfigurationError} if no gateway has that name.
 */
export function asGateway(name: string, where: string): Gateway {
  if (GATEWAY_NAMES.includes(name as Gateway)) return name as Gateway
  throw new ConfigurationError(
    `${where}: unknown gateway '${name}'. ${suggestion(name, GATEWAY_NAMES)}`,
  )
}
