/**
 * The gateways, one row each. To add one, write `protocol/x.ts`, `server/connections/x.ts` and
 * `handlers/x.ts`, and add a row here.
 */

/** The handler of a server. This file cannot import the types of the handlers. */
interface AnyHandler {
  run(application: never): Promise<unknown>
}

interface Row {
  /** The name in messages. */
  readonly label: string
  /** The default of the option `listen`; absent if the web server starts a process per request. */
  readonly listen?: string
  /**
   * Whether the gateway trusts everything that a peer sends, REMOTE_USER included. Such a gateway
   * listens on every address of the machine only with `allowedClients`.
   */
  readonly trustsPeers: boolean
  /** The directive of nginx and the URL scheme of Apache for its protocol. */
  readonly nginx?: string
  readonly apache?: string
  /** Loads the module and creates a handler; absent for CGI, which is not a server. */
  readonly load?: (options: object) => Promise<AnyHandler>
}

export const GATEWAYS = {
  cgi: { label: 'CGI', trustsPeers: true },
  fastcgi: {
    label: 'FastCGI',
    listen: 'fd:0', // FastCGI 1.0, section 2.2
    trustsPeers: true,
    nginx: 'fastcgi_pass',
    apache: 'fcgi://',
    load: async (options): Promise<AnyHandler> =>
      new (await import('../handlers/fastcgi.ts')).FastCGIHandler(options),
  },
  scgi: {
    label: 'SCGI',
    listen: 'fd:0',
    trustsPeers: true,
    nginx: 'scgi_pass',
    apache: 'scgi://',
    load: async (options): Promise<AnyHandler> =>
      new (await import('../handlers/scgi.ts')).SCGIHandler(options),
  },
  http: {
    label: 'HTTP',
    listen: ':8000',
    trustsPeers: false,
    nginx: 'proxy_pass',
    apache: 'http://',
    load: async (options): Promise<AnyHandler> =>
      new (await import('../handlers/http.ts')).HTTPHandler(options),
  },
} as const satisfies Readonly<Record<string, Row>>

/** The gateways an application can run on. */
export type Gateway = keyof typeof GATEWAYS

export const GATEWAY_NAMES = Object.keys(GATEWAYS) as readonly Gateway[]

/** The gateways that are servers. */
export type ServerGateway = Exclude<Gateway, 'cgi'>

export const SERVER_GATEWAYS = GATEWAY_NAMES.filter(
  (name) => 'load' in GATEWAYS[name],
) as readonly ServerGateway[]
