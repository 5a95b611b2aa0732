/**
 * The options of handlers and of `run`: one row each. Types, defaults, validation, PORTICO_*
 * variables, flags, --help and the tables of the documentation come from here.
 */
import {
  GATEWAY_NAMES,
  GATEWAYS,
  SERVER_GATEWAYS,
  type Gateway,
  type ServerGateway,
} from '../gateways.ts'
import { COMMON } from './common.ts'
import type { Options } from './options.ts'
import { MAX_SIZE, MAX_TIME, type OptionRow } from './row.ts'

/** A set of options: one for each gateway, for the node-fastcgi package, and for `run`. */
export type OptionSet = Gateway | 'node-fastcgi' | 'run'

interface HandlerOptionRow<Value> extends OptionRow<Value> {
  /** The sets that have this option. */
  readonly of: readonly OptionSet[]
  readonly default?: Value | Partial<Readonly<Record<OptionSet, Value>>>
}

const ENGINES = SERVER_GATEWAYS
const SERVERS: readonly (ServerGateway | 'node-fastcgi')[] = [...SERVER_GATEWAYS, 'node-fastcgi']
const ALL: readonly (Gateway | 'node-fastcgi')[] = [...GATEWAY_NAMES, 'node-fastcgi']

export const OPTIONS = {
  gateway: {
    kind: 'choice',
    of: ['run'],
    choices: GATEWAY_NAMES,
    help: 'the gateway',
    more: 'Without it, the way in which the process was started decides',
  },
  listen: {
    kind: 'special',
    of: SERVERS,
    default: {
      ...Object.fromEntries(SERVER_GATEWAYS.map((name) => [name, GATEWAYS[name].listen])),
      'node-fastcgi': GATEWAYS.fastcgi.listen,
    },
    help: 'address: unix:PATH, HOST:PORT, :PORT, PORT, fd:N, systemd, systemd:NAME',
    more: '`:PORT` and `PORT` are on 127.0.0.1. With port 0 the system picks a free one. `systemd` is every socket that systemd has passed, `systemd:NAME` those of that name',
  },
  mode: {
    kind: 'special',
    of: SERVERS,
    // The web server's group can connect, and others cannot. (php-fpm used 0666: CVE-2014-0185.)
    default: 0o660,
    external: 'socketMode',
    help: 'permissions of a Unix socket, such as 0660',
  },
  owner: {
    kind: 'special',
    of: SERVERS,
    external: 'socketOwner',
    help: "owner of a Unix socket: a user's name or id",
    more: 'The default is the user of the process',
  },
  group: {
    kind: 'special',
    of: SERVERS,
    external: 'socketGroup',
    help: "group of a Unix socket: a group's name or id",
    more: "Set it to the web server's group. The default is the group of the process",
  },
  backlog: {
    kind: 'count',
    of: SERVERS,
    // The default of Node, and of nginx on Linux.
    default: 511,
    range: [1, 2 ** 31 - 1],
    help: 'connections that may wait to be accepted',
    more: 'The system may allow fewer',
  },
  allowedClients: {
    kind: 'special',
    of: SERVERS,
    help: 'addresses and CIDR blocks that may connect over TCP',
    more: 'An array, or text with commas. FastCGI and SCGI require it for `0.0.0.0` and `::`, because they trust everything that a peer sends, REMOTE_USER included',
  },
  maxConnections: {
    kind: 'count',
    of: SERVERS,
    // Eight times nginx's worker_connections and sixteen times Apache's MaxRequestWorkers. Each may
    // hold 256 KiB of unread body, so at most 1 GiB together.
    default: 4096,
    range: [1, MAX_SIZE],
    help: 'connections that may be open at once',
    more: 'The server closes further ones immediately',
  },
  maxRequestsPerConnection: {
    kind: 'count',
    of: ENGINES,
    default: 0,
    range: [0, MAX_SIZE],
    noLimit: 0,
    help: 'requests after which a kept-alive connection closes',
  },
  multiplex: {
    kind: 'switch',
    of: ['fastcgi'],
    default: true,
    help: 'whether a connection takes a second request while one is running',
    more: 'If it does not, Portico refuses the second one with FCGI_CANT_MPX_CONN. FastCGI only',
  },
  maxHeaderBytes: {
    kind: 'bytes',
    of: ENGINES,
    // nginx sends at most 64 KiB of PARAMS. Over HTTP, nginx and Apache accept lines of up to 8 KiB;
    // there is room for several of them.
    default: { fastcgi: 1_048_576, scgi: 1_048_576, http: 65_536 },
    range: [1, MAX_SIZE],
    help: "bytes that a request's head may have",
    more: "That is FastCGI's PARAMS, SCGI's headers, or HTTP's request line and headers",
  },
  maxHeaders: {
    kind: 'count',
    of: ENGINES,
    // nginx has no such limit; Apache's LimitRequestFields is 100.
    default: { fastcgi: 10_000, scgi: 10_000, http: 1_000 },
    range: [1, MAX_SIZE],
    noLimit: Infinity,
    help: 'variables or headers that a request may have',
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
    noLimit: Infinity,
    help: "time for a request's head to arrive",
    more: 'Sending bytes slowly does not extend it',
  },
  bodyTimeout: {
    kind: 'time',
    of: ENGINES,
    // Twice nginx's client_body_timeout. Each byte restarts the time, so a slow upload has no limit.
    default: 120_000,
    range: [1, MAX_TIME],
    noLimit: Infinity,
    help: 'time between bytes of a request body',
    more: 'Each byte restarts the time',
  },
  idleTimeout: {
    kind: 'time',
    of: ENGINES,
    // nginx keeps idle connections to an upstream for 60 s, and must be the one to close them: it does
    // not send a POST again that meets a closed connection. Times are checked once a second.
    default: 65_000,
    range: [1, MAX_TIME],
    noLimit: Infinity,
    help: 'time for which a connection may be idle',
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
    noLimit: Infinity,
    help: 'time for which the peer may read nothing',
    more: 'The time runs while a part of a response waits to be sent',
  },
  responseTimeout: { ...COMMON.responseTimeout, of: ALL },
  shutdownTimeout: {
    kind: 'time',
    of: SERVERS,
    // `docker stop` kills a process after 10 s; mod_fcgid and systemd wait longer.
    default: 8_000,
    range: [0, MAX_TIME],
    help: 'time for active requests to complete when the server closes',
  },
  scriptName: { ...COMMON.scriptName, of: ALL },
  pathInfo: { ...COMMON.pathInfo, of: ALL },
  osEnviron: { ...COMMON.osEnviron, of: ALL },
  multiprocess: { ...COMMON.multiprocess, of: ALL },
  serverSoftware: {
    kind: 'header',
    of: ['http'],
    default: 'Portico',
    help: 'the Server header',
    more: "The application's own header replaces it. Null sends none. HTTP only",
  },
  validate: { ...COMMON.validate, of: ALL },
  exitOnUncaughtError: {
    kind: 'switch',
    of: ['run'],
    default: true,
    help: 'whether active requests complete after an uncaught error',
    more: 'Then the process exits with code 1. Otherwise Node ends it at once',
  },
  requestHandler: {
    kind: 'class',
    of: SERVERS,
    help: 'a subclass of the class that runs a request',
    more: 'It overrides hooks of `BaseHandler`',
  },
} as const satisfies {
  readonly [Name in keyof Options]-?: HandlerOptionRow<NonNullable<Options[Name]>>
}

