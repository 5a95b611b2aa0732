/** Files that come with a form: stored on disk, or passed on while they arrive. */
import type { Buffer } from 'node:buffer'
import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, readFile, rename, rm } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { ApplicationError } from '../errors.ts'
import type { Decode } from './charset.ts'
import type { RawFile } from './raw-file.ts'
import type { PartHeaders } from './header.ts'
import type { Pull } from './multipart.ts'

/** What the sender says about a file. None of it is checked. */
export interface FileDescription {
  /** The name of the form's field. */
  readonly name: string
  /**
   * The name on the sender's machine, unchanged: it may contain `/` and `..`, so never use it in a
   * path. '' if no file was chosen (the size is 0 then), or if the part has none.
   */
  readonly filename: string
  /** The media type in lower case, without parameters; text/plain by default. */
  readonly type: string
  readonly headers: PartHeaders
}

function describe(file: RawFile, decode: Decode): FileDescription {
  const { type, headers, decodeName = decode, decodeFilename = decode } = file
  return { name: decodeName(file.name), filename: decodeFilename(file.filename), type, headers }
}

/** A file on disk. It is removed when the form is closed. */
export class UploadedFile implements FileDescription {
  readonly name: string
  readonly filename: string
  readonly type: string
  readonly headers: PartHeaders
  /** In bytes. */
  readonly size: number
  /** Where the file is, with mode 0600. */
  readonly path: string

  constructor(file: RawFile, decode: Decode, size: number, path: string) {
    const { name, filename, type, headers } = describe(file, decode)
    this.name = name
    this.filename = filename
    this.type = type
    this.headers = headers
    this.size = size
    this.path = path
  }

  /** Returns the content as a stream. */
  stream(): Readable {
    return withoutCrash(createReadStream(this.path))
  }

  /** Resolves to the whole content. */
  bytes(): Promise<Buffer> {
    return readFile(this.path)
  }

  /**
   * Moves the file, so that it stays when the form is closed. It replaces a file of that name in one
   * step, also on another file system.
   *
   * @param path the new path. Never make it of `filename`.
   */
  async moveTo(path: string): Promise<void> {
    try {
      await rename(this.path, path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error
      await copyOver(this.path, path)
      await rm(this.path)
    }
  }
}

/** Readers of `target` see the old file or the whole new one. */
async function copyOver(source: string, target: string): Promise<void> {
  const temporary = `${target}.${randomBytes(8).toString('hex')}.tmp`
  try {
    await copyFile(source, temporary)
    await rename(temporary, target)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/**
 * A file that is still arriving. None of it is kept: read it with `for await` or as a stream, at your
 * own speed, which becomes the sender's. It ends when the callback has settled.
 */
export class IncomingFile implements FileDescription, AsyncIterable<Buffer> {
  readonly name: string
  readonly filename: string
  readonly type: string
  readonly headers: PartHeaders
  readonly #pull: Pull
  readonly #streams: Readable[] = []
  #pulling: Promise<unknown> | undefined
  #isOver = false

  constructor(file: RawFile, decode: Decode, pull: Pull) {
    const { name, filename, type, headers } = describe(file, decode)
    this.name = name
    this.filename = filename
    this.type = type
    this.headers = headers
    this.#pull = pull
  }

  /**
   * Iterates the content in the chunks in which it arrives, without a copy.
   *
   * @throws {PeerError} if the client disconnects, or the body is malformed.
   * @throws {ApplicationError} once the callback has settled, because the rest is gone then.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    for (;;) {
      if (this.#isOver) {
        throw new ApplicationError(
          'FieldStorage.parse: a file was read after onFile() had settled; await its end in onFile()',
        )
      }
      const pulling = this.#pull()
      this.#pulling = pulling
      const chunk = await pulling
      if (chunk === undefined) return
      yield chunk
    }
  }

  /** Returns the content as a stream. If the client disconnects, it is destroyed with the error. */
  stream(): Readable {
    const stream = withoutCrash(Readable.from(this, { objectMode: false }))
    this.#streams.push(stream)
    return stream
  }

  /**
   * Waits for `callback`, then closes the file to readers.
   *
   * @throws {ApplicationError} if a stream of the file is still flowing, into a pipe for example: what
   *   it flows into would get a part of the file only.
   */
  async handTo(callback: (file: IncomingFile) => unknown): Promise<void> {
    try {
      await callback(this)
      if (!this.#streams.some((stream) => stream.readableFlowing && !stream.destroyed)) return
      throw new ApplicationError(
        'FieldStorage.parse: onFile() settled while a stream of its file was still flowing; await ' +
          'the end, with pipeline() of node:stream/promises for example',
      )
    } finally {
      this.#isOver = true
      // A stream reads ahead, and the body has one reader at a time.
      await Promise.allSettled([this.#pulling])
    }
  }
}

/** An 'error' event without a listener would end the process; readers learn of the error anyway. */
function withoutCrash(stream: Readable): Readable {
  return stream.on('error', () => {})
}
