/**
 * `portico serve` for development. This process binds the sockets and keeps them; a child runs the
 * application, and a new one replaces it after each change. Meanwhile connections wait in the
 * kernel, and none is refused.
 */
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ConfigurationError } from '../errors.ts'
import { GATEWAYS } from '../gateways.ts'
import { log, logEntry } from '../log.ts'
import { bindAll, refuseSharedPorts, type BoundSocket } from '../master/bind.ts'
import { applicationFiles, type ListenerSettings } from '../master/settings.ts'
import { parseListen } from '../server/listen.ts'
import { Child, notSpawned, type ChildLaunch } from './child-process.ts'
import type { ChildSettings, FromChild } from './messages.ts'
import { escapeControl } from '../text.ts'
import { canReadKeys, KEYS_HINT, readKeys } from './keys.ts'
import { paint } from './terminal.ts'
import { Watcher } from './watcher.ts'

/** What `develop` needs. */
export interface DevelopmentSettings extends Omit<ChildSettings, 'listeners' | 'fault'> {
  readonly directory: string
  /** `asked` is false for a default port: if that is in use, the next free port is taken. */
  readonly listeners: readonly (ListenerSettings & { readonly asked: boolean })[]
  readonly env: NodeJS.ProcessEnv
  readonly execArgv: readonly string[]
  readonly poll: boolean
}

/** How many ports are tried after the default one. */
const PORTS_TRIED = 20

/** An application that ends within this time after its start, in milliseconds, would do so again. */
const SHORT_LIFE = 2_000

/** As in production, for an application that no change of its files would start. */
const EXIT_NOT_STARTED = 3

/** The exit codes of a shell for a program that a signal has ended. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const

/**
 * Serves until a signal comes; resolves to the exit code.
 *
 * @throws {ConfigurationError} for an address that is in use or cannot be bound.
 */
export async function develop(settings: DevelopmentSettings): Promise<number> {
  for (let after = 0; ; after += 1) {
    const sockets = await bindSockets(settings, after)
    try {
      const code = await new Development(settings, sockets).run()
      if (code !== TAKEN) return code
    } finally {
      for (const socket of sockets) socket.close()
    }
  }
}

/** The result of a run whose default port another process has taken before the child listened. */
const TAKEN = -1

async function bindSockets(
  { listeners }: DevelopmentSettings,
  after: number,
): Promise<BoundSocket[]> {
  const sockets: BoundSocket[] = []
  try {
    for (const { asked, ...listener } of listeners) {
      sockets.push(...(await (asked ? bindAll([listener]) : bindNextFree(listener, after))))
    }
    refuseSharedPorts(sockets)
  } catch (error) {
    for (const socket of sockets) socket.close()
    throw error
  }
  return sockets
}

/** Binds the first free port after the default one and `after` more. */
async function bindNextFree(listener: ListenerSettings, after: number): Promise<BoundSocket[]> {
  const target = parseListen(listener.listen)
  const first = target.kind === 'tcp' ? target.port : 0
  for (let port = first + after; ; port += 1) {
    try {
      return await bindAll([{ ...listener, listen: `:${port}` }])
    } catch (error) {
      const { code } = ((error as ConfigurationError).cause ?? {}) as NodeJS.ErrnoException
      if (code !== 'EADDRINUSE' || port >= first + PORTS_TRIED) throw error
    }
  }
}

/** The built package: its own files do not change while a developer works. */
const OWN = `${resolve(fileURLToPath(import.meta.url), '../../..')}/`

class Development {
  readonly #settings: DevelopmentSettings
  readonly #sockets: readonly BoundSocket[]
  readonly #watcher: Watcher
  /** The lines that are typed are commands, and this process reads them. */
  readonly #hasKeys = canReadKeys()
  #child: Child | null = null
  /** The files of the child that runs, and those that a child without an error had last. */
  #loaded = new Set<string>()
  #lastGood: ReadonlySet<string> = new Set()
  #announced = false
  /** Set while a child is replaced; further changes wait. */
  #restarting: Promise<void> | null = null
  /** Why. */
  #again: string | null = null
  #reason = ''
  #crash = ''
  #stopping: (code: number) => void = () => {}
  #isStopping = false
  readonly #cleanups: (() => void)[] = []

