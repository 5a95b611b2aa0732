/**
 * The process that runs the application in development. A file that does not load is shown as an
 * error page instead, until the parent starts the next process.
 */
import { dirname, resolve } from 'node:path'
import { whyNotLoaded } from '../application/load-hosted.ts'
import { linkNodeOrigin, nodeOriginOf } from '../application/adapted.ts'
import { toApplication, type Runnable } from '../application/to-application.ts'
import { ConfigurationError } from '../errors.ts'
import { logEntry } from '../log.ts'
import { FIRST_DESCRIPTOR } from '../master/messages.ts'
import { errorPage } from '../middleware/error-page.ts'
import { createHandler } from '../process/server-handler.ts'
import type { GatewayServer } from '../server/gateway-server.ts'
import { show } from '../text.ts'
import type { Application } from '../types.ts'
import {
  forDescriptor,
  loadApplication,
  optionsFor,
  type LoadedApplication,
} from '../worker/application.ts'
import { explain, needsTsx } from '../worker/explain.ts'
import { withSource } from '../worker/with-source.ts'
import { logged } from './access-line.ts'
import { faultPage } from './fault.ts'
import { endStreams, live } from './live.ts'
import { liveListener, loggedListener } from './live-node.ts'
import {
  reportDescriptor,
  SETTINGS_VARIABLE,
  STOP_TIME,
  type ChildSettings,
  type ToChild,
} from './messages.ts'
import { reportFiles, reportTo } from './reports.ts'
import { logWaiting } from './waiting.ts'

/** What is served; `failed` if it is an error instead of the application. */
interface Loaded extends Omit<LoadedApplication, 'application'> {
  readonly application: Application
  readonly failed: boolean
  /** Files whose creation may repair what failed. */
  readonly missing: readonly string[]
  /** No change of a file repairs it. */
  readonly unrepairable?: boolean
}

const settings = JSON.parse(process.env[SETTINGS_VARIABLE] ?? '{}') as ChildSettings
delete process.env[SETTINGS_VARIABLE]

const report = reportTo(reportDescriptor(settings.listeners))
reportFiles(report)

const servers: GatewayServer[] = []
let stopping = false

// Ctrl-C goes to the parent as well, which then stops this process.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => void stop())
process.once('disconnect', () => void stop())
process.on('message', (message: ToChild | null) => {
  if (message?.portico === 'stop') void stop()
  else if (message?.portico === 'explain') {
    const text = whyNotLoaded() ?? 'the application has loaded, and is still starting'
    report({ portico: 'waits', text })
  }
})

/** Handles uncaught errors. One that is thrown during loading means that the file does not load. */
let onUncaught: (error: unknown) => void = crashed
process.on('uncaughtException', (error) => {
  if (process.listenerCount('uncaughtException') === 1) onUncaught(error)
})

void main()

async function main(): Promise<void> {
  try {
    await serve(await load())
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    const { code } = (error.cause ?? {}) as NodeJS.ErrnoException
    report({ portico: 'refused', text: error.message, inUse: code === 'EADDRINUSE' })
    await stop(1)
  }
}

async function load(): Promise<Loaded> {
  const { file, args, envFiles, fault } = settings
  if (fault !== undefined) return showing(fault, [])
  process.argv = [process.argv[0]!, file, ...args]
  try {
    const uncaught = new Promise<never>((_, fail) => (onUncaught = fail))
    for (const path of envFiles) process.loadEnvFile(path)
    return await Promise.race([loadAll(), uncaught])
  } catch (error) {
    const text = withSource(explain(error, file))
    logEntry(text)
    const unrepairable = needsTsx(error) !== undefined
    return { ...showing(text, missingFiles(error)), unrepairable }
  } finally {
    onUncaught = crashed
  }
}

async function loadAll(): Promise<Loaded> {
  const { accessLog: format } = settings
  const accessLog = format === 'off' ? undefined : format
  const loaded = await loadApplication({ ...settings, accessLog }, checked)
  const { application } = await toApplication(loaded.application)
  return { ...loaded, application, failed: false, missing: [] }
}

/** The application checked, and with a page for its errors. */
async function checked(given: Runnable): Promise<Application> {
  const { application } = await toApplication(given, settings)
  // A framework of node:http has error pages of its own.
  const isDirect = nodeOriginOf(application) !== undefined
  return isDirect ? application : errorPage(application, { development: true })
}

function showing(text: string, missing: readonly string[]): Loaded {
  return { application: faultPage(text), options: {}, started: () => {}, failed: true, missing }
}

/** The file that an import or a `require` does not find. */
function missingFiles(error: unknown): string[] {
  const { code, message, requireStack } = error as NodeJS.ErrnoException & {
    readonly requireStack?: readonly string[]
  }
  const name = /^Cannot find module '([^']+)'/.exec(message ?? '')?.[1] ?? ''
  if (code === 'ERR_MODULE_NOT_FOUND') return name.startsWith('/') ? [name] : []
  const [from] = requireStack ?? []
  if (code !== 'MODULE_NOT_FOUND' || from === undefined || !name.startsWith('.')) return []
  const path = resolve(dirname(from), name)
  return [path, `${path}.js`, `${path}.cjs`, `${path}.json`]
}

/** The application with live reload and the short access log, for one gateway. */
function dressed(application: Application, gateway: string): Application {
  const { live: isLive, accessLog: format } = settings
  const isLogged = format === undefined
  const origin = gateway === 'http' ? nodeOriginOf(application) : undefined
  if (origin === undefined) {
    const shown = isLogged ? logged(application) : application
    return isLive ? live(shown) : shown
  }
  let { listener } = origin
  if (isLogged) listener = loggedListener(listener)
  if (isLive) listener = liveListener(listener)
  const made: Application = (environ, startResponse) => application(environ, startResponse)
  linkNodeOrigin(made, { listener, server: origin.server })
  return made
}

async function serve(loaded: Loaded): Promise<void> {
  const { application, options, started, failed, missing, unrepairable = false } = loaded
  const { listeners } = settings
  for (const [index, listener] of listeners.entries()) {
    const { gateway } = listener
    const handler = await createHandler(gateway, {
      ...optionsFor(gateway, options),
      ...forDescriptor(listener.options ?? {}),
      validate: false, // It is checked already.
      listen: `fd:${FIRST_DESCRIPTOR + index}`,
    })
    servers.push(await handler.run(dressed(application, gateway)))
  }
  started(servers[0]!, listeners)
  // An uncaught error of the file itself comes before.
  await new Promise(setImmediate)
  if (stopping) return stop()
  report({ portico: 'ready', failed, missing, unrepairable })
  logWaiting(servers)
  return undefined
}

/** The state of the application may be inconsistent now: its requests complete, and it ends. */
function crashed(error: unknown): void {
  if (stopping) return
  const text = withSource(show(error))
  logEntry(text)
  report({ portico: 'crashed', text })
  void stop(1)
}

async function stop(code = 0): Promise<void> {
  stopping = true
  endStreams()
  await Promise.all(
    servers.map((server) => server.close({ timeout: STOP_TIME, takeWaiting: false })),
  )
  // The application's timers and connections end with it.
  process.exit(code)
}
