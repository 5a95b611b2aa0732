/**
 * The flags of `portico serve`: those of the options of handlers, and those of the command. One
 * table gives the flags, the PORTICO_* variables, the keys of portico.config.js, --help and
 * docs/command.md.
 */
import { DEFAULTS as CGI_BIN } from '../cgi-bin/options.ts'
import { GATEWAYS, SERVER_GATEWAYS } from '../gateways.ts'
import { DEFAULTS } from '../master/settings.ts'
import { numberText } from '../options/check-row.ts'
import { MAX_SIZE, MAX_TIME, variableOf } from '../options/row.ts'
import { defaultOf, namesOf, OPTIONS, rowOf, type OptionName } from '../options/table.ts'
import type { Flag, FlagTable } from './flags.ts'

/** A flag that may also come from the environment and from portico.config.js. */
export interface Setting extends Flag {
  /** The option of a handler that it sets. */
  readonly option?: OptionName
  /** The environment variable; absent for a flag that has none. */
  readonly variable?: string
  /** Whether portico.config.js may have it. */
  readonly config?: boolean
}

/** The key of an option's flag. `--allowed-clients` would be long for what is typed by hand. */
const keyOf = (name: OptionName): string =>
  name === 'allowedClients' ? 'allow' : (rowOf(name).external ?? name)

/** The name of the value in --help. */
const VALUES: Partial<Record<OptionName, string>> = {
  allowedClients: 'ADDRESS,...',
  mode: 'MODE',
  owner: 'USER',
  group: 'GROUP',
  scriptName: 'PATH',
}

/** Those that the command sets by itself, or that no text can express. */
const LEFT_OUT: ReadonlySet<OptionName> = new Set([
  'gateway',
  'listen',
  'multiprocess',
  'exitOnUncaughtError',
  'osEnviron',
  'requestHandler',
  'shutdownTimeout',
  'validate',
])

function fromOption(name: OptionName): Setting {
  const row = rowOf(name)
  const { kind, range, noLimit, choices, help } = row
  const value = VALUES[name]
  const usual = usually(name)
  const variable = variableOf(name, row)
  return {
    kind,
    help,
    option: name,
    config: true,
    ...(range && { range }),
    ...(noLimit !== undefined && { noLimit }),
    ...(usual !== undefined && { default: usual }),
    ...(choices && { choices: choices.map(String) }),
    ...(value && { value }),
    ...(variable && { variable }),
    ...(kind === 'switch' && row.default === true && { negative: true }),
  }
}

/** The default in --help; that of SCGI is FastCGI's. A switch shows its default by its name. */
function usually(name: OptionName): string | number | undefined {
  const { kind } = rowOf(name)
  if (kind === 'special' || kind === 'switch') return undefined
  const [http, fastcgi] = [defaultOf(name, 'http'), defaultOf(name, 'fastcgi') ?? null]
  if (typeof http === 'number' && typeof fastcgi === 'number' && http !== fastcgi) {
    return `${numberText(kind, http)} over HTTP, else ${numberText(kind, fastcgi)}`
  }
  return typeof http === 'number' || typeof http === 'string' ? http : undefined
}

/** More than any machine has cores, so that a typing error does not fill the memory. */
const MAX_WORKERS = 1024

/** A setting of the command itself; its variable follows from its name. */
function own<const Key extends string>(
  rows: Readonly<Record<Key, Omit<Setting, 'variable' | 'config'>>>,
): Record<Key, Setting> {
  const entries = Object.entries<Omit<Setting, 'variable' | 'config'>>(rows)
  const made = entries.map(([key, row]) => [
    key,
    { ...row, config: true, variable: variableOf(key, row)! },
  ])
  return Object.fromEntries(made) as Record<Key, Setting>
}

