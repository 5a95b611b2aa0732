/** The options of `run`, from the program and from the environment. */
import {
  checkOptions,
  ineffectiveVariables,
  misplaced,
  optionsFromEnvironment,
} from '../options/check.ts'
import { ConfigurationError } from '../errors.ts'
import { GATEWAYS, type Gateway } from '../gateways.ts'
import { logEntry } from '../log.ts'
import type { Options } from '../options/options.ts'
import { namesOf } from '../options/table.ts'

/**
 * The options for the gateway that `run` has chosen. PORTICO_* variables override the program's
 * options, PORTICO_LISTEN only if the program does not set `gateway`.
 *
 * If the program sets `gateway`, an option that this gateway does not have is an error. Otherwise the
 * same program may run on another gateway elsewhere, so `run` logs the option and ignores it. Under
 * CGI it does not log: the web server sets the limits there, and every request would log.
 *
 * @throws {ConfigurationError} for an option that is unknown, misplaced, or has a wrong value.
 */
export function settingsFor(
  gateway: Gateway,
  options: Options,
  env: NodeJS.ProcessEnv = process.env,
): Options {
  const own = new Set<string>([...namesOf(gateway), ...namesOf('run')])
  const settings: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(options)) {
    checkOptions('run', { [name]: value })
    if (value === undefined) continue
    if (own.has(name)) settings[name] = value
    else {
      const message = misplaced(name as keyof Options, GATEWAYS[gateway].label)
      if (options.gateway !== undefined) throw new ConfigurationError(message)
      if (gateway !== 'cgi') logEntry(`${message}. It has no effect in this process`)
    }
  }
  if (gateway !== 'cgi') for (const line of ineffectiveVariables(gateway, env)) logEntry(line)
  const { listen, ...others } = optionsFromEnvironment(gateway, env)
  if (listen !== undefined && options.gateway === undefined) settings['listen'] = listen
  return Object.assign(settings, others)
}

/**
 * The settings without mode, owner and group, if the program does not choose where it runs and the
 * server will not open a Unix socket: the same program may do so elsewhere. For TCP it logs that. The
 * permissions of an inherited socket belong to the process that has opened it.
 */
export function withoutUnusedRights(
  settings: Options,
  listen: string | number,
  chosen: boolean,
): Options {
  const unused = RIGHTS.filter((name) => settings[name] !== undefined)
  if (unused.length === 0 || chosen || String(listen).startsWith('unix:')) return settings
  if (!/^(?:fd:|systemd)/.test(String(listen))) {
    logEntry(`${unused.join(', ')}: only for listen: 'unix:PATH'. No effect in this process`)
  }
  const rest: Record<string, unknown> = { ...settings }
  for (const name of unused) delete rest[name]
  return rest
}

const RIGHTS = ['mode', 'owner', 'group'] as const
