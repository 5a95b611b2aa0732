/**
 * `CGIHandler` and `IISCGIHandler`: a script that a web server starts for one request
 * (RFC 3875), from the script's side.
 *
 * Start-up is what CGI costs, so this file and all that it imports load builtins only that are
 * part of Node's own start. Nothing is ever taken from the command line: a query without '=' can
 * arrive there (RFC 3875, section 4.4; CVE-2012-1823).
 */
import { Buffer } from 'node:buffer'
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { contentLength, setVariable } from '../src/environ/environ.ts'
import { ApplicationError } from '../src/errors.ts'
import { DescriptorOutput, descriptorSource, writeLog } from '../src/request/fd-io.ts'
import { ErrorLog } from '../src/request/error-log.ts'
import { emptySource, Input } from '../src/request/input.ts'
import type { Runnable } from '../src/application/to-application.ts'
import type { Environ, InputStream } from '../src/types.ts'
import type { HandlerOptions, MaybePromise } from './base.ts'
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
  #input = new Input(emptySource, 0)
  #left = false

  constructor(options: HandlerOptions = {}) {
    super(
      new Input(emptySource),
      new DescriptorOutput(1),
      new ErrorLog((text) => writeLog(2, text)),
      {},
      { ...options, multiprocess: true },
    )
  }

  /** Resolves when the request is answered; the process then ends by itself. */
  override async run(application: Runnable): Promise<void> {
    // The answer goes to descriptor 1 and nothing else may: `console.log` goes to the log.
    const standardError = { configurable: true, get: () => process.stderr }
    Object.defineProperty(process, 'stdout', standardError)
    // A console that has been used already has kept the stream (Node 20 to 26: `_stdout`).
    Object.defineProperty(console, '_stdout', standardError)
    // What a client calls Proxy must not become the proxy of our own requests (CVE-2016-5385).
    if (process.env['REQUEST_METHOD'] !== undefined) delete process.env['HTTP_PROXY']
    process.on('uncaughtException', (error) => void this.#giveUp(error))
    // Node is about to end. Without an answer that means that nobody will ever call back.
    process.on('beforeExit', () => {
      if (!this.#left) void this.#giveUp(new ApplicationError('The application never answered'))
    })
    try {
      await super.run(application)
      if (this.#input.unread > 0) await discard(this.#input)
    } finally {
      this.#leave()
    }
  }

  override addCgiVars(): void {
    readEnviron(this.environ!)
  }

  /** Without any length there is no body, even if the server leaves stdin open. */
  override getStdin(): InputStream {
    const environ = this.environ!
    // Apache decodes a chunked body, cannot say how long it will be, and closes stdin behind it.
    const chunked = environ['HTTP_TRANSFER_ENCODING'] !== undefined
    const length = contentLength(environ) ?? (chunked ? Infinity : 0)
    if (length > 0) this.#input = new Input(descriptorSource(0), length)
    return this.#input
  }

  override _end(complete: boolean): MaybePromise {
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
 * The environment as byte strings. `process.env` reads it as UTF-8 and puts U+FFFD for what is none;
 * a variable to which that happened is looked up in the kernel's copy, which Linux has in /proc.
 * Elsewhere its bytes are lost.
 */
function readEnviron(environ: Environ): void {
  let kernel: Map<string, string> | null = null
  for (const name in process.env) {
    const value = process.env[name]!
    if (Buffer.byteLength(value) === value.length) {
      setVariable(environ, name, value)
      continue
    }
    const bytes = Buffer.from(value).toString('latin1')
    if (value.includes('\ufffd')) kernel ??= readKernelEnviron()
    setVariable(environ, name, (value.includes('\ufffd') && kernel?.get(name)) || bytes)
  }
}

function readKernelEnviron(): Map<string, string> {
  const environ = new Map<string, string>()
  try {
    for (const entry of readFileSync('/proc/self/environ', 'latin1').split('\0')) {
      const equals = entry.indexOf('=')
      if (equals > 0) environ.set(entry.slice(0, equals), entry.slice(equals + 1))
    }
  } catch {
    // No /proc.
  }
  return environ
}

/**
 * Reads what is left of the body where it comes over a socket: ending with unread bytes in it
 * resets the connection, and Apache's mod_cgid (2.4.71) then breaks the answer off. It sends the
 * whole body before it looks at the answer, so this waits for nothing that it would not wait for.
 */
async function discard(body: Input): Promise<void> {
  try {
    if (!fstatSync(0).isSocket()) return
    const pieces = body.chunks()
    while (!(await pieces.next()).done);
  } catch {
    // Cut short, closed, or still being read by the application: there is nothing to save.
  }
}

/** `os.devNull`, without the tenth of a millisecond that loading node:os takes. */
const NULL_DEVICE = process.platform === 'win32' ? '\\\\.\\nul' : '/dev/null'

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
