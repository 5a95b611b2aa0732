/**
 * The options of handlers and of `run`: one row each. Types, defaults, validation, PORTICO_*
 * variables, flags and the tables of the documentation come from here.
 */
import type { ClientList } from './address-list.ts'
import {
  GATEWAY_NAMES,
  GATEWAYS,
  SERVER_GATEWAYS,
  type Gateway,
  type ServerGateway,
} from './gateways.ts'

/** All options; see `OptionsOf` for those of one gateway. */
export interface Options {
  /** The gateway. Default: detected from how the process was started. */
  readonly gateway?: Gateway | undefined
  /**
   * Where to listen: 'unix:PATH', 'HOST:PORT', '[::1]:PORT', ':PORT' (on 127.0.0.1), a port number,
   * 'fd:N', 'systemd' (the first socket) or 'systemd:NAME'. With port 0 the system picks a free one.
   */
  readonly listen?: string | number | undefined
  /** Permissions of a Unix socket, such as 0o660 or '0660'. */
  readonly mode?: number | string | undefined
  /** Owner of a Unix socket: a user id, or a name from /etc/passwd. */
  readonly owner?: number | string | undefined
  /** Group of a Unix socket: a group id, or a name from /etc/group. */
  readonly group?: number | string | undefined
  /** How many connections may wait to be accepted; the system may allow fewer. */
  readonly backlog?: number | undefined
  /** Clients that may connect over TCP: addresses and CIDR blocks, an array or comma-separated. */
  readonly allowedClients?: ClientList | undefined
  /** How many connections may be open; the server closes further ones at once. */
  readonly maxConnections?: number | undefined
  /** Requests after which the server closes a kept-alive connection; 0 for no limit. */
  readonly maxRequestsPerConnection?: number | undefined
  /** False refuses a second request on a connection while one is running. */
  readonly multiplex?: boolean | undefined
  /** Bytes of a request's head: PARAMS, SCGI headers, or HTTP's request line and headers. */
  readonly maxHeaderBytes?: number | undefined
  /** Variables or headers of a request; Infinity for no limit. */
  readonly maxHeaders?: number | undefined
  /** Bytes of unread request body above which the server stops reading the connection. */
  readonly highWaterMark?: number | undefined
  /** Milliseconds from the first byte of a request's head to its last; Infinity for no limit. */
  readonly headersTimeout?: number | undefined
  /** Milliseconds without a byte of a request body that the server reads; Infinity for no limit. */
  readonly bodyTimeout?: number | undefined
  /** Milliseconds that a connection may be open without a request; Infinity for no limit. */
  readonly idleTimeout?: number | undefined
  /** Milliseconds in which the peer reads nothing of a waiting response; Infinity for no limit. */
  readonly writeTimeout?: number | undefined
  /** Milliseconds for the whole response; 0 for no limit. */
  readonly responseTimeout?: number | undefined
  /** Milliseconds that `close()` waits for running requests. */
  readonly shutdownTimeout?: number | undefined
  /** The mount point, '' or '/…', if the web server does not send it. */
  readonly scriptName?: string | undefined
  /**
   * - `'auto'` (default): SCRIPT_NAME and PATH_INFO as the server sends them, known bugs corrected;
   * - `'as-is'`: as the server sends them;
   * - `'from-uri'`: decoded from REQUEST_URI, without the server's rewriting.
   */
  readonly pathInfo?: 'auto' | 'as-is' | 'from-uri' | undefined
  /** Variables for every request; a variable of the request with the same name wins. */
  readonly osEnviron?: Readonly<Record<string, string>> | undefined
  /** `wsgi.multiprocess`: whether other processes run the same application. */
  readonly multiprocess?: boolean | undefined
  /** The Server header, unless the application sends its own; null for no header. */
  readonly serverSoftware?: string | null | undefined
  /**
   * Wraps the application in `validator`, for development: a violation of the contract is logged
   * and becomes a 500. Applications of frameworks are never wrapped.
   */
  readonly validate?: boolean | undefined
  /**
   * True: after an uncaught error the server completes running requests, and then the process exits
   * with code 1. False: Node ends the process at once.
   */
  readonly exitOnUncaughtError?: boolean | undefined
  /** The class that runs a request; a subclass overrides the hooks of `BaseHandler`. */
  readonly requestHandler?: (abstract new (...args: never[]) => unknown) | undefined
}

/** A set of options: one for each gateway, for the node-fastcgi package, and for `run`. */
export type OptionSet = Gateway | 'node-fastcgi' | 'run'

/**
 * The type of a value. A 'time' is in milliseconds. The code that uses a 'special' option parses it.
 * A 'class' or 'variables' cannot come from an environment variable or a command line.
 */
