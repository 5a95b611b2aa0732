/** Loads the file of an application that `portico serve` runs, whatever way the file offers it. */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ConfigurationError } from '../errors.ts'
import { applicationOf } from './adapted.ts'
import { catchListen, type CaughtListen } from './caught-listen.ts'
import { setHost } from './host.ts'
import { exportedBy, exportedNames, settled } from './load.ts'
import type { Runnable } from './to-application.ts'

/** An application that is to be served, and what its file still waits for. */
export interface HostedApplication {
  readonly application: Runnable
  /** The options of `run`; empty if the file did not call it. */
  readonly options: object
  /**
   * Call it when the application is served: `run` resolves to `server`, and a server that was caught
   * emits 'listening' and has `address`.
   */
  readonly started: (server: object, address?: AddressInfo | string) => void
}

/**
 * Milliseconds after `listen()` in which a file may go on loading before its server is taken. A file
 * that waits for 'listening' at its top level never ends loading before.
 */
const LISTEN_GRACE = 100

/**
 * Imports `path` and waits until it offers an application: by `run(app)`, by `listen()` of an HTTP
 * server, or by an export (see `load`). `run` counts at once. An export counts if the server that
 * listens is another application, such as one for metrics; that server then listens by itself, like
 * every further one.
 *
 * Catching begins with the first call and never ends.
 *
 * @throws {ConfigurationError} if the file offers nothing and nothing keeps it running. An error of
 *   the file itself is thrown as it is.
 */
export async function loadHosted(path: string): Promise<HostedApplication> {
  if (loading === null) {
    catchListen((caught) => loading!.listens(caught))
    setHost({ run: (application, options) => loading!.runs(application, options) })
  }
  loading = new Loading(path)
  // The channel to the master must not hide that nothing is left that could offer an application.
  process.channel?.unref()
  try {
    return await loading.load()
  } finally {
    process.channel?.ref()
  }
}

let loading: Loading | null = null

/** Why no application is there yet; null if one is. */
export function whyNotLoaded(): string | null {
  return loading?.waitsFor() ?? null
}

class Loading {
  readonly #path: string
  readonly #offer: Promise<HostedApplication>
  #settle!: (offered: HostedApplication) => void
  #fail!: (error: unknown) => void
  #offered: Runnable | null = null
  #caught: CaughtListen | null = null
  /** Servers that look as if they were listening once the application is served. */
  readonly #pretenders: CaughtListen[] = []
  #started: { readonly address: AddressInfo | string | undefined } | null = null
  #evaluated = false

  constructor(path: string) {
    this.#path = path
    this.#offer = new Promise((settle, fail) => {
      this.#settle = settle
      this.#fail = fail
    })
  }

  async load(): Promise<HostedApplication> {
    void this.#evaluate()
    const nothingLeft = (): void => this.#fail(new ConfigurationError(this.#missing()))
    process.once('beforeExit', nothingLeft)
    try {
      return await this.#offer
    } finally {
      process.off('beforeExit', nothingLeft)
    }
  }

  waitsFor(): string | null {
    if (this.#offered !== null) return null
    if (!this.#evaluated) {
      return `${this.#path} is still loading, and awaits a promise that has not settled`
    }
    const what = `${this.#path} exports no application, and has not called run() or listen() yet`
    // 'TCPServerWrap', 'PipeWrap' …
    const listens = process.getActiveResourcesInfo().some((kind) => kind === 'TCPServerWrap')
    return listens
      ? `${what}. It has started a server, but Portico takes only those of node:http, not of https, http2 or net`
      : what
  }

  #names = 'nothing'

  #missing(): string {
    return (
      `${this.#path} exports no application, and calls neither run() nor listen(). Export it as ` +
      `default, app, application or handler, or as module.exports (exported: ${this.#names})`
    )
  }

  async #evaluate(): Promise<void> {
    let exported: Runnable | null
    try {
      const module = await settled(
        (await import(pathToFileURL(resolve(this.#path)).href)) as object,
      )
      exported = exportedBy(module)
      this.#names = exportedNames(module)
    } catch (error) {
      if (this.#offered === null) this.#fail(error)
      else throw error // Served already: an uncaught error like any other.
      return
    }
    this.#evaluated = true
    if (this.#offered !== null) return
    const caught = this.#caught
    if (exported === null) {
      if (caught) this.#take(caught)
    } else if (caught && isSame(exported, caught.server)) this.#take(caught)
    else {
      this.#settleWith(exported)
      caught?.bind()
    }
  }

  #take(caught: CaughtListen): void {
    this.#pretenders.push(caught)
    this.#settleWith(caught.server)
  }

  #settleWith(
    application: Runnable,
    options: object = {},
    served?: (server: object) => void,
  ): void {
    this.#offered = application
    this.#settle({
      application,
      options,
      started: (server, address) => {
        this.#started = { address }
        for (const caught of this.#pretenders) caught.pretend(address)
        served?.(server)
      },
    })
  }

  runs(application: Runnable, options: object): Promise<object> {
    if (this.#offered !== null) {
      return Promise.reject(
        new ConfigurationError(`${this.#path} offers two applications, and portico serves one`),
      )
    }
    return new Promise((served) => this.#settleWith(application, options, served))
  }

  /** Whether the call is caught. */
  listens(caught: CaughtListen): boolean {
    if (this.#offered !== null) {
      const again =
        isSame(this.#offered, caught.server) ||
        // Fastify listens on 127.0.0.1 and on ::1 for 'localhost'.
        (caught.port !== 0 && caught.port === this.#caught?.port)
      if (!again) return false
      if (this.#started) caught.pretend(this.#started.address)
      else this.#pretenders.push(caught)
      return true
    }
    if (this.#caught !== null) return false
    this.#caught = caught
    if (this.#evaluated) this.#take(caught)
    else {
      setTimeout(() => {
        if (this.#offered === null) this.#take(caught)
      }, LISTEN_GRACE)
    }
    return true
  }
}

/**
 * Whether `server` serves `application`. For Koa and an object with `fetch` this is assumed, because
 * their listeners do not show it.
 */
function isSame(application: Runnable, server: Server): boolean {
  if ((application as object) === server) return true
  const { server: own } = application as { readonly server?: unknown }
  if (own === server) return true
  const isOpaque = typeof application !== 'function' && !('listening' in application) && !own
  if (isOpaque) return true
  return server
    .listeners('request')
    .some((listener) => listener === application || applicationOf(listener) === application)
}
