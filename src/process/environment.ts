/** The options of `run`, from the program and from the environment. */
import { checkOptions, misplaced, optionsFromEnvironment } from '../options/check.ts'
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
  const { listen, ...others } = optionsFromEnvironment(gateway, env)
  if (listen !== undefined && options.gateway === undefined) settings['listen'] = listen
  return Object.assign(settings, others)
}