// oxfmt-ignore
export type Kind =
  | 'time' | 'bytes' | 'count' | 'switch' | 'text' | 'header' | 'choice' | 'special' | 'class' | 'variables'

export interface OptionRow<Value> {
  readonly kind: Kind
  /** The sets that have this option. */
  readonly of: readonly OptionSet[]
  readonly default?: Value | Partial<Readonly<Record<OptionSet, Value>>>

  readonly range?: readonly [min: number, max: number]
  /** Whether Infinity lifts a limit. */
  readonly unlimited?: boolean
  readonly choices?: readonly Value[]
  /** The environment variable, if it is not PORTICO_ followed by the option's name. */
  readonly env?: string
  /** One line for --help and for the tables in docs/. */
  readonly help: string
}

/** 24.8 days. For a longer time Node's timers fire at once. */
const MAX_TIME = 2 ** 31 - 1
export const MAX_SIZE = Number.MAX_SAFE_INTEGER

const ENGINES = SERVER_GATEWAYS
const SERVERS: readonly (ServerGateway | 'node-fastcgi')[] = [...SERVER_GATEWAYS, 'node-fastcgi']
const ALL: readonly (Gateway | 'node-fastcgi')[] = [...GATEWAY_NAMES, 'node-fastcgi']

export const OPTIONS = {
  gateway: {
    kind: 'choice',
    of: ['run'],
    choices: GATEWAY_NAMES,
    help: 'the gateway; detected by default',
  },
  listen: {
    kind: 'special',
    of: SERVERS,
    default: {
      ...Object.fromEntries(SERVER_GATEWAYS.map((name) => [name, GATEWAYS[name].listen])),
      'node-fastcgi': GATEWAYS.fastcgi.listen,
    },
    help: 'unix:PATH, HOST:PORT, :PORT (127.0.0.1), a port, fd:N, systemd or systemd:NAME',
  },
  mode: {
    kind: 'special',
    of: SERVERS,
    // The web server's group can connect, others cannot. (php-fpm had 0666: CVE-2014-0185.)
    default: 0o660,
    env: 'PORTICO_SOCKET_MODE',
    help: 'permissions of a Unix socket',
  },
  owner: {
    kind: 'special',
    of: SERVERS,
    env: 'PORTICO_SOCKET_OWNER',
    help: 'owner of a Unix socket',
  },
  group: {
    kind: 'special',
    of: SERVERS,
    env: 'PORTICO_SOCKET_GROUP',
    help: 'group of a Unix socket',
  },
  backlog: {
    kind: 'count',
    of: SERVERS,
    // The default of Node, and of nginx on Linux.
    default: 511,
    range: [1, 2 ** 31 - 1],
    help: 'connections that wait to be accepted',
  },
  allowedClients: {
    kind: 'special',
    of: SERVERS,
    help: 'addresses and CIDR blocks that may connect over TCP',
  },
  maxConnections: {
    kind: 'count',
    of: SERVERS,
    // Eight times nginx's worker_connections and sixteen times Apache's MaxRequestWorkers. Each may
    // hold 256 KiB of unread body, so at most 1 GiB together.
    default: 4096,
    range: [1, MAX_SIZE],
    help: 'connections that may be open at once',
  },
  maxRequestsPerConnection: {
    kind: 'count',
    of: ENGINES,
    default: 0,
    range: [0, MAX_SIZE],
    help: 'requests after which a kept-alive connection is closed; 0 for no limit',
  },
  multiplex: {
    kind: 'switch',
    of: ['fastcgi'],
    default: true,
    help: 'whether a connection takes a second request while one is running',
  },
  maxHeaderBytes: {
    kind: 'bytes',
    of: ENGINES,
    // nginx sends at most 64 KiB of PARAMS. Over HTTP, nginx and Apache accept lines of up to 8 KiB;
    // there is room for several of them.
    default: { fastcgi: 1_048_576, scgi: 1_048_576, http: 65_536 },
    range: [1, MAX_SIZE],
    help: "bytes of a request's head",
  },
  maxHeaders: {
    kind: 'count',
    of: ENGINES,
    // nginx has no such limit; Apache's LimitRequestFields is 100.
    default: { fastcgi: 10_000, scgi: 10_000, http: 1_000 },
    range: [1, MAX_SIZE],
    unlimited: true,
    help: 'variables or headers of a request',
  },
  highWaterMark: {
    kind: 'bytes',
    of: ENGINES,
    // A few times what nginx and Apache send at once.
    default: 262_144,
    range: [1, MAX_SIZE],
    help: 'bytes of unread request body above which the connection is paused',
  },
  headersTimeout: {
    kind: 'time',
    of: ENGINES,
    // nginx waits 60 s for a client's head, Apache 20 s. A web server sends a complete head at once.
    default: 30_000,
    range: [1, MAX_TIME],
    unlimited: true,
    help: 'from the first byte of a request to the end of its head',
  },
  bodyTimeout: {
    kind: 'time',
    of: ENGINES,
    // Twice nginx's client_body_timeout. Each byte restarts the time, so a slow upload has no limit.
    default: 120_000,
    range: [1, MAX_TIME],
    unlimited: true,
    help: 'without a byte of the request body',
  },
  idleTimeout: {
    kind: 'time',
    of: ENGINES,
    // nginx keeps an idle connection to an upstream for as long, so nginx closes it first.
    default: 60_000,
    range: [1, MAX_TIME],
    unlimited: true,
    help: 'for a connection without a request',
  },
  writeTimeout: {
    kind: 'time',
    of: SERVERS,
    // Twice nginx's send_timeout, so that nginx gives up on a client before Portico gives up on
    // nginx. One byte in that time is not enough: Linux reports room again only when the peer has
    // read a third of a TCP socket's buffer, or three quarters of a Unix socket's. On one machine
    // that was 1.5 MB and 0.2 MB.
    default: 120_000,
    range: [1, MAX_TIME],
    unlimited: true,
    help: 'in which the peer reads nothing of a waiting response',
  },
  responseTimeout: {
    kind: 'time',
    of: ALL,
    default: 0,
    range: [0, MAX_TIME],
    help: 'for the whole response; 0 for no limit',
  },
  shutdownTimeout: {
    kind: 'time',
    of: SERVERS,
    // `docker stop` kills a process after 10 s; mod_fcgid and systemd wait longer.
    default: 8_000,
    range: [0, MAX_TIME],
    help: 'for running requests when the server closes',
  },
  scriptName: { kind: 'text', of: ALL, help: "the mount point, '' or '/…'" },
  pathInfo: {
    kind: 'choice',
    of: ALL,
    default: 'auto',
    choices: ['auto', 'as-is', 'from-uri'],
    help: 'where SCRIPT_NAME and PATH_INFO come from',
  },
  osEnviron: { kind: 'variables', of: ALL, help: 'variables for every request' },
  multiprocess: {
    kind: 'switch',
    of: ALL,
    default: false,
    help: 'whether several processes run the application (wsgi.multiprocess)',
  },
  serverSoftware: {
    kind: 'header',
    of: ['http'],
    default: 'Portico',
    help: 'the Server header',
  },
  validate: {
    kind: 'switch',
    of: ALL,
    default: false,
    help: 'whether the validator checks the application',
  },
  exitOnUncaughtError: {
    kind: 'switch',
    of: ['run'],
    default: true,
    help: 'whether running requests complete before an uncaught error ends the process',
  },
  requestHandler: {
    kind: 'class',
    of: SERVERS,
    help: 'a subclass of the class that runs a request',
  },
} as const satisfies { readonly [Name in keyof Options]-?: OptionRow<NonNullable<Options[Name]>> }

