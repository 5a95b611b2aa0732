/** The settings of `portico serve`: flags before variables before portico.config.js. */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { parseEnv } from 'node:util'
import { GATEWAYS, type ServerGateway } from '../gateways.ts'
import type { DevelopmentSettings } from '../development/develop.ts'
import type { ListenerSettings, MountSettings, ServeSettings } from '../master/settings.ts'
import type { Options } from '../options/options.ts'
import { parseValue } from '../options/check-row.ts'
import { PREFIX } from '../options/row.ts'
import { namesOf, rowOf, type OptionName } from '../options/table.ts'
import { suggestion } from '../options/names.ts'
import { asLogEntry } from '../text.ts'
import { cgiBinsOf } from './cgi-bins.ts'
import { checkControl, checkProduction, checkValues } from './check-values.ts'
import type { Call } from './commands.ts'
import { readConfiguration } from './config-file.ts'
import { logicalDirectory } from './entry.ts'
import { flagName, type FlagValues } from './flags.ts'
import { listenersOf, type Listener } from './listeners.ts'
import { SETTINGS } from './serve-flags.ts'
import { UsageError } from './usage-error.ts'

/** Everything that a command line, the environment and portico.config.js say. */
export interface Settings {
  /** The file as given; undefined for the default names. */
  readonly given: string | undefined
  readonly directory: string
  readonly listeners: readonly Listener[]
  /** The values of `SETTINGS`, by key. */
  readonly values: FlagValues
  /** The options of handlers among them. */
  readonly options: Options
  /** Undefined if nothing says how many. */
  readonly workers: number | undefined
  readonly mounts: readonly MountSettings[]
  readonly envFiles: readonly string[]
  /** This process's environment, with the variables of --env-file. */
  readonly env: NodeJS.ProcessEnv
  /** The same without them: each process with the application reads the files again. */
  readonly ownEnv: NodeJS.ProcessEnv
}

/** @throws {UsageError} for settings that are wrong or make no sense together. */
export async function readSettings({ values: flags, operands, err }: Call): Promise<Settings> {
  const directory = logicalDirectory()
  const configuration = await readConfiguration(directory, flags['config'] as string | undefined)
  const files = (flags['envFile'] ??
    fromVariables(process.env)['envFile'] ??
    configuration.values['envFile'] ??
    []) as string[]
  const envFiles = files.map((file) => resolve(directory, file))
  const variables = variablesIn(envFiles)
  const ownEnv = ownEnvironment(variables)
  const env = { ...variables, ...ownEnv }
  for (const line of misspelt(env)) err(asLogEntry(line))
  const values: Record<string, unknown> = {
    ...configuration.values,
    ...fromVariables(env),
    ...Object.fromEntries(Object.entries(flags).filter(([key]) => key in SETTINGS)),
  }
  const listeners = listenersOf(
    (values['listen'] ?? []) as string[],
    values['gateway'] as ServerGateway | undefined,
    env,
  )
  refuseSharedAddresses(values, listeners, directory)
  const options: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(values)) {
    const { option } = SETTINGS[key]!
    if (option === undefined) continue
    checkUsed(key, option, listeners)
    options[option] = value
  }
  await checkValues(values)
  const { mounts, mountPoint } = mountsOf((values['mount'] ?? []) as string[], directory)
  mounts.push(...cgiBinsOf(values, directory))
  if (mountPoint !== undefined) options['scriptName'] = mountPoint
  return {
    given: operands[0] ?? configuration.application,
    directory,
    listeners,
    values,
    options,
    workers: workersOf(values['workers'], env),
    mounts,
    envFiles,
    env,
    ownEnv,
  }
}

/** The settings for the listeners, each with the options that its gateway has. */
function listenerSettings({
  listeners,
  options,
  values,
}: Settings): (ListenerSettings & { readonly asked: boolean })[] {
  const shutdownTimeout = values['shutdownTimeout'] as number | undefined
  return listeners.map(({ gateway, listen, asked }) => {
    const own = Object.entries(options).filter(([name]) =>
      fits(name as OptionName, gateway, listen),
    )
    const all = {
      ...Object.fromEntries(own),
      ...(shutdownTimeout !== undefined && { shutdownTimeout }),
    }
    return { gateway, listen, asked, options: all }
  })
}

