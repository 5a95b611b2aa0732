/**
 * `SimpleHandler` and `BaseCGIHandler`: handlers over three streams and a given environ
 * (wsgiref.handlers), for protocol servers, tests and CGI scripts.
 */
import type { Readable } from 'node:stream'
import { asApplication, frameworkOf } from '../src/application/detect.ts'
import { refuseLineBreaks, contentLength, setVariable } from '../src/environ/environ.ts'
import { Input, streamSource } from '../src/request/input.ts'
import { publishRequests } from '../src/request/trace.ts'
import { disconnection, type Output, OutputWriter } from '../src/response/output-writer.ts'
import { loadedDiagnostics } from '../src/node-internals/loaded-modules.ts'
import { bridged, type Runnable } from '../src/application/to-application.ts'
import type { Application, Chunk, ErrorStream, InputStream } from '../src/types.ts'
import { BaseHandler, type HandlerOptions, type MaybePromise } from './base.ts'

export type { Output }

export interface SimpleOptions extends HandlerOptions {
  readonly multithread?: boolean | undefined
}

/** Runs an application for one request, over the streams that it is given. */
export class SimpleHandler extends BaseHandler {
  readonly stdin: InputStream | Readable
  readonly stdout: Output
  readonly stderr: ErrorStream
  readonly baseEnv: Readonly<Record<string, unknown>>
  readonly #writer: OutputWriter

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
    this.#writer = new OutputWriter(stdout)
  }

  override async run(application: Runnable): Promise<void> {
    publishRequests(loadedDiagnostics())
    const stopListening = this.#writer.listen(
      () => this.abort(),
      (error) => this.#outputFailed(error),
    )
    try {
      const framework = frameworkOf(application)
      const app = framework
        ? bridged(application, framework)
        : asApplication(application as Application)
      await super.run(typeof app === 'function' ? app : await app)
    } finally {
      stopListening?.()
    }
  }

  /** Also discards what has not been written. */
  override abort(reason?: Error): void {
    this.#writer.drop()
    super.abort(reason)
  }

  #outputFailed(error: Error): void {
    const gone = disconnection(error)
    if (!gone) this.logException(error)
    this.abort(gone)
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
    refuseLineBreaks(environ)
  }

  override _writeHead(head: string): void {
    this.#writer.addHead(head)
  }

  override _write(chunk: Chunk): void {
    this.#writer.addChunk(chunk)
  }

  override _flush(): MaybePromise {
    return this.#writer.flush()
  }
}

/** A SimpleHandler whose response begins with `Status:` instead of an HTTP status line. */
export class BaseCGIHandler extends SimpleHandler {
  override originServer = false
}
