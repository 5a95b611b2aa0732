/** `run(app)`: the same file as a CGI script, a FastCGI process and a local HTTP server. */
import { frameworkOf } from '../src/application/detect.ts'
import { toApplication, type Runnable } from '../src/application/to-application.ts'
import { ConfigurationError } from '../src/errors.ts'
import { GATEWAYS } from '../src/gateways.ts'
import type { Options } from '../src/options/options.ts'
import { asGateway, detectGateway, type Surroundings } from '../src/process/detect.ts'
import { settingsFor } from '../src/process/environment.ts'
import { reportIfUncaught } from '../src/process/report.ts'
import type { GatewayServer } from '../src/server/gateway-server.ts'

/**
 * The options of whichever gateway it will be. A `requestHandler` belongs to one gateway, and so to
 * its handler.
 */
export type RunOptions = Omit<Options, 'requestHandler'>

/**
 * Runs an application over the gateway that this process was started for (`detectGateway`), or over
 * `options.gateway`. Meant for the last line of a script.
 *
 * Resolves to the server once it accepts connections; under CGI to null, once the request has been
 * responded to. SIGTERM and SIGINT close the server, and so does an uncaught error.
 *
 * The environment has options, too, such as PORTICO_LISTEN and PORTICO_SHUTDOWN_TIMEOUT; they
 * replace the program's.
 *
 * @throws {ConfigurationError} if it cannot start. Where nothing catches the error its message is
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
      const hint = listenCounts ? '; set PORTICO_LISTEN to another address' : ''
      reportIfUncaught(error, error.message + hint)
    }
    throw error
  }
}

interface ServerHandler {
  run(application: Runnable): Promise<GatewayServer>
}

async function start(application: Runnable, options: RunOptions): Promise<GatewayServer | null> {
  const detected: Surroundings = options.gateway
    ? { gateway: asGateway(options.gateway, 'gateway') }
    : detectGateway()
  const { gateway } = detected
  const { exitOnUncaughtError = true, gateway: _, ...settings } = settingsFor(gateway, options)
  if (gateway === 'cgi') {
    const { application: app } = await toApplication(application, settings)
    const { CGIHandler } = await import('./cgi.ts')
    await new CGIHandler(settings).run(app)
    return null
  }
  const { label, load } = GATEWAYS[gateway]
  const { isWorker } = (await import('node:cluster')).default
  const shutdown = await import('../src/process/shutdown.ts')
  const starting = load({
    multiprocess: isWorker || detected.multiprocess === true,
    ...settings,
    // A socket that was handed over is the one on which the web server expects to be served.
    listen: detected.listen ?? settings.listen,
  }).then((handler) => (handler as ServerHandler).run(application))
  shutdown.closeOnSignals(starting)
  const server = await starting
  if (exitOnUncaughtError) shutdown.exitOnUncaughtError(server)
  const { announce } = await import('../src/process/announce.ts')
  const description = frameworkOf(application)?.description ?? 'an application'
  announce(server, gateway === 'http' ? description : `${description} over ${label}`)
  return server
}
