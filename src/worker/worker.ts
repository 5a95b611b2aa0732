/** `Worker`: serves one application on the sockets that a master has bound. */
import { isAbsolute, resolve } from 'node:path'
import { ConfigurationError } from '../errors.ts'
import { ignoreOutputErrors, logEntry } from '../log.ts'
import { FIRST_DESCRIPTOR, type ToWorker, type WorkerSettings } from '../master/messages.ts'
import { whyNotLoaded } from '../application/load-hosted.ts'
import type { SocketHandle } from '../node-internals/hand-over.ts'
import { createHandler } from '../process/server-handler.ts'
import { EXIT_TIME, MAX_LOGGED } from '../process/shutdown.ts'
import type { GatewayServer } from '../server/gateway-server.ts'
import { heldBy, type HeldRequest } from '../server/held-request.ts'
import { show } from '../text.ts'
import {
  forDescriptor,
  loadApplication,
  optionsFor,
  type LoadedApplication,
} from './application.ts'
import type { Channel } from './channel.ts'
import { explain } from './explain.ts'
import { startPulse, type PulseSource } from './pulse.ts'
import { SlowLog } from './slow-log.ts'
import { startWatchdog } from './watchdog.ts'

export class Worker {
  readonly #channel: Channel
  #settings: WorkerSettings | null = null
  #servers: readonly GatewayServer[] = []
  #isReady = false
  #leaving = false
  #faults = 0
  #stopWatching = (): void => {}
  #sendPulse = (): void => {}

  constructor(channel: Channel) {
    this.#channel = channel
    ignoreOutputErrors() // The terminal may close, and the reader of the log may end.
    channel.onGone(() => this.#masterIsGone())
    // The master ends its workers over IPC. A signal comes from an administrator.
    process.once('SIGTERM', () => this.#askForSuccessor())
    process.once('SIGINT', () => this.#askForSuccessor())
    // A whole group of processes may get it. The master decides what it means.
    process.on('SIGHUP', () => {})
    process.on('uncaughtException', (error, origin) => this.#uncaught(error, origin))
  }

  receive(message: ToWorker, handle: SocketHandle | undefined): void {
    switch (message.portico) {
      case 'start':
        void this.#start(message.settings)
        break
      case 'retire':
        void this.#retire(message.timeout)
        break
      case 'close':
        void this.#close(message.timeout, message.takeWaiting)
        break
      case 'connection':
        this.#adopt(message.listener, handle)
        break
      case 'ping':
        this.#sendPulse()
        this.#channel.send(
          this.#isReady
            ? { portico: 'pong' }
            : {
                portico: 'pong',
                waitsFor: whyNotLoaded() ?? 'the application has loaded, and is still starting',
              },
        )
    }
  }

  async #start(settings: WorkerSettings): Promise<void> {
    this.#settings = settings
    const { file, args } = settings
    try {
      if (settings.log === 'json') {
        const { logAsJson } = await import('../json-log.ts')
        logAsJson({ worker: process.pid })
      }
      for (const path of settings.envFiles) readEnvironment(path)
      process.title = `portico worker: ${file}`
      process.argv = [process.argv[0]!, file, ...args]
      const loaded = await loadApplication(settings)
      this.#servers = await listenOnAll(settings, loaded)
      loaded.started(this.#servers[0]!, settings.listeners)
      // A promise of the file that was rejected, or a callback that throws, is an error of this start.
      await new Promise(setImmediate)
    } catch (error) {
      this.#fail(explain(error, file))
      return
    }
    if (this.#leaving) return
    this.#isReady = true
    this.#channel.send({ portico: 'ready' })
    const { slow, blockTimeout } = settings
    const slowLog = new SlowLog(slow, () => this.#held())
    const pulse = startPulse(this.#channel, settings, this.#source(slowLog))
    const stopWatchdog = startWatchdog(
      { slow, blockTimeout, json: settings.log === 'json' },
      {
        slow: (ms) => slowLog.blocked(ms),
        held: () => this.#held().map(({ method, path }) => `${method} ${path}`),
      },
    )
    this.#sendPulse = pulse.send
    this.#stopWatching = () => {
      slowLog.stop()
      pulse.stop()
      stopWatchdog()
    }
  }

  #source(slowLog: SlowLog): PulseSource {
    const sum = (count: (server: GatewayServer) => number): number => {
      let total = 0
      for (const server of this.#servers) total += count(server)
      return total
    }
    return {
      requests: () => sum((server) => server.requests),
      connections: () => sum((server) => server.connections),
      active: () =>
        sum(({ open }) => {
          let active = 0
          for (const connection of open) active += connection.active ?? 0
          return active
        }),
      slow: () => slowLog.count,
    }
  }

  /** The requests that are running. */
  #held(): HeldRequest[] {
    return heldBy(this.#servers)
  }

  /** The application does not start: the master logs why, and decides what follows. */
  #fail(text: string): void {
    this.#channel.send({ portico: 'failed', text })
    const [server] = this.#servers
    if (server === undefined) this.#exit(1)
    // It has accepted connections already.
    else void this.#retire(server.shutdownTimeout)
  }

  #adopt(listener: number, handle: SocketHandle | undefined): void {
    if (handle === undefined) return // The connection was closed on its way.
    const server = this.#servers[listener]
    if (!this.#leaving && server?.adopt(handle)) return
    // The master sent it before it knew that this worker is retiring.
    this.#give(listener, handle, () => handle.close())
  }

  #give(listener: number, handle: SocketHandle, sent: (error: Error | null) => void): void {
    this.#channel.send({ portico: 'connection', listener }, handle, sent)
  }

  async #retire(timeout: number): Promise<void> {
    this.#leaving = true
    const retired = this.#servers.map((server, listener) =>
      server.retire((handle, sent) => this.#give(listener, handle, sent), timeout),
    )
    await this.#leave(retired)
  }

  async #close(timeout: number, takeWaiting: boolean): Promise<void> {
    this.#leaving = true
    await this.#leave(this.#servers.map((server) => server.close({ timeout, takeWaiting })))
  }

  async #leave(closing: readonly Promise<void>[]): Promise<void> {
    await Promise.all(closing)
    let aborted = 0
    for (const { abortedConnections } of this.#servers) aborted += abortedConnections
    if (aborted > 0) {
      const connections = aborted === 1 ? '1 connection' : `${aborted} connections`
      logEntry(`Worker ${process.pid} closed ${connections} whose requests had not ended`, 'warn')
    }
    this.#exit(this.#faults > 0 ? 1 : 0)
  }

  /** Lets the process end by itself, so that its output is written; forces it after a while. */
  #exit(code: number): void {
    this.#leaving = true
    process.exitCode = code
    this.#stopWatching()
    this.#channel.close()
    setTimeout(() => process.exit(), EXIT_TIME).unref()
  }