type Table = typeof OPTIONS
export type OptionName = keyof Options

type NamesOf<Set extends OptionSet> = {
  [N in OptionName]: Set extends Table[N]['of'][number] ? N : never
}[OptionName]

/** The options of a gateway, without `requestHandler`: each handler declares its own type for it. */
export type OptionsOf<Set extends OptionSet> = Pick<
  Options,
  Exclude<NamesOf<Set>, 'requestHandler'>
>

export const OPTION_NAMES = Object.keys(OPTIONS) as readonly OptionName[]

/** The row of an option, without its literal types. */
export function rowOf(name: OptionName): OptionRow<unknown> {
  return OPTIONS[name]
}

/** The names of the options that `set` has. */
export function namesOf(set: OptionSet): OptionName[] {
  return OPTION_NAMES.filter((name) => rowOf(name).of.includes(set))
}

/** The environment variable of an option; undefined if it has none. */
export function variableOf(name: OptionName): string | undefined {
  const { kind, env } = rowOf(name)
  if (kind === 'class' || kind === 'variables') return undefined
  return env ?? `PORTICO_${name.replace(/[A-Z]/g, '_$&').toUpperCase()}`
}

/** The default of an option; undefined if it has none. */
export function defaultOf<N extends OptionName>(name: N, set: OptionSet): Options[N] {
  const { default: value } = rowOf(name)
  const perSet = typeof value === 'object' && value !== null
  return (perSet ? (value as Record<string, unknown>)[set] : value) as Options[N]
}
