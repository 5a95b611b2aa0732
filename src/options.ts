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

export { checkNames } from './option-names.ts'

/** All options; see `OptionsOf` for those of one gateway. */
export interface Options {
  /** The gateway. Default: what started the process decides. */
  readonly gateway?: Gateway | undefined
  /**
   * Where to listen: 'unix:PATH', 'HOST:PORT', '[::1]:PORT', ':PORT' (on 127.0.0.1), a port number,
   * 'fd:N', 'systemd' (the first socket) or 'systemd:NAME'. Port 0 picks a free one.
   */
  readonly listen?: string | number | undefined
  /** Permissions of a Unix socket, such as 0o660 or '0660'. */
  readonly mode?: number | string | undefined
  /** Owner of a Unix socket: a user id, or a name from /etc/passwd. */
  readonly owner?: number | string | undefined
  /** Group of a Unix socket: a group id, or a name from /etc/group. */
  readonly group?: number | string | undefined
  /** Connections that wait to be accepted; the system may allow fewer. */
  readonly backlog?: number | undefined
  /** Who may connect by TCP: addresses and CIDR blocks, as an array or separated by commas. */
  readonly allowedClients?: ClientList | undefined
  /** Connections that are served at a time; further ones are closed as they come. */
  readonly maxConnections?: number | undefined
  /** Requests after which a kept-alive connection is closed; 0 for no limit. */
  readonly maxRequestsPerConnection?: number | undefined
  /** False refuses a second request on a connection while one is running. */
  readonly multiplex?: boolean | undefined
  /** Bytes of a request's head: PARAMS, SCGI headers, or HTTP's request line and headers. */
  readonly maxHeaderBytes?: number | undefined
  /** Variables or headers of a request; Infinity for no limit. */
  readonly maxHeaders?: number | undefined
  /** Bytes of unread request body above which a connection is not read. */
  readonly highWaterMark?: number | undefined
  /** Milliseconds until a request's head that has begun is complete; Infinity for no limit. */
  readonly headersTimeout?: number | undefined
  /** Milliseconds that a request body may pause while it is read; Infinity for no limit. */
  readonly bodyTimeout?: number | undefined
  /** Milliseconds that a connection may be open without a request; Infinity for no limit. */
  readonly idleTimeout?: number | undefined
  /** Milliseconds that a response may wait while the peer takes none of it; Infinity: no limit. */
  readonly writeTimeout?: number | undefined
  /** Milliseconds for the whole response; 0 for no limit. */
  readonly responseTimeout?: number | undefined
  /** Milliseconds that `close()` waits for running requests. */
  readonly shutdownTimeout?: number | undefined
  /** The mount point, '' or '/…', where the web server does not know it. */
  readonly scriptName?: string | undefined
  /**
   * - `'auto'` (default): SCRIPT_NAME and PATH_INFO as the server sends them, known faults corrected;
   * - `'as-is'`: as the server sends them;
   * - `'from-uri'`: decoded from REQUEST_URI, whatever rewriting the server did.
   */
  readonly pathInfo?: 'auto' | 'as-is' | 'from-uri' | undefined
  /** Variables that every request sees, unless it has its own of the same name. */
  readonly osEnviron?: Readonly<Record<string, string>> | undefined
  /** `wsgi.multiprocess`: whether other processes serve the same application. */
  readonly multiprocess?: boolean | undefined
  /** The Server header where the application sends none; null for no header. */
  readonly serverSoftware?: string | null | undefined
  /**
   * Wraps the application in `validator`, for development: a violation of the contract is a 500 and
   * is logged. Applications of frameworks are never wrapped.
   */
  readonly validate?: boolean | undefined
  /**
   * Whether an uncaught error closes the server, which completes running requests, before the
   * process ends with exit code 1. False leaves it to Node, which ends the process at once.
   */
  readonly exitOnUncaughtError?: boolean | undefined
  /** The class that runs a request; a subclass overrides the hooks of `BaseHandler`. */
  readonly requestHandler?: (abstract new (...args: never[]) => unknown) | undefined
}

/** What has options of its own: a gateway, the one on the package node-fastcgi, and `run`. */
export type OptionSet = Gateway | 'node-fastcgi' | 'run'

/**
 * What a value is. A time is in milliseconds. 'special' has a parser of its own where it is used,
 * and 'code' cannot be written in an environment variable or on a command line.
 */
export type Kind = 'time' | 'bytes' | 'count' | 'switch' | 'text' | 'choice' | 'special' | 'code'

export interface OptionRow<Value> {
  readonly kind: Kind
  /** Who has it. */
  readonly of: readonly OptionSet[]
  readonly default?: Value | Partial<Readonly<Record<OptionSet, Value>>>
  /** The least and the most of a number. */
  readonly range?: readonly [min: number, max: number]
  /** Whether Infinity lifts a limit. */
  readonly unlimited?: boolean
  readonly choices?: readonly Value[]
  /** The environment variable where it is not PORTICO_ and the name. */
  readonly env?: string
  /** One line for --help and for the tables in docs/. */
  readonly help: string
}