  constructor(settings: DevelopmentSettings, sockets: readonly BoundSocket[]) {
    this.#settings = settings
    this.#sockets = sockets
    this.#watcher = new Watcher({
      poll: settings.poll,
      onChange: (files) => void this.#restart(this.#changed(files)),
      onFallback: (reason) =>
        logEntry(`The system reports no changes of files (${reason}): looking twice a second`),
    })
  }

  run(): Promise<number> {
    return new Promise((done) => {
      this.#stopping = done
      for (const [signal, code] of Object.entries(SIGNALS)) {
        const listener = (): void => void this.#stop(code)
        process.on(signal, listener)
        this.#cleanups.push(() => process.off(signal, listener))
      }
      for (const socket of this.#sockets) socket.publish()
      this.#start()
      if (this.#hasKeys) this.#cleanups.push(this.#readKeys())
      for (const file of this.#alwaysWatched()) this.#watcher.add(file, Date.now())
    })
  }

  get #startedAt(): number {
    return this.#child?.startedAt ?? 0
  }

  #readKeys(): () => void {
    const http = this.#sockets.find(({ settings }) => settings.gateway === 'http')
    return readKeys({
      url: http?.url.startsWith('http:') ? http.url : undefined,
      restart: () => void this.#restart('Restart:'),
      quit: () => void this.#stop(0),
      pass: (line) => this.#child?.write(line),
    })
  }

  #alwaysWatched(): string[] {
    const { file, mounts, envFiles } = this.#settings
    const files = applicationFiles(file, mounts)
    return [...files, ...envFiles, ...files.map((each) => join(dirname(each), 'package.json'))]
  }

  #start(fault?: string): void {
    const { directory, env, execArgv } = this.#settings
    const { file, args, mounts, envFiles, accessLog, live, validate } = this.#settings
    this.#crash = ''
    this.#loaded = new Set()
    const launch: ChildLaunch = {
      directory,
      env,
      execArgv,
      sockets: this.#sockets,
      settings: { file, args, mounts, envFiles, accessLog, live, validate, fault },
      hasKeys: this.#hasKeys,
    }
    try {
      this.#child = new Child(launch, {
        onReport: (message) => this.#receive(message),
        onEnd: (how) => this.#ended(how),
      })
    } catch (error) {
      this.#receive(notSpawned(launch, error))
    }
  }

  #receive(message: FromChild): void {
    if (message.portico === 'loads') {
      for (const name of message.files) this.#add(isAbsolute(name) ? name : pathOf(name))
    } else if (message.portico === 'ready') this.#ready(message)
    else if (message.portico === 'crashed') this.#crash = message.text
    else if (message.portico === 'refused') void this.#refused(message)
  }

  #add(path: string | undefined): void {
    if (path === undefined || this.#loaded.has(path) || isOwn(path)) return
    this.#loaded.add(path)
    this.#watcher.add(path, this.#startedAt)
  }

  #ready({ failed, missing, unrepairable }: Extract<FromChild, { portico: 'ready' }>): void {
    if (unrepairable && !this.#announced) {
      void this.#stop(EXIT_NOT_STARTED)
      return
    }
    for (const path of missing) this.#add(path)
    if (!failed) this.#lastGood = this.#loaded
    this.#watcher.retain(
      new Set([...this.#alwaysWatched(), ...this.#loaded, ...(failed ? this.#lastGood : [])]),
    )
    const took = Math.round(
      this.#announced ? Date.now() - this.#startedAt : process.uptime() * 1000,
    )
    const what = failed
      ? paint('red', 'does not load: waiting for a change')
      : `ready in ${took} ms`
    if (this.#announced) log(`${paint('dim', escapeControl(this.#reason))} ${what}\n`)
    else {
      const keys = this.#hasKeys ? ` · ${KEYS_HINT}` : ''
      const watching = paint('dim', `· watching ${countOf(this.#watcher.size)}${keys}`)
      log(`${this.#sockets.map(addressOf).join(' ')} ${what} ${watching}\n`)
    }
    this.#announced = true
  }

  async #refused({ text, inUse }: Extract<FromChild, { portico: 'refused' }>): Promise<void> {
    const isDefault = this.#settings.listeners.some(({ asked }) => !asked)
    if (inUse && isDefault) return this.#stop(TAKEN)
    logEntry(`portico: ${text}`)
    return this.#stop(1)
  }

  #changed([first = '', ...others]: readonly string[]): string {
    const more = others.length > 0 ? ` and ${others.length} more` : ''
    return `${relativeTo(this.#settings.directory, first)}${more} changed:`
  }

  #restart(reason: string): Promise<void> {
    if (this.#restarting) {
      this.#again = reason
      return this.#restarting
    }
    this.#reason = reason
    this.#restarting = this.#replace().finally(() => {
      this.#restarting = null
      const again = this.#again
      this.#again = null
      if (again !== null) void this.#restart(again)
    })
    return this.#restarting
  }

  async #replace(): Promise<void> {
    await this.#child?.stop()
    if (!this.#isStopping) this.#start()
  }

  /** The application has ended by itself, or was killed. */
  #ended(how: string): void {
    if (this.#isStopping) return
    this.#reason = `The application has ended (${how}):`
    if (this.#child!.isReady && Date.now() - this.#startedAt > SHORT_LIFE) {
      this.#start()
      return
    }
    const text = this.#crash || `${this.#reason} the terminal shows why`
    const loaded = this.#loaded
    this.#start(text)
    for (const path of loaded) this.#add(path)
  }

  async #stop(code: number): Promise<void> {
    if (this.#isStopping) {
      this.#child?.kill()
      return
    }
    this.#isStopping = true
    this.#watcher.close()
    for (const socket of this.#sockets) socket.withdraw()
    await this.#child?.stop()
    for (const cleanup of this.#cleanups) cleanup()
    this.#stopping(code)
  }
}

function addressOf({ settings, url }: BoundSocket): string {
  const { gateway } = settings
  return paint('bold', gateway === 'http' ? url : `${GATEWAYS[gateway].label} on ${url}`)
}

function pathOf(url: string): string | undefined {
  if (!url.startsWith('file:')) return undefined
  try {
    // Loaders add queries.
    return fileURLToPath(url.replace(/[?#].*$/, ''))
  } catch {
    return undefined
  }
}

function isOwn(path: string): boolean {
  return path.startsWith(OWN)
}

function countOf(files: number): string {
  return files === 1 ? '1 file' : `${files} files`
}

function relativeTo(directory: string, path: string): string {
  return path.startsWith(`${directory}/`) ? path.slice(directory.length + 1) : path
}