/**
 * What the production server takes, except the file and Node's arguments.
 *
 * @throws {UsageError} for a value that it cannot work with.
 */
export function serveSettings(
  settings: Settings,
): Omit<ServeSettings, 'file' | 'execArgv' | 'args'> {
  const { values, directory, mounts, envFiles, ownEnv } = settings
  checkProduction(values, settings.listeners)
  const given = values['control'] as string | undefined
  const path = given === undefined ? undefined : unixPath(given, directory)
  if (path !== undefined) checkControl(path)
  const accessLog = values['accessLog'] === 'off' ? undefined : values['accessLog']
  const taken = Object.entries({ ...values, accessLog }).filter(
    ([key, value]) => PASSED_ON.has(key) && value !== undefined,
  )
  return {
    directory,
    listeners: listenerSettings(settings),
    workers: settings.workers ?? 1,
    ...(mounts.length > 0 && { mounts }),
    ...(envFiles.length > 0 && { envFiles, env: ownEnv }),
    ...(path !== undefined && { control: path }),
    ...(Object.fromEntries(taken) as Partial<ServeSettings>),
  }
}

/** What the development server takes, except the file and Node's arguments. */
export function developmentSettings(
  settings: Settings,
): Omit<DevelopmentSettings, 'file' | 'execArgv' | 'args'> {
  const { values, directory, mounts, envFiles, env, ownEnv } = settings
  return {
    directory,
    listeners: listenerSettings(settings),
    mounts,
    envFiles,
    env: ownEnv,
    accessLog: values['accessLog'] as string | undefined,
    live: values['live'] !== false,
    validate: values['validate'] !== false && env['NODE_ENV'] !== 'production',
    poll: values['poll'] === true,
  }
}

/** The settings whose values go to the production server as they are. */
const PASSED_ON: ReadonlySet<string> = new Set([
  'accessLog',
  'log',
  'metrics',
  'user',
  'group',
  'maxRequests',
  'maxRequestsJitter',
  'blockTimeout',
  'slow',
  'bootTimeout',
  'shutdownTimeout',
  'idleExit',
])

/** Unix sockets have permissions and no client addresses; TCP sockets are the other way round. */
function fits(name: OptionName, gateway: ServerGateway, listen: string): boolean {
  if (!namesOf(gateway).includes(name)) return false
  if (name === 'mode' || name === 'owner' || name === 'group') return listen.startsWith('unix:')
  return name === 'allowedClients' ? !listen.startsWith('unix:') : true
}

/** @throws {UsageError} if --control or --metrics has the address of the application. */
function refuseSharedAddresses(
  { control, metrics }: FlagValues,
  listeners: readonly Listener[],
  directory: string,
): void {
  const path = typeof control === 'string' ? unixPath(control, directory) : undefined
  for (const { listen } of listeners) {
    // Port 0 is another port each time.
    if (listen === metrics && !/(?:^|:)0$/.test(listen))
      throw new UsageError(
        `--metrics: ${listen} is also an address of --listen; it needs one of its own`,
      )
    if (!listen.startsWith('unix:') || unixPath(listen, directory) !== path) continue
    throw new UsageError(
      `--control: ${path} is also an address of --listen; it needs a path of its own`,
    )
  }
}

function unixPath(text: string, directory: string): string {
  return resolve(directory, text.replace(/^unix:/, ''))
}

function checkUsed(key: string, option: OptionName, listeners: readonly Listener[]): void {
  if (listeners.some(({ gateway, listen }) => fits(option, gateway, listen))) return
  const { of } = rowOf(option)
  const gateways = [...new Set(listeners.map(({ gateway }) => gateway))]
  const served = gateways.map((gateway) => GATEWAYS[gateway].label).join(' and ')
  const why = gateways.some((gateway) => of.includes(gateway))
    ? option === 'allowedClients'
      ? 'is for TCP sockets; --socket-mode, --socket-owner and --socket-group decide who may connect to a Unix socket'
      : 'is for Unix sockets (--listen unix:PATH)'
    : `has no effect over ${served}`
  throw new UsageError(`--${flagName(key)} ${why}`)
}

