/**
 * `CGIHandler` and `IISCGIHandler`: a script that a web server starts for one request
 * (RFC 3875), from the script's side.
 *
 * Start-up is what CGI costs, so this file and all that it imports load builtins only that are
 * part of Node's own start. Nothing is ever taken from the command line: a query without '=' can
 * arrive there (RFC 3875, section 4.4; CVE-2012-1823).
 */
import { Buffer } from 'node:buffer'
import { closeSync, openSync, readSync } from 'node:fs'
import { contentLength } from '../src/environ.ts'
import { ApplicationError } from '../src/errors.ts'
import { DescriptorOutput, descriptorSource, writeLog } from '../src/descriptor.ts'
import { ErrorLog } from '../src/error-stream.ts'
import { emptySource, Input } from '../src/input.ts'
import type { Application, ApplicationClass, Environ, InputStream } from '../src/types.ts'
import type { HandlerOptions, Wait } from './base.ts'
import { BaseCGIHandler } from './simple.ts'

/**
 * How long, in ms, a script that has answered may go on with what it left running (timers, a pool
 * of connections) before it gives its descriptors back, so that the server sees the end of the
 * answer, and before it ends for good.
 */
const DETACH_AFTER = 20
const EXIT_AFTER = 30_000

/**
 * Answers the one request that the process was started for:
 *
 *     new CGIHandler().run(application)
 */
export class CGIHandler extends BaseCGIHandler {
  override wsgiRunOnce = true
  #left = false

  constructor(options: HandlerOptions = {}) {
    super(
      new Input(emptySource),
      new DescriptorOutput(1),
      new ErrorLog((text) => writeLog(2, text)),
      readEnviron(),
      { ...options, multiprocess: true },
    )
  }

  /** Resolves when the request is answered; the process then ends by itself. */
  override async run(application: Application | ApplicationClass): Promise<void> {
    // The answer goes to descriptor 1 and nothing else may: `console.log` goes to the log.
    Object.defineProperty(process, 'stdout', { configurable: true, get: () => process.stderr })
    // What a client calls Proxy must not become the proxy of our own requests (CVE-2016-5385).
    if (process.env['REQUEST_METHOD'] !== undefined) delete process.env['HTTP_PROXY']
    process.on('uncaughtException', (error) => void this.#giveUp(error))
    // Node is about to end. Without an answer that means that nobody will ever call back.
    process.on('beforeExit', () => {
      if (!this.#left) void this.#giveUp(new ApplicationError('The application never answered'))
    })
    try {
      await super.run(application)
    } finally {
      this.#leave()
    }
  }

  /** Without CONTENT_LENGTH there is no body, even if the server leaves stdin open. */
  override getStdin(): InputStream {
    const length = contentLength(this.environ!) ?? 0
    return length === 0 ? super.getStdin() : new Input(descriptorSource(0), length)
  }

  override _end(complete: boolean): Wait {
    // That the client has gone is no failure of the script.
    if (!complete && !this.signal.aborted) process.exitCode = 1
    return this._flush()
  }

  /** An error that no `catch` of ours could see: a 500 if the head is unsent, and exit code 1. */
  async #giveUp(error: unknown): Promise<void> {
    process.exitCode = 1
    try {
      await this.fail(error)
    } finally {
      this.#leave()
    }
  }

  /**
   * A script that has nothing left to do ends by itself. One that has left something running must
   * keep neither the client waiting nor a process for ever.
   */
  #leave(): void {
    if (this.#left) return
    this.#left = true
    if (process.getActiveResourcesInfo().length === 0) return
    setTimeout(detach, DETACH_AFTER).unref()
    setTimeout(() => process.exit(), EXIT_AFTER).unref()
  }
}

/**
 * The same for IIS without `allowPathInfo`, which repeats SCRIPT_NAME at the front of PATH_INFO.
 * With the setting PATH_INFO is right, and there is no way to see whether it is on: a handler of
 * its own, as in wsgiref.
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

/**
 * The environment as byte strings. `process.env` reads it as UTF-8 and destroys what is not, so on
 * Linux the kernel's copy is read: the environment as the web server made it, without what the
 * script has changed since. Elsewhere invalid bytes are lost.
 */
export function readEnviron(): Record<string, string> {
  const environ: Record<string, string> = Object.create(null)
  const block = readWhole('/proc/self/environ')
  if (block === null) {
    for (const [name, value = ''] of Object.entries(process.env)) {
      environ[name] = Buffer.from(value).toString('latin1')
    }
    return environ
  }
  for (const entry of block.split('\0')) {
    const equals = entry.indexOf('=')
    const name = entry.slice(0, equals)
    if (equals > 0 && !name.includes('.')) environ[name] = entry.slice(equals + 1)
  }
  return environ
}

/**
 * A file of /proc as a byte string; null if there is none. `readFileSync` takes 0.4 ms for it,
 * fifteen times as long: it has to find out that such a file does not know its own size.
 */
function readWhole(path: string): string | null {
  let text = ''
  try {
    const fd = openSync(path, 'r')
    const block = Buffer.allocUnsafe(BLOCK_SIZE)
    for (let count; (count = readSync(fd, block)) > 0;) text += block.toString('latin1', 0, count)
    closeSync(fd)
  } catch {
    return null
  }
  return text
}

/** Larger than most environments, so that one read is enough. */
const BLOCK_SIZE = 65_536

/** `os.devNull`, without a module that Node has not loaded at its start. */
const NULL_DEVICE = process.platform === 'win32' ? String.raw`\\.\nul` : '/dev/null'

/** Puts the null device in the place of stdin and stdout. */
function detach(): void {
  for (const fd of [0, 1]) {
    try {
      closeSync(fd)
      openSync(NULL_DEVICE, fd === 0 ? 'r' : 'w') // Takes the lowest number that is free: this one.
    } catch {
      // Closed already, by the script itself.
    }
  }
}
