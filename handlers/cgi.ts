/**
 * `CGIHandler` and `IISCGIHandler`: a script that a web server starts for one request (RFC 3875).
 *
 * Start-up dominates the cost of CGI, so this file and its imports use only built-in modules that
 * Node has loaded at its own start. The command line is ignored, because a query without '=' can
 * arrive there (RFC 3875, section 4.4; CVE-2012-1823).
 */
import { refuseLineBreaks } from '../src/environ/environ.ts'
import { addProcessVariables } from '../src/environ/from-process.ts'
import { ApplicationError, PeerError } from '../src/errors.ts'
import {
  detach,
  endResponse,
  fdSource,
  receiveRest,
  ResponseOutput,
  writeFd,
} from '../src/request/fd-io.ts'
import { separateResponse } from '../src/request/printed-output.ts'
import { ErrorLog } from '../src/request/error-log.ts'
import { emptySource, Input } from '../src/request/input.ts'
import { isFullDuplex, lengthOfBody } from '../src/environ/script-body.ts'
import { RUNTIME } from '../src/runtime.ts'
import { toApplication, type Runnable } from '../src/application/to-application.ts'
import type { OptionsOf } from '../src/options/table.ts'
import type { Environ, InputStream } from '../src/types.ts'
import type { MaybePromise } from './base.ts'
import { BaseCGIHandler } from './simple.ts'

/**
 * How long, in ms, after its response a script keeps descriptors 0 and 1 while timers or
 * connections still run. Closing them is what shows the web server the end of the response.
 */
const DETACH_AFTER = 20

/** How long, in ms, such a script may keep running after its response before it is ended. */
const EXIT_AFTER = 30_000

/** The same in Deno (2.9), which cannot close them: the web server waits for the end of the script. */
const DENO_EXIT_AFTER = 1_000

/**
 * How long, in ms, a script may keep running after SIGTERM, which a web server sends if the client is gone.
 * Apache kills the script after 3 s.
 */
const TERMINATE_AFTER = 2_000

/**
 * Handles the one request that the process was started for:
 *
 *     new CGIHandler().run(application)
 */
export class CGIHandler extends BaseCGIHandler {
  override wsgiRunOnce = true
  readonly #options: OptionsOf<'cgi'>
  readonly #output: ResponseOutput
  #input = new Input(emptySource, 0)
  #left = false
  #ending = false
  #listening = false
  #terminated = false

  constructor(options: OptionsOf<'cgi'> = {}) {
    const output = new ResponseOutput()
    const log = new ErrorLog((text) => writeFd(2, text))
    super(new Input(emptySource), output, log, {}, { ...options, multiprocess: true })
    this.#options = options
    this.#output = output
  }