/** Node's timers fire at once for more: 24.8 days. */
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
    help: 'the gateway; by default it is detected',
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
    // The web server's group reads and writes, others do nothing (php-fpm's 0666: CVE-2014-0185).
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
    // Node's own, and nginx's on Linux.
    default: 511,
    range: [1, 2 ** 31 - 1],
    help: 'connections that wait to be accepted',
  },
  allowedClients: {
    kind: 'special',
    of: SERVERS,
    help: 'addresses and CIDR blocks that may connect by TCP',
  },
  maxConnections: {
    kind: 'count',
    of: SERVERS,
    // Eight times nginx's worker_connections and sixteen times Apache's MaxRequestWorkers; with the
    // 256 KiB of unread body that each may hold, 1 GiB at the worst.
    default: 4096,
    range: [1, MAX_SIZE],
    help: 'connections that are served at a time',
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
    // nginx sends 64 KiB of PARAMS at the most. Over HTTP: room for the longest line that nginx and
    // Apache let through (8 KiB) several times over.
    default: { fastcgi: 1_048_576, scgi: 1_048_576, http: 65_536 },
    range: [1, MAX_SIZE],
    help: "bytes of a request's head",
  },
  maxHeaders: {
    kind: 'count',
    of: ENGINES,
    // nginx has no such limit, Apache's LimitRequestFields is 100.
    default: { fastcgi: 10_000, scgi: 10_000, http: 1_000 },
    range: [1, MAX_SIZE],
    unlimited: true,
    help: 'variables or headers of a request',
  },
  highWaterMark: {
    kind: 'bytes',
    of: ENGINES,
    // A few times what nginx and Apache send at once, however many connections there are.
    default: 262_144,
    range: [1, MAX_SIZE],
    help: 'bytes of unread request body above which a connection is not read',
  },
  headersTimeout: {
    kind: 'time',
    of: ENGINES,
    // nginx waits 60 s for a client's head, Apache 20 s; a web server sends its own at once.
    default: 30_000,
    range: [1, MAX_TIME],
    unlimited: true,
    help: 'until the head of a request is complete',
  },
  bodyTimeout: {
    kind: 'time',
    of: ENGINES,
    // Twice nginx's client_body_timeout. Each byte starts it again, so a slow upload may take as long
    // as it needs.
    default: 120_000,
    range: [1, MAX_TIME],
    unlimited: true,
    help: 'for a request body of which nothing arrives',
  },
  idleTimeout: {
    kind: 'time',
    of: ENGINES,
    // As long as nginx keeps an idle connection to an upstream: nginx closes first.
    default: 60_000,
    range: [1, MAX_TIME],
    unlimited: true,
    help: 'for a connection without a request',
  },
  writeTimeout: {
    kind: 'time',
    of: SERVERS,
    // Twice nginx's send_timeout, so that nginx gives up its client before we give up nginx. It asks
    // for more than a byte in that time: Linux reports room again when a third of what it holds for
    // TCP has been taken, or three quarters for a Unix socket; 1.5 MB and 0.2 MB on one machine.
    default: 120_000,
    range: [1, MAX_TIME],
    unlimited: true,
    help: 'for a response that waits while the peer takes none of it',
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
    // Less than the 10 s after which `docker stop` kills; mod_fcgid and systemd wait longer.
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
  osEnviron: { kind: 'code', of: ALL, help: 'variables that every request sees' },
  multiprocess: {
    kind: 'switch',
    of: ALL,
    default: false,
    help: 'whether several processes serve one application (wsgi.multiprocess)',
  },
  serverSoftware: {
    kind: 'text',
    of: ['http'],
    default: 'Portico',
    help: 'the Server header',
  },
  validate: {
    kind: 'switch',
    of: ALL,
    default: false,
    help: 'whether the application is checked by the validator',
  },
  exitOnUncaughtError: {
    kind: 'switch',
    of: ['run'],
    default: true,
    help: 'whether an uncaught error completes running requests before the process ends',
  },
  requestHandler: {
    kind: 'code',
    of: SERVERS,
    help: 'a subclass of the class that runs a request',
  },
} as const satisfies { readonly [Name in keyof Options]-?: OptionRow<NonNullable<Options[Name]>> }

type Table = typeof OPTIONS
export type OptionName = keyof Options

type NamesOf<Set extends OptionSet> = {
  [N in OptionName]: Set extends Table[N]['of'][number] ? N : never
}[OptionName]

/** The options of a gateway, without `requestHandler`, whose type its handler knows. */
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
  if (kind === 'code') return undefined
  return env ?? `PORTICO_${name.replace(/[A-Z]/g, '_$&').toUpperCase()}`
}

/** The default of an option; undefined if it has none. */
export function defaultOf<N extends OptionName>(name: N, set: OptionSet): Options[N] {
  const { default: value } = rowOf(name)
  const perSet = typeof value === 'object' && value !== null
  return (perSet ? (value as Record<string, unknown>)[set] : value) as Options[N]
}
