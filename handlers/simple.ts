/**
 * `SimpleHandler` and `BaseCGIHandler`: handlers over three streams and an environ that somebody
 * else has made (wsgiref.handlers). From the side of whoever has such streams: a protocol server,
 * a test, a CGI script.
 */
import { Buffer } from 'node:buffer'
import type { Readable } from 'node:stream'
import { asApplication } from '../src/application.ts'
import { setVariable } from '../src/environ.ts'
import { PeerError } from '../src/errors.ts'
import { Input, streamSource } from '../src/input.ts'
import type {
  Application,
  ApplicationClass,
  Chunk,
  ErrorStream,
  InputStream,
} from '../src/types.ts'
import { BaseHandler, type HandlerOptions, type Wait } from './base.ts'

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
  once?(event: string, listener: () => void): unknown
  off?(event: string, listener: () => void): unknown
  on?(event: 'error', listener: (error: Error) => void): unknown
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
  readonly stdin: InputStream
  readonly stdout: Output
  readonly stderr: ErrorStream
  readonly baseEnv: Readonly<Record<string, unknown>>
  /** Byte strings and bytes, in the order in which they are sent. */
  #queue: (string | Buffer)[] = []

  constructor(
    stdin: InputStream | Readable,
    stdout: Output,
    stderr: ErrorStream,
    environ: Readonly<Record<string, unknown>>,
    options: SimpleOptions = {},
  ) {
    super(options)
    this.stdin = 'readline' in stdin ? stdin : new Input(streamSource(stdin))
    this.stdout = stdout
    this.stderr = stderr
    this.baseEnv = environ
    this.wsgiMultithread = options.multithread ?? false
    stdout.on?.('error', (error) => this.abort(error))
  }

  override run(application: Application | ApplicationClass): Promise<void> {
    return super.run(asApplication(application))
  }

  override getStdin(): InputStream {
    return this.stdin
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
    this.#queue.push(head)
  }

  override _write(chunk: Chunk): void {
    if (typeof chunk !== 'string') {
      this.#queue.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
    } else {
      // ASCII is the same as a byte string, and stays one: strings are cheaper to join.
      this.#queue.push(Buffer.byteLength(chunk) === chunk.length ? chunk : Buffer.from(chunk))
    }
  }

  override _flush(): Wait {
    if (this.#queue.length === 0) return
    const pieces = joinPieces(this.#queue)
    this.#queue = []
    return this.#drain(pieces)
  }

  /** Writes the pieces; goes on in another turn where the output asks for time. */
  #drain(pieces: Buffer[], from = 0): Wait {
    try {
      for (let i = from; i < pieces.length; i += 1) {
        for (let piece = pieces[i]!; piece.length > 0;) {
          const taken = this.stdout.write(piece)
          if (taken instanceof Promise) {
            const rest = [piece, ...pieces.slice(i + 1)]
            return taken.then((count) => this.#resume(rest, count), throwLoss)
          }
          if (taken === false && this.stdout.once) {
            return this.#drained().then(() => this.#drain(pieces, i + 1))
          }
          if (typeof taken !== 'number') break
          if (taken < piece.length) warnOfPartialWrites(this.stdout)
          piece = piece.subarray(taken)
        }
      }
      const flushed = this.stdout.flush?.()
      return flushed instanceof Promise ? flushed.then(() => undefined, throwLoss) : undefined
    } catch (error) {
      throwLoss(error)
    }
  }

  #resume(pieces: Buffer[], taken: unknown): Wait {
    if (typeof taken === 'number') pieces[0] = pieces[0]!.subarray(taken)
    return this.#drain(pieces, typeof taken === 'number' ? 0 : 1)
  }

  /** Resolves when the output takes more, or never will. */
  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const { stdout } = this
      const done = () => {
        stdout.off?.('drain', done)
        stdout.off?.('close', done)
        resolve()
      }
      stdout.once!('drain', done)
      stdout.once!('close', done)
    })
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

/** Makes the loss of the client recognisable to `BaseHandler.fail`, which is silent about it. */
function throwLoss(error: unknown): never {
  const code = (error as NodeJS.ErrnoException | null)?.code
  if (code === undefined || !GONE.has(code)) throw error
  throw new PeerError('PORTICO_DISCONNECTED', `The client went away (${code})`)
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