  /**
   * Resolves when the response has been written; the process then ends by itself.
   *
   * @throws {ConfigurationError} if the options cannot work. The response is then a 500.
   */
  override async run(application: Runnable): Promise<void> {
    separateResponse()
    // A client's Proxy header must not become the proxy of outgoing requests (CVE-2016-5385).
    if (process.env['REQUEST_METHOD'] !== undefined) delete process.env['HTTP_PROXY']
    process.on('uncaughtException', (error) => void this.#giveUp(error))
    if (RUNTIME === 'bun') this.#listenForRejections()
    // The event loop is empty and there is no response yet: the application can no longer call
    // back, so respond with a 500.
    process.on('beforeExit', () => {
      if (this.#left || this.#terminated || this.state === 'ended') return
      void this.#giveUp(
        new ApplicationError('The application never responded', 'PORTICO_NO_RESPONSE'),
      )
    })
    try {
      // Scripts seldom have options, and then nothing is loaded to check them.
      const plain = Object.keys(this.#options).length === 0
      const response = plain ? super.run(application) : this.#runWithOptions(application)
      // Not for an application that responds in this turn: an immediate takes a tenth of its time.
      if (!this.#ending) setImmediate(() => this.#listenForSigterm())
      await response
      if (!this.#left) await this.#readRest()
    } finally {
      this.#leave()
    }
  }

  /** Checks the options first; if they are refused, the response is a 500. */
  async #runWithOptions(application: Runnable): Promise<void> {
    const { checkCommonOptions } = await import('../src/options/common.ts')
    try {
      checkCommonOptions('CGI', this.#options)
    } catch (error) {
      await super.run(() => {
        throw error
      })
      throw error
    }
    const { validate } = this.#options
    await super.run(
      validate ? (await toApplication(application, { validate })).application : application,
    )
  }

  override addCgiVars(): void {
    addProcessVariables(this.environ!)
    refuseLineBreaks(this.environ!)
  }

  /** Without a length there is no body, even if the server leaves stdin open. */
  override getStdin(): InputStream {
    const environ = this.environ!
    const length = lengthOfBody(environ)
    if (length === 0) return this.#input
    const source = fdSource(0)
    const read = (size: number) => {
      if (this.#terminated) throw terminated() // Another read could block.
      return source.read(size)
    }
    const input = (this.#input = new Input({ read }, length))
    if (!isFullDuplex(environ)) {
      this.#output.beforeWait = () => {
        const keep = !this.#ending || input.readsOn() !== null
        source.readAhead(input.unread, keep)
        if (!keep) this.#input = new Input(emptySource, 0)
      }
    }
    return input
  }

  override _flush(): MaybePromise {
    // lighttpd ends a script as soon as it has Content-Length bytes of its response.
    const early = this.environ?.['SERVER_SOFTWARE']?.startsWith('lighttpd')
    if (!this.#ending || early) this.#listenForSigterm()
    try {
      return super._flush()?.catch((error: unknown) => this.#outputFailed(error))
    } catch (error) {
      this.#outputFailed(error)
    }
  }

  /** The web server waits for the end of stdout, so a body that takes long to close must not delay it. */
  override close(): MaybePromise {
    const wait = super.close()
    // Deno cannot close stdout, and the body may need longer than `DENO_EXIT_AFTER`.
    if (wait && RUNTIME !== 'deno') void this.#readRest().finally(() => this.#leave())
    return wait
  }

  async #readRest(): Promise<void> {
    if (this.#input.unread > 0) await receiveRest(0, this.#input, EXIT_AFTER)
  }

  #outputFailed(error: unknown): never {
    if (!(error instanceof PeerError)) process.exitCode = 1
    throw error
  }

  override _end(complete: boolean): MaybePromise {
    this.#ending = true
    // A client that disconnects is not a failure of the script.
    if (!complete && !this.signal.aborted) process.exitCode = 1
    const wait = this._flush()
    if (wait) return wait.then(() => this.#showEnd())
    this.#showEnd()
  }

  /** Before the rest of the body is read: that blocks until the client sends more. */
  #showEnd(): void {
    if (this.#input.unread > 0) endResponse()
  }

  /** Ends the request for an error that reached the process: a 500 if the head is unsent. */
  async #giveUp(error: unknown): Promise<void> {
    process.exitCode = 1
    try {
      await this.fail(error)
    } finally {
      this.#leave()
    }
  }

  /** Makes a rejection that nothing handles an uncaught exception, as in Node. Bun (1.4) would exit. */
  #listenForRejections(): void {
    process.on('unhandledRejection', (error) => {
      // In Node the listeners of an application replace the exception.
      if (process.listenerCount('unhandledRejection') === 1) void this.#giveUp(error)
    })
  }

  /** Called when the script first waits or has more to write. SIGTERM lets it clean up. */
  #listenForSigterm(): void {
    if (this.#listening) return
    this.#listening = true
    process.on('SIGTERM', () => {
      this.#terminated = true
      this.abort(terminated())
      setTimeout(() => process.exit(), TERMINATE_AFTER).unref()
    })
  }

  /**
   * A script that has nothing left to do ends by itself. One that has left timers or connections
   * must neither keep the client waiting nor run forever.
   */
  #leave(): void {
    if (this.#left) return
    this.#left = true
    // Bun's list (1.4) lacks timers and connections.
    if (RUNTIME !== 'bun' && process.getActiveResourcesInfo().length === 0) return
    setTimeout(() => {
      detach()
      setTimeout(() => process.exit(), RUNTIME === 'deno' ? DENO_EXIT_AFTER : EXIT_AFTER).unref()
    }, DETACH_AFTER).unref()
  }
}

/**
 * A CGIHandler for IIS without `allowPathInfo`, which repeats SCRIPT_NAME at the front of
 * PATH_INFO. A script cannot see whether that setting is on, so this is a class of its own, as in
 * wsgiref.
 */
export class IISCGIHandler extends CGIHandler {
  override addCgiVars(): void {
    super.addCgiVars()
    const { SCRIPT_NAME, PATH_INFO }: Partial<Environ> = this.environ!
    const script = SCRIPT_NAME ?? ''
    const path = PATH_INFO ?? ''
    if (`${path}/`.startsWith(`${script}/`)) this.environ!.PATH_INFO = path.slice(script.length)
  }
}

function terminated(): PeerError {
  return new PeerError('PORTICO_DISCONNECTED', 'The web server ended the script (SIGTERM)')
}