  #askForSuccessor(): void {
    this.#channel.send({ portico: 'replace', reason: 'signal' })
  }

  /** A worker without its master completes its requests and ends. */
  #masterIsGone(): void {
    if (this.#leaving) return
    logEntry(`Worker ${process.pid} has lost its master, completes its requests and ends`, 'error')
    if (this.#settings === null) this.#exit(1)
    else void this.#close(this.#servers[0]?.shutdownTimeout ?? 0, true)
  }

  /**
   * The state of the application may be inconsistent now. The worker takes no further request: its
   * idle connections go to other workers, and a successor starts.
   */
  #uncaught(error: unknown, origin: NodeJS.UncaughtExceptionOrigin): void {
    if (process.listenerCount('uncaughtException') > 1) return // The application's own.
    this.#faults += 1
    const what = origin === 'unhandledRejection' ? 'Unhandled rejection' : 'Uncaught exception'
    if (!this.#isReady) {
      this.#fail(
        `${what} before the application was ready\n${explain(error, this.#settings?.file ?? '')}`,
      )
      return
    }
    if (this.#faults <= MAX_LOGGED) {
      const next = `worker ${process.pid} completes its requests, and a new one replaces it`
      logEntry(`${what}: ${next}\n${show(error)}`, 'error')
    }
    if (this.#leaving) return
    this.#channel.send({ portico: 'replace', reason: 'uncaught error' })
    void this.#retire(this.#servers[0]!.shutdownTimeout)
  }
}

/** Listens on the inherited descriptors, which have neither permissions nor a path. */
async function listenOnAll(
  settings: WorkerSettings,
  { application, options: fromFile }: LoadedApplication,
): Promise<GatewayServer[]> {
  const servers: GatewayServer[] = []
  for (const [index, { gateway, options }] of settings.listeners.entries()) {
    const handler = await createHandler(gateway, {
      ...optionsFor(gateway, fromFile),
      ...forDescriptor(options ?? {}),
      multiprocess: true,
      listen: `fd:${FIRST_DESCRIPTOR + index}`,
    })
    servers.push(await handler.run(application))
  }
  return servers
}

/** Reads variables from a file. As with `node --env-file`, variables that are already set win. */
function readEnvironment(path: string): void {
  try {
    process.loadEnvFile(isAbsolute(path) ? path : resolve(path))
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new ConfigurationError(
      `env-file: '${path}' ${code === 'ENOENT' ? 'does not exist' : `cannot be read: ${message}`}`,
      { cause: error },
    )
  }
}
