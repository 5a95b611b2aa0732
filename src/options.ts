/**
 * The names of the options that servers take, from the side of whoever writes them without the help
 * of types: one that is misspelt would be passed over, and its default hold.
 */
import { ConfigurationError } from './errors.ts'

/**
 * Those of all gateways and of `run`, which hands its own on. One that means nothing to a gateway is
 * no mistake: the same program may be another one elsewhere.
 */
export const OPTION_NAMES: readonly string[] = [
  'allowedClients',
  'responseTimeout',
  'backlog',
  'exitOnUncaughtError',
  'gateway',
  'shutdownTimeout',
  'group',
  'requestHandler',
  'headersTimeout',
  'highWaterMark',
  'idleTimeout',
  'listen',
  'maxConnections',
  'maxHeaderBytes',
  'maxHeaders',
  'maxRequestsPerConnection',
  'mode',
  'multiplex',
  'multiprocess',
  'osEnviron',
  'owner',
  'pathInfo',
  'scriptName',
  'writeTimeout',
  'serverSoftware',
  'validate',
]

/** @throws {ConfigurationError} for an option that no gateway has; it names all that there are. */
export function checkOptionNames(options: object): void {
  for (const name of Object.keys(options)) {
    if (OPTION_NAMES.includes(name)) continue
    throw new ConfigurationError(`${name}: no such option; there are ${OPTION_NAMES.join(', ')}`)
  }
}
