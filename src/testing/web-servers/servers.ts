/**
 * The variables that web servers really send with their default configuration, mistakes included:
 * one row for each server. test/conformance/as-servers.test.ts compares them with the real servers.
 */
import { ConfigurationError } from '../../errors.ts'
import type { CgiServer } from '../cgi-variables.ts'
import type { TestRequest } from '../client.ts'
import type { ConnectTarget } from '../server-address.ts'
import { APACHE_SOFTWARE, apacheVariables } from './apache.ts'
import { CADDY_SOFTWARE, caddyVariables } from './caddy.ts'
import { HAPROXY_SOFTWARE, haproxyVariables } from './haproxy.ts'
import { LIGHTTPD_SOFTWARE, lighttpdVariables } from './lighttpd.ts'
import { NGINX_SOFTWARE, nginxVariables } from './nginx.ts'
import { sentRequest } from './sent-request.ts'
import type { SentRequest, VariableGateway, Variables } from './sent-request.ts'

export type { VariableGateway }

interface Row {
  readonly label: string
  /** SERVER_SOFTWARE. */
  readonly software: string
  readonly gateways: readonly VariableGateway[]
  variables(request: SentRequest, software: string): Variables
}

const SERVERS = {
  nginx: {
    label: 'nginx',
    software: NGINX_SOFTWARE,
    gateways: ['fastcgi', 'scgi'],
    variables: nginxVariables,
  },
  apache: {
    label: 'Apache',
    software: APACHE_SOFTWARE,
    gateways: ['cgi', 'fastcgi', 'scgi'],
    variables: apacheVariables,
  },
  lighttpd: {
    label: 'lighttpd',
    software: LIGHTTPD_SOFTWARE,
    gateways: ['cgi', 'fastcgi', 'scgi'],
    variables: lighttpdVariables,
  },
  caddy: {
    label: 'Caddy',
    software: CADDY_SOFTWARE,
    gateways: ['fastcgi'],
    variables: caddyVariables,
  },
  haproxy: {
    label: 'HAProxy',
    software: HAPROXY_SOFTWARE,
    gateways: ['fastcgi'],
    variables: haproxyVariables,
  },
} as const satisfies Readonly<Record<string, Row>>

/** The web servers whose variables are known. */
export type ServerName = keyof typeof SERVERS

export const SERVER_NAMES = Object.keys(SERVERS) as readonly ServerName[]

/**
 * What `name` sends for a request.
 *
 * @throws {ConfigurationError} if the server does not speak the protocol, or responds itself.
 */
export function serverVariables(
  name: ServerName,
  request: TestRequest,
  server: CgiServer,
  { gateway, address }: { gateway: VariableGateway; address?: ConnectTarget | undefined },
): Variables {
  const row: Row = SERVERS[name]
  if (!row.gateways.includes(gateway)) {
    const known = SERVER_NAMES.filter((other) => (SERVERS[other] as Row).gateways.includes(gateway))
    throw new ConfigurationError(
      `${row.label} does not speak ${gateway === 'cgi' ? 'CGI' : gateway.toUpperCase()}; ` +
        `these do: ${known.join(', ')}`,
    )
  }
  const software = server.serverSoftware ?? row.software
  return row.variables(sentRequest(request, server, gateway, address), software)
}
