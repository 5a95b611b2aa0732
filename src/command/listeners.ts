/** --listen and --gateway: where to listen, and which gateway is served there. */
import { ConfigurationError } from '../errors.ts'
import { GATEWAYS, SERVER_GATEWAYS, type ServerGateway } from '../gateways.ts'
import { suggestion } from '../options/names.ts'
import { describeDescriptor } from '../server/inherited-sockets.ts'
import { parseListen } from '../server/listen.ts'
import { UsageError } from './usage-error.ts'

export interface Listener {
  readonly gateway: ServerGateway
  readonly listen: string
  /** Whether the address was asked for; if not, the next free port will do. */
  readonly asked: boolean
}

/**
 * The listeners for addresses such as 'unix:/run/app.sock' and 'scgi://127.0.0.1:4000'. Without an
 * address it is the socket that systemd, spawn-fcgi or a web server has handed over, or HTTP's
 * default.
 *
 * @throws {UsageError} for an address or a gateway that does not exist.
 */
export function listenersOf(
  addresses: readonly string[],
  gateway: ServerGateway | undefined,
  env: NodeJS.ProcessEnv,
  describe: typeof describeDescriptor = describeDescriptor,
): readonly Listener[] {
  const asked = addresses.map((address) => listenerOf(address, gateway))
  const twice = asked.find(({ listen }, index) => {
    return !/(?:^|:)0$/.test(listen) && asked.findIndex((each) => each.listen === listen) < index
  })
  if (twice) throw new UsageError(`--listen: ${twice.listen} is named twice`)
  if (asked.length > 0) return asked
  const systemd = Number(env['LISTEN_PID']) === process.pid && Number(env['LISTEN_FDS']) >= 1
  if (systemd) return [{ gateway: gateway ?? 'fastcgi', listen: 'systemd', asked: true }]
  if (describe(0) === 'listening') {
    return [{ gateway: gateway ?? 'fastcgi', listen: 'fd:0', asked: true }]
  }
  if (gateway === 'fastcgi' || gateway === 'scgi') {
    throw new UsageError(
      `--gateway ${gateway} needs an address, such as --listen unix:/run/app.sock: ` +
        'no web server or systemd has handed over a socket',
    )
  }
  return [{ gateway: 'http', listen: GATEWAYS.http.listen, asked: false }]
}

function listenerOf(address: string, fallback: ServerGateway = 'http'): Listener {
  const [, scheme, rest] = /^([a-z][\w+.-]*):\/\/(.*)$/i.exec(address) ?? []
  if (scheme !== undefined && !SERVER_GATEWAYS.includes(scheme as ServerGateway)) {
    throw new UsageError(
      `--listen: unknown gateway '${scheme}'. ${suggestion(scheme, SERVER_GATEWAYS)}`,
    )
  }
  // A URL of HTTP ends in a slash.
  const listen =
    rest === undefined ? address : rest.startsWith('unix:') ? rest : rest.replace(/\/$/, '')
  try {
    parseListen(listen)
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    throw new UsageError(`--${error.message}`, { cause: error })
  }
  return { gateway: (scheme as ServerGateway | undefined) ?? fallback, listen, asked: true }
}
