/** Loads the file of an application into this process, for `portico request ./app.js/path`. */
import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { load } from '../../application/load.ts'
import { inProcessExchange, type InProcessOptions } from '../../embedded/in-process.ts'
import { ConfigurationError } from '../../errors.ts'
import { httpExchange } from '../../testing/client-http.ts'
import type { Exchange } from '../../testing/exchange.ts'
import { CURL_EXIT, TransferError } from './exit-codes.ts'

/** Milliseconds for a file that calls listen() or run() instead of exporting an application. */
const LISTEN_TIMEOUT = 10_000

/** Milliseconds. */
const POLL_INTERVAL = 5

/**
 * Imports the file. If it exports no application, but calls `listen()` or `run()`, its server listens
 * on a temporary Unix socket instead, and gets the request over HTTP.
 *
 * @throws {TransferError} 7, if it cannot be loaded.
 */
export async function loadInProcess(file: string, options: InProcessOptions): Promise<Exchange> {
  const directory = await mkdtemp(join(tmpdir(), 'portico-request-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  const path = join(directory, 'app.sock')
  const listening = catchListen(directory, path)
  // For run(), which may be of another copy of this package.
  process.env['PORTICO_GATEWAY'] = 'http'
  process.env['PORTICO_LISTEN'] = `unix:${path}`
  try {
    return inProcessExchange(await load(file), options)
  } catch (error) {
    const isMissing = error instanceof ConfigurationError && /exports no/.test(error.message)
    if (isMissing && (await listening.caught())) return httpExchange({ path }, options)
    const message = error instanceof Error ? error.message : String(error)
    throw new TransferError(CURL_EXIT.notConnected, isMissing ? message : `${file}: ${message}`)
  } finally {
    listening.stop()
  }
}

/** Replaces what the first call of `listen()` asks for by `path`, unless it is in `directory`. */
function catchListen(directory: string, path: string) {
  const original = Object.getOwnPropertyDescriptor(Server.prototype, 'listen')!
  const { promise: found, resolve: find } = withResolvers<Server>()
  let isFirst = true
  function listen(this: Server, ...args: unknown[]): Server {
    if (!isFirst) return this
    isFirst = false
    find(this)
    const [first] = args
    const given =
      typeof first === 'object' && first !== null && 'path' in first ? first.path : first
    const isOurs = typeof given === 'string' && given.startsWith(directory)
    const callback = args.at(-1)
    const done = typeof callback === 'function' ? [callback] : []
    const own = isOurs ? args : [{ path }, ...done]
    return Reflect.apply(original.value as typeof this.listen, this, own) as Server
  }
  Object.defineProperty(Server.prototype, 'listen', { ...original, value: listen })
  return {
    /** Resolves to whether there is a server, when it listens. */
    async caught(): Promise<boolean> {
      const late = sleep(LISTEN_TIMEOUT, null, { ref: false })
      const server = await Promise.race([found, late])
      if (server === null) return false
      if (!server.listening) await Promise.race([once(server, 'listening'), late])
      // run() binds another name, and renames the socket when it listens.
      const deadline = Date.now() + LISTEN_TIMEOUT
      while (!existsSync(path) && Date.now() < deadline) await sleep(POLL_INTERVAL)
      return server.listening
    },
    stop: () => Object.defineProperty(Server.prototype, 'listen', original),
  }
}

/** Promise.withResolvers(), which Node 20 lacks. */
function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void
  const promise = new Promise<T>((fulfil) => (resolve = fulfil))
  return { promise, resolve: resolve! }
}
