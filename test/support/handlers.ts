/** A handler whose transport records every byte and call, and helpers for its tests. */
import { Buffer } from 'node:buffer'
import { BaseHandler, type HandlerOptions, type MaybePromise } from '../../handlers/base.ts'
import { setVariable } from '../../src/environ/environ.ts'
import { ErrorLog } from '../../src/request/error-log.ts'
import { bytesSource, Input } from '../../src/request/input.ts'
import type { Application, Chunk, ErrorStream, InputStream } from '../../src/types.ts'

/** Records what BaseHandler hands to its transport. */
export class RecordingHandler extends BaseHandler {
  override originServer = false
  /** Everything sent, a byte string. */
  output = ''
  errors = ''
  /** 'head', 'body', 'flush', 'end' or 'broken', in order. */
  readonly calls: string[] = []
  readonly variables: Readonly<Record<string, string>>
  /** What `_flush` returns. */
  wait: () => MaybePromise = () => {}
  /** What `_end` returns, or throws. */
  last: () => MaybePromise = () => {}

  constructor(variables: Readonly<Record<string, string>> = {}, options?: HandlerOptions) {
    super(options)
    this.variables = variables
  }

  get ends(): number {
    return this.calls.filter((call) => call === 'end' || call === 'broken').length
  }

  /** The body alone. */
  get body(): string {
    return this.output.slice(this.output.indexOf('\r\n\r\n') + 4)
  }

  override _writeHead(head: string): void {
    this.calls.push('head')
    this.output += head
  }

  override _write(chunk: Chunk): void {
    this.calls.push('body')
    this.output += Buffer.from(chunk as string).toString('latin1')
  }

  override _flush(): MaybePromise {
    this.calls.push('flush')
    return this.wait()
  }

  override _end(complete: boolean): MaybePromise {
    this.calls.push(complete ? 'end' : 'broken')
    return this.last()
  }

  override getStdin(): InputStream {
    return new Input(bytesSource(Buffer.alloc(0)))
  }

  override getStderr(): ErrorStream {
    return new ErrorLog((text) => (this.errors += text))
  }

  override addCgiVars(): void {
    for (const name in this.variables) setVariable(this.environ!, name, this.variables[name]!)
  }
}

/** Runs an application for a request with these variables. */
export async function record(
  application: Application,
  variables: Readonly<Record<string, string>> = {},
): Promise<RecordingHandler> {
  const handler = new RecordingHandler(variables)
  await handler.run(application)
  return handler
}

/** A body that counts its close() calls. */
export class CountingBody implements AsyncIterable<Chunk> {
  closed = 0
  readonly chunks: Iterable<Chunk> | AsyncIterable<Chunk>

  constructor(chunks: Iterable<Chunk> | AsyncIterable<Chunk>) {
    this.chunks = chunks
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Chunk> {
    yield* this.chunks
  }

  close(): void {
    this.closed += 1
  }
}

/** A promise and what settles it. */
export function deferred<T = void>() {
  let resolve!: (value: T) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<T>((...both) => {
    ;[resolve, reject] = both
  })
  return { promise, resolve, reject }
}

/** Waits 5 ms, so that pending microtasks, immediates and due timers run. */
export function turns(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5))
}

export const ERROR_PAGE =
  'Status: 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 59\r\n\r\n' +
  'A server error occurred.  Please contact the administrator.'