/** Names that other servers have for an option, for suggestions. */
export const SYNONYMS: Readonly<Record<string, OptionName>> = {
  address: 'listen',
  env: 'osEnviron',
  gracefulTimeout: 'shutdownTimeout',
  host: 'listen',
  hostname: 'listen',
  keepAliveTimeout: 'idleTimeout',
  maxHeaderSize: 'maxHeaderBytes',
  maxHeadersCount: 'maxHeaders',
  maxRequestsPerSocket: 'maxRequestsPerConnection',
  path: 'listen',
  port: 'listen',
  sendTimeout: 'writeTimeout',
  server: 'serverSoftware',
  socket: 'listen',
  socketGroup: 'group',
  socketMode: 'mode',
  socketOwner: 'owner',
  timeout: 'responseTimeout',
}

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
export function rowOf(name: OptionName): HandlerOptionRow<unknown> {
  return OPTIONS[name]
}

/** The names of the options that `set` has. */
export function namesOf(set: OptionSet): OptionName[] {
  return OPTION_NAMES.filter((name) => rowOf(name).of.includes(set))
}

/** The default of an option; undefined if it has none. */
export function defaultOf<N extends OptionName>(name: N, set: OptionSet): Options[N] {
  const { default: value } = rowOf(name)
  const perSet = typeof value === 'object' && value !== null
  return (perSet ? (value as Record<string, unknown>)[set] : value) as Options[N]
}
