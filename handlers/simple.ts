/**
 * `SimpleHandler` and `BaseCGIHandler`: handlers over three streams and an environ that somebody
 * else has made (wsgiref.handlers). From the side of whoever has such streams: a protocol server,
 * a test, a CGI script.
 */
import { Buffer } from 'node:buffer'
import type { Readable } from 'node:stream'
import { asApplication, bridged, frameworkOf } from '../src/application/detect.ts'
import { contentLength, setVariable } from '../src/environ/environ.ts'
import { PeerError } from '../src/errors.ts'
import { Input, streamSource } from '../src/request/input.ts'
import type { Runnable } from '../src/application/to-application.ts'
import type { Application, Chunk, ErrorStream, InputStream } from '../src/types.ts'
import { BaseHandler, type HandlerOptions, type MaybePromise } from './base.ts'

/** Where a SimpleHandler's answer goes: a Node stream will do. */
export interface Output {
  /**
   * Takes bytes. A number says how many of them were taken; the rest is offered again. `false`
   * says, as from a Node stream, that all were taken but no more should come before 'drain'.
   */
  write(bytes: Buffer): unknown
  flush?(): unknown
  /** True where taking a part is the ordinary way; else SimpleHandler warns of it. */
  readonly partialWrites?: boolean
  on?(event: string, listener: (error: Error) => void): unknown
  off?(event: string, listener: (error: Error) => void): unknown
}

/** What a SimpleHandler can be told besides its streams. */
export interface SimpleOptions extends HandlerOptions {
  readonly multithread?: boolean | undefined
}

/** Below this, pieces are copied into one so that they leave in one write. */
const JOIN_LIMIT = 65_536

/** The client is gone: no fault of ours, and nothing to log. */
const GONE = new Set(['EPIPE', 'ECONNRESET', 'ECONNABORTED', 'ERR_STREAM_DESTROYED'])

/** Runs an application for one request between the streams it is given. */
export class SimpleHandler extends BaseHandler {
  readonly stdin: InputStream | Readable
  readonly stdout: Output
  readonly stderr: ErrorStream
  readonly baseEnv: Readonly<Record<string, unknown>>
  /** Byte strings and bytes, in the order in which they are sent. */
  #pieces: (string | Buffer)[] = []
  /** What is being written of them, from `#next` on. */
  #queue: Buffer[] = []
  #next = 0
  /** Something has been written since the output was flushed. */
  #unflushed = false
  /** While the output is slower than the application: resolves when all is written. */
  #writing: Promise<void> | null = null
  /** Ends the wait for 'drain'. */
  #wake: (() => void) | null = null
  #gone = false

  constructor(
    stdin: InputStream | Readable,
    stdout: Output,
    stderr: ErrorStream,
    environ: Readonly<Record<string, unknown>>,
    options: SimpleOptions = {},
  ) {
    super(options)
    this.stdin = stdin
    this.stdout = stdout
    this.stderr = stderr
    this.baseEnv = environ
    this.wsgiMultithread = options.multithread ?? false
  }

  override async run(application: Runnable): Promise<void> {
    const deaf = this.stdout.on ? this.#listen() : undefined
    try {
      const framework = frameworkOf(application)
      const own = framework
        ? bridged(application, framework)
        : asApplication(application as Application)
      await super.run(typeof own === 'function' ? own : await own)
    } finally {
      deaf?.()
    }
  }

  /** Hears what becomes of a Node stream, until the function that it returns is called. */
  #listen(): () => void {
    const { stdout } = this
    const listeners: [string, (error: Error) => void][] = [
      ['drain', () => this.#wake?.()],
      ['close', () => this.abort()],
      ['error', (error) => this.#lose(error)],
    ]
    keepFromThrowing(stdout)
    for (const listener of listeners) stdout.on?.(...listener)
    return () => {
      for (const listener of listeners) stdout.off?.(...listener)
    }
  }

  /** Drops what has not been written, too. */
  override abort(reason?: Error): void {
    this.#gone = true
    this.#clear()
    super.abort(reason)
    this.#wake?.()
  }

  #lose(error: Error): void {
    if (isLoss(error)) {
      this.abort(lossOf(error))
    } else {
      this.logException(error)
      this.abort()
    }
  }

  override getStdin(): InputStream {
    const { stdin } = this
    return 'readline' in stdin
      ? stdin
      : new Input(streamSource(stdin), contentLength(this.environ!))
  }

  override getStderr(): ErrorStream {
    return this.stderr
  }

