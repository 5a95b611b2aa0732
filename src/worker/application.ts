/** Makes one application of the files that a process serves, for production and for development. */
import type { AddressInfo } from 'node:net'
import { loadHosted, type HostedApplication } from '../application/load-hosted.ts'
import { toApplication, type Runnable } from '../application/to-application.ts'
import { writeLog } from '../log.ts'
import type { ServerGateway } from '../gateways.ts'
import type { ListenerSettings, MountSettings } from '../master/settings.ts'
import type { Options } from '../options/options.ts'
import { plain as plainResponse } from '../middleware/plain-response.ts'
import { namesOf, rowOf, type OptionName } from '../options/table.ts'
import type { GatewayServer } from '../server/gateway-server.ts'
import { parseListen } from '../server/listen.ts'
import type { Application } from '../types.ts'

/** What is loaded, and how. */
export interface ApplicationSettings {
  readonly file: string
  readonly mounts: readonly MountSettings[]
  /** A format of `accessLog()`. */
  readonly accessLog: string | undefined
  /** Whether the log is JSON; the access log then is, whatever its format. */
  readonly log?: 'text' | 'json'
  readonly listeners: readonly ListenerSettings[]
}

/** An application that is ready to be served. */
export interface LoadedApplication {
  readonly application: Runnable
  /** The options that the file gave to `run`; those of the command line replace them. */
  readonly options: Options
  /** Call this when the application is served on `listeners`; `server` serves the first of them. */
  readonly started: (server: GatewayServer, listeners: readonly ListenerSettings[]) => void
}

/**
 * Loads the application, and wraps it in `mount()`, `cgiBin()` and `accessLog()` where the settings say so.
 * Unwrapped, it reaches the handler as it is: over HTTP a framework then gets Node's own requests.
 *
 * @param dress changes each application that a file offers.
 */
export async function loadApplication(
  { file, mounts, accessLog: format, log, listeners }: ApplicationSettings,
  dress: (application: Runnable) => Promise<Runnable> = async (application) => application,
): Promise<LoadedApplication> {
  const { scriptName: mountPoint = '' } = listeners[0]?.options ?? {}
  const scripts = mounts.filter((mounted) => mounted.cgiBin !== undefined)
  const others = mounts.filter((mounted) => mounted.cgiBin === undefined)
  const all: HostedApplication[] = []
  let application: Runnable = plainResponse('404 Not Found')
  let options: Options = {}
  if (!scripts.some((mounted) => mounted.file === file)) {
    const main = await loadHosted(file)
    all.push(main)
    options = main.options
    application = await dress(main.application)
  }
  if (others.length > 0) {
    const { mount } = await import('../middleware/mount.ts')
    const map: Record<string, Application> = { '/': await plain(application) }
    for (const { at, file: mounted } of others) {
      const other = await loadHosted(mounted)
      all.push(other)
      map[at] = await plain(await dress(other.application))
    }
    application = mount(map)
  }
  if (scripts.length > 0) {
    const { withScripts } = await import('./scripts.ts')
    application = withScripts(await plain(application), scripts, mountPoint)
  }
  if (format !== undefined) {
    const { accessLog } = await import('../middleware/access-log.ts')
    // Over FastCGI, `wsgi.errors` would be the log of the web server, which has an access log itself.
    const logged = log === 'json' ? await jsonAccessLog() : { format, write: writeLog }
    application = accessLog(await plain(application), logged)
  }
  return {
    application,
    options,
    started: (server, [listener]) => {
      const address = listener && shownAddress(listener)
      for (const { started } of all) started(server, address)
    },
  }
}

async function jsonAccessLog(): Promise<{ format: string; write: (line: string) => void }> {
  const { accessEntry } = await import('../json-log.ts')
  return { format: 'json', write: (line) => writeLog(accessEntry(line, process.pid)) }
}

async function plain(application: Runnable): Promise<Application> {
  return (await toApplication(application)).application
}

/** The options of `run` that a gateway has; the socket is the master's. */
export function optionsFor(gateway: ServerGateway, options: Options): object {
  const names: readonly string[] = namesOf(gateway)
  const own = Object.entries(options).filter(([name]) => names.includes(name))
  return Object.fromEntries(own.filter(([name]) => !MASTERS.has(name)))
}

/**
 * The options of a listener for a descriptor that this process has inherited: it has neither
 * permissions nor a path. They have come as JSON, which has null for Infinity.
 */
export function forDescriptor(options: object): object {
  const others = Object.entries(options).filter(([name]) => !MASTERS.has(name))
  return Object.fromEntries(
    others.map(([name, value]): [string, unknown] => {
      return [name, value === null ? (rowOf(name as OptionName).noLimit ?? null) : value]
    }),
  )
}

/** What only the process that binds the socket needs. */
const MASTERS = new Set(['listen', 'mode', 'owner', 'group'])

/** What `address()` of a server that was caught returns; undefined if only the master knows. */
function shownAddress({ listen }: ListenerSettings): AddressInfo | string | undefined {
  const target = parseListen(listen)
  if (target.kind === 'unix') return target.path
  if (target.kind !== 'tcp' || target.port === 0) return undefined
  const { host, port } = target
  return { address: host === '*' ? '::' : host, family: host.includes(':') ? 'IPv6' : 'IPv4', port }
}
