/** `run(app)`: the same file as a CGI script, a FastCGI process and a local HTTP server. */
import { frameworkOf } from '../src/application/detect.ts'
import { currentHost } from '../src/application/host.ts'
import { toApplication, type Runnable } from '../src/application/to-application.ts'
import { ConfigurationError } from '../src/errors.ts'
import { GATEWAYS } from '../src/gateways.ts'
import { checkOptions } from '../src/options/check.ts'
import type { Options } from '../src/options/options.ts'
import { asGateway, detectGateway, type Surroundings } from '../src/process/detect.ts'
import { settingsFor, withoutUnusedRights } from '../src/process/environment.ts'
import { reportIfUncaught } from '../src/process/report.ts'
import type { GatewayServer } from '../src/server/gateway-server.ts'

/**
 * The options of all gateways, except `requestHandler`: its class depends on the gateway, so it is
 * an option of that gateway's handler only.
 */
export type RunOptions = Omit<Options, 'requestHandler'>

/**
 * Runs an application over the gateway that this process was started for (`detectGateway`), or over
 * `options.gateway`. Meant for the last line of a script.
 *
 * Resolves to the server once it accepts connections, or under CGI to null after the response.
 * SIGTERM, SIGINT and uncaught errors close the server.
 *
 * Environment variables such as PORTICO_LISTEN and PORTICO_SHUTDOWN_TIMEOUT override `options`.
 *
 * @throws {ConfigurationError} if it cannot start. If nothing catches the error, its message is
 *   logged in one line, and the exit code is 1.
 */
export async function run(
  application: Runnable,
  options: RunOptions = {},
): Promise<GatewayServer | null> {
  try {
    return await start(application, options)
  } catch (error) {
    if (error instanceof ConfigurationError) {
      const { code } = (error.cause ?? {}) as NodeJS.ErrnoException
      const listenCounts = code === 'EADDRINUSE' && options.gateway === undefined
      const hint = listenCounts ? ': set PORTICO_LISTEN' : ''
      reportIfUncaught(error, error.message + hint)
    }
    throw error
  }
}

async function start(application: Runnable, options: RunOptions): Promise<GatewayServer | null> {
  const host = currentHost()
  if (host) {
    checkOptions('run', options)
    return (await host.run(application, options)) as GatewayServer
  }
  const detected: Surroundings = options.gateway
    ? { gateway: asGateway(options.gateway, 'gateway') }
    : detectGateway()
  const { gateway } = detected
  const { exitOnUncaughtError = true, gateway: _, ...settings } = settingsFor(gateway, options)
  if (gateway === 'cgi') {
    const { application: app } = await toApplication(application, settings)
    const { CGIHandler } = await import('./cgi.ts')
    await new CGIHandler({ ...settings, validate: false }).run(app) // Done by toApplication.
    return null
  }
  const { label, listen: fallback } = GATEWAYS[gateway]
  // An inherited socket takes precedence: it is the one that the web server connects to.
  const listen = detected.listen ?? settings.listen
  const shutdown = await import('../src/process/shutdown.ts')
  const { createHandler } = await import('../src/process/server-handler.ts')
  const starting = createHandler(gateway, {
    multiprocess: detected.multiprocess,
    ...withoutUnusedRights(settings, listen ?? fallback, options.gateway !== undefined),
    listen,
  }).then((handler) => handler.run(application))
  shutdown.closeOnSignals(starting)
  const server = await starting
  if (exitOnUncaughtError) shutdown.exitOnUncaughtError(server)
  const { announce } = await import('../src/process/announce.ts')
  const description = frameworkOf(application)?.description ?? 'an application'
  announce(server, gateway === 'http' ? description : `${description} over ${label}`)
  return server
}