  override addCgiVars(): void {
    const environ = this.environ!
    for (const [name, value] of Object.entries(this.baseEnv)) {
      if (typeof value === 'string' && !name.includes('.')) setVariable(environ, name, value)
      else (environ as Record<string, unknown>)[name] = value
    }
  }

  override _writeHead(head: string): void {
    this.#pieces.push(head)
  }

  override _write(chunk: Chunk): void {
    if (typeof chunk !== 'string') {
      this.#pieces.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
    } else {
      // ASCII is the same as a byte string, and stays one: strings are cheaper to join.
      this.#pieces.push(Buffer.byteLength(chunk) === chunk.length ? chunk : Buffer.from(chunk))
    }
  }

  override _flush(): MaybePromise {
    if (this.#writing) return this.#writing
    const wait = this.#writeSome()
    if (wait) return (this.#writing = this.#writeRest(wait))
  }

  /** Writes for as long as the output takes it at once; a promise where it asks for time. */
  #writeSome(): Promise<unknown> | undefined {
    try {
      for (let piece; (piece = this.#peek());) {
        const taken = this.stdout.write(piece)
        if (taken instanceof Promise) {
          return taken.then(
            (count) => this.#took(piece, count),
            (error: unknown) => this.#break(error),
          )
        }
        this.#took(piece, taken)
        if (taken === false && this.stdout.on && !this.#gone) {
          return new Promise<void>((resolve) => (this.#wake = resolve))
        }
      }
      if (!this.#unflushed) return undefined
      this.#unflushed = false
      const flushed = this.stdout.flush?.()
      return flushed instanceof Promise
        ? flushed.catch((error: unknown) => this.#break(error))
        : undefined
    } catch (error) {
      return this.#break(error)
    }
  }

  /** The rest, and what is added to it meanwhile: one writer at a time keeps the order. */
  async #writeRest(first: Promise<unknown>): Promise<void> {
    try {
      for (let wait: typeof first | undefined = first; wait; wait = this.#writeSome()) await wait
    } finally {
      this.#writing = null
    }
  }

  /** The piece that is to be written next. */
  #peek(): Buffer | undefined {
    if (this.#next === this.#queue.length) {
      this.#queue = this.#pieces.length === 0 ? [] : joinPieces(this.#pieces)
      this.#pieces = []
      this.#next = 0
    }
    return this.#queue[this.#next]
  }

  #took(piece: Buffer, taken: unknown): void {
    this.#unflushed = true
    if (this.#queue[this.#next] !== piece) return // Dropped meanwhile.
    if (typeof taken !== 'number' || taken >= piece.length) {
      this.#next += 1
    } else {
      warnOfPartialWrites(this.stdout)
      this.#queue[this.#next] = piece.subarray(taken)
    }
  }

  #break(error: unknown): never {
    this.#clear()
    throw isLoss(error) ? lossOf(error) : error
  }

  #clear(): void {
    this.#pieces = []
    this.#queue = []
    this.#next = 0
  }
}

/** The pieces as bytes, and as one if they are small. */
function joinPieces(pieces: readonly (string | Buffer)[]): Buffer[] {
  if (pieces.every((piece) => typeof piece === 'string')) {
    return [Buffer.from(pieces.join(''), 'latin1')]
  }
  const buffers = pieces.map((piece) =>
    typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece,
  )
  const size = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
  return buffers.length > 1 && size <= JOIN_LIMIT ? [Buffer.concat(buffers)] : buffers
}

function isLoss(error: unknown): error is NodeJS.ErrnoException {
  return GONE.has((error as NodeJS.ErrnoException | null)?.code ?? '')
}

/** Makes the loss of the client recognisable to `BaseHandler.fail`, which is silent about it. */
function lossOf(error: NodeJS.ErrnoException): PeerError {
  return new PeerError('PORTICO_DISCONNECTED', `The client went away (${error.code})`)
}

const kept = new WeakSet<Output>()

/** A stream may fail after the answer as well, and ends the process if nobody listens. */
function keepFromThrowing(output: Output): void {
  if (kept.has(output)) return
  kept.add(output)
  output.on?.('error', () => {})
}

const warned = new WeakSet<Output>()

function warnOfPartialWrites(output: Output): void {
  if (output.partialWrites || warned.has(output)) return
  warned.add(output)
  process.emitWarning('SimpleHandler.stdout.write() should not do partial writes', {
    type: 'DeprecationWarning',
    code: 'PORTICO_PARTIAL_WRITE',
  })
}

/** The same for gateways whose answer begins with `Status:` instead of an HTTP status line. */
export class BaseCGIHandler extends SimpleHandler {
  override originServer = false
}