function variablesIn(files: readonly string[]): NodeJS.ProcessEnv {
  const all: NodeJS.ProcessEnv = {}
  for (const file of files) {
    if (!existsSync(file) || !statSync(file).isFile()) {
      throw new UsageError(`--env-file: no such file: ${file}`)
    }
    Object.assign(all, parseEnv(readFileSync(file, 'utf8')))
  }
  return all
}

/**
 * The environment without the variables that Node itself has read: Node takes --env-file wherever it
 * stands on the command line. They would hide changes of the file from later processes.
 */
function ownEnvironment(ofFiles: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own = { ...process.env }
  const atStart = environmentAtStart()
  for (const [name, value] of Object.entries(ofFiles)) {
    if (own[name] === value && !atStart.includes(`${name}=${value}`)) delete own[name]
  }
  return own
}

function environmentAtStart(): readonly string[] {
  try {
    return readFileSync('/proc/self/environ', 'utf8').split('\0')
  } catch {
    return [] // Only Linux has it.
  }
}

function fromVariables(env: NodeJS.ProcessEnv): FlagValues {
  const values: Record<string, unknown> = {}
  for (const [key, row] of Object.entries(SETTINGS)) {
    const text = row.variable === undefined ? undefined : env[row.variable]
    if (!text) continue
    // Formats of a log have commas; addresses and paths have none that matter.
    const texts = row.repeatable ? text.split(',') : [text]
    const parsed = texts.map((each) => {
      const one = parseValue(row, each.trim())
      if ('refused' in one) throw new UsageError(`${row.variable} ${one.refused}`)
      return one.value
    })
    values[key] = row.repeatable ? parsed : parsed[0]
  }
  return values
}

/** A line for each variable whose name is nearly that of a setting. Others belong to the application. */
function misspelt(env: NodeJS.ProcessEnv): string[] {
  const known = Object.values(SETTINGS).flatMap(
    ({ variable }) => variable?.slice(PREFIX.length) ?? [],
  )
  return Object.keys(env)
    .filter((name) => name.startsWith(PREFIX) && !known.includes(name.slice(PREFIX.length)))
    .map((name) => ({ name, hint: suggestion(name.slice(PREFIX.length), known) }))
    .filter(({ hint }) => hint.startsWith('Did you mean'))
    .map(
      ({ name, hint }) =>
        `portico: the variable ${name} has no effect. ${hint.replace("'", `'${PREFIX}`)}`,
    )
}

function workersOf(given: unknown, env: NodeJS.ProcessEnv): number | undefined {
  if (given === 'auto') return availableParallelism()
  if (typeof given === 'number') return given
  const { WEB_CONCURRENCY: text } = env
  if (!text) return undefined
  const parsed = parseValue(SETTINGS['workers']!, text)
  if ('refused' in parsed) throw new UsageError(`WEB_CONCURRENCY ${parsed.refused}`)
  return workersOf(parsed.value, {})
}

function mountsOf(
  given: readonly string[],
  directory: string,
): { mounts: MountSettings[]; mountPoint: string | undefined } {
  const mounts: MountSettings[] = []
  let mountPoint: string | undefined
  for (const text of given) {
    const [, at = text, file] = /^([^=]*)=(.*)$/.exec(text) ?? []
    if (!/^(?:https?:\/\/[^/]+)?(?:\/|$)/.test(at) || at === '') {
      throw new UsageError(
        `--mount: '${at}' does not begin with a slash. Write --mount /path=file.js`,
      )
    }
    if (file !== undefined) mounts.push({ at, file: resolve(directory, file) })
    else if (mountPoint === undefined) mountPoint = at.replace(/\/$/, '')
    else throw new UsageError(`--mount: two mount points for one application: ${mountPoint}, ${at}`)
  }
  return { mounts, mountPoint }
}