const OWN = own({
  gateway: {
    kind: 'choice',
    choices: SERVER_GATEWAYS,
    value: 'NAME',
    common: true,
    help: `the protocol: ${SERVER_GATEWAYS.join(', ')}`,
    default: 'http',
  },
  listen: {
    elsewhere: ['port', 'host', 'hostname', 'bind', 'address', 'socket'],
    kind: 'special',
    value: 'ADDRESS',
    repeatable: true,
    common: true,
    help: 'unix:PATH, HOST:PORT, :PORT, fd:N or systemd; or scgi://ADDRESS to name its gateway',
    default: GATEWAYS.http.listen,
  },
  workers: {
    elsewhere: ['processes', 'instances', 'cluster'],
    kind: 'count',
    range: [1, MAX_WORKERS],
    word: 'auto',
    value: 'N|auto',
    common: true,
    help: 'processes; auto: one for each core',
    default: 1,
  },
  control: {
    kind: 'special',
    value: 'PATH',
    common: true,
    help: 'a socket for portico status, ping, reload, stop',
  },
  mount: {
    elsewhere: ['prefix', 'base-path', 'root-path'],
    kind: 'special',
    value: '[PATH=]FILE',
    repeatable: true,
    help: '/path=file.js serves a second application there; /path alone is the mount point of the first',
  },
  cgiBin: {
    kind: 'special',
    value: '[PATH=]DIR',
    repeatable: true,
    common: true,
    help: 'run the scripts of a directory at /cgi-bin, or at PATH; without FILE nothing else is served',
  },
  cgiTimeout: {
    kind: 'time',
    range: [0, MAX_TIME],
    noLimit: 0,
    help: 'how long a script may neither write nor read',
    default: CGI_BIN.timeout,
  },
  cgiMaxTime: {
    kind: 'time',
    range: [0, MAX_TIME],
    noLimit: 0,
    help: 'how long a script may run',
    default: CGI_BIN.maxTime,
  },
  cgiMaxOutput: {
    kind: 'bytes',
    noLimit: Infinity,
    help: 'the longest response body of a script',
    default: CGI_BIN.maxOutput,
  },
  cgiMaxScripts: {
    kind: 'count',
    range: [1, MAX_SIZE],
    value: 'N',
    help: 'scripts that run at once in a worker',
    default: CGI_BIN.maxScripts,
  },
  cgiMaxWaiting: {
    kind: 'count',
    value: 'N',
    help: 'requests that wait for a script in a worker',
    default: CGI_BIN.maxWaiting,
  },
  cgiInherit: {
    kind: 'special',
    value: 'NAME',
    repeatable: true,
    help: 'a further variable for scripts, from the web server or the environment',
  },
  cgiDocumentRoot: {
    kind: 'special',
    value: 'DIR',
    help: 'DOCUMENT_ROOT of scripts',
    default: "the web server's, else the directory of --cgi-bin",
  },
  accessLog: {
    kind: 'special',
    value: 'FORMAT',
    common: true,
    help: 'common, combined, json, a format of Apache, or off',
  },
  log: {
    kind: 'choice',
    choices: ['text', 'json'],
    help: 'the format of the log on stderr',
    default: 'text',
  },
  envFile: {
    elsewhere: ['env', 'dotenv'],
    kind: 'special',
    value: 'PATH',
    repeatable: true,
    common: true,
    help: 'read variables from a file; a variable that is set keeps its value',
  },
  maxRequests: {
    kind: 'count',
    value: 'N',
    common: true,
    noLimit: 0,
    help: 'replace a worker after N requests',
    default: DEFAULTS.maxRequests,
  },
  maxRequestsJitter: {
    kind: 'count',
    value: 'N',
    help: 'up to N more requests, at random',
    default: 'a tenth of --max-requests',
  },
  blockTimeout: {
    elsewhere: ['timeout'],
    kind: 'time',
    range: [0, MAX_TIME],
    noLimit: 0,
    help: 'how long JavaScript may block a worker',
    default: DEFAULTS.blockTimeout,
  },
  slow: {
    kind: 'time',
    range: [0, MAX_TIME],
    common: true,
    help: 'log requests that take longer, with their state',
  },
  bootTimeout: {
    kind: 'time',
    range: [1, MAX_TIME],
    help: 'how long the start of a worker may take',
    default: DEFAULTS.bootTimeout,
  },
  shutdownTimeout: {
    elsewhere: ['graceful-timeout', 'grace-time'],
    kind: 'time',
    range: [0, MAX_TIME],
    common: true,
    help: 'how long a stop or reload waits for active requests',
    default: OPTIONS.shutdownTimeout.default,
  },
  idleExit: {
    kind: 'time',
    range: [0, MAX_TIME],
    help: 'end after this time without a request; for sockets of systemd or descriptor 0',
  },
  user: { kind: 'special', value: 'USER', help: 'the user of the workers; needs root' },
  group: { kind: 'special', value: 'GROUP', help: 'the group of the workers; needs root' },
  metrics: { kind: 'special', value: 'HOST:PORT', help: 'serve OpenMetrics there' },
  dev: {
    elsewhere: ['watch', 'reload', 'development'],
    kind: 'switch',
    common: true,
    help: 'restart after changes and show errors; the default in a terminal without --workers',
  },
  live: {
    kind: 'switch',
    negative: true,
    help: 'whether pages reload themselves after a change (development)',
  },
  validate: {
    kind: 'switch',
    negative: true,
    help: 'whether the validator checks the application (development)',
  },
  poll: {
    kind: 'switch',
    help: 'look for changes twice a second: for network and Docker mounts (development)',
  },
})

/** The flags that are not settings. */
const ONCE: FlagTable = {
  config: {
    kind: 'special',
    value: 'PATH',
    help: 'the configuration',
    default: 'portico.config.js, .mjs, .cjs or .ts here',
  },
  helpAll: { kind: 'switch', help: 'show all flags' },
}

const OPTIONS_OF_HANDLERS = [
  ...new Set(SERVER_GATEWAYS.flatMap((gateway) => namesOf(gateway))),
].filter((name) => !LEFT_OUT.has(name))

export const SETTINGS: Readonly<Record<string, Setting>> = {
  ...OWN,
  ...Object.fromEntries(OPTIONS_OF_HANDLERS.map((name) => [keyOf(name), fromOption(name)])),
}

export const SERVE_FLAGS: FlagTable = { ...SETTINGS, ...ONCE }
