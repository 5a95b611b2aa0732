/** Files that come with a form: kept on the disk, or handed over while they come. */
import { Buffer } from 'node:buffer'
import { createReadStream } from 'node:fs'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { ApplicationError } from '../errors.ts'
import type { Decode } from './charset.ts'
import type { RawField } from './field.ts'
import type { PartHeaders } from './header.ts'
import type { Pull } from './multipart.ts'

/** What the sender says of a file. All of it is the sender's word, none of it is checked. */
export interface FileDescription {
  /** The name of the form's field. */
  readonly name: string
  /**
   * The name on the sender's machine, as it came: it may hold `/` and `..`, so never make a path
   * of it. '' if the field was left empty (the size is 0 then).
   */
  readonly filename: string
  /** The media type in lower case, without parameters; text/plain if there is none. */
  readonly type: string
  readonly headers: PartHeaders
}

/** A file on the disk, until the form is closed. */
export class UploadedFile implements FileDescription {
  readonly name: string
  readonly filename: string
  readonly type: string
  readonly headers: PartHeaders
  /** In bytes. */
  readonly size: number
  /** Where it lies, mode 0600. Whoever wants to keep it moves it before the form is closed. */
  readonly path: string

  /** `file` is in bytes. */
  constructor(file: FileDescription, decode: Decode, size: number, path: string) {
    this.name = decode(file.name)
    this.filename = decode(file.filename)
    this.type = file.type
    this.headers = file.headers
    this.size = size
    this.path = path
  }

  /** The content as a stream. */
  stream(): Readable {
    return createReadStream(this.path)
  }

  /** The whole content in memory. */
  bytes(): Promise<Buffer> {
    return readFile(this.path)
  }
}

/**
 * A file that is still coming. Nothing of it is kept: read it by `for await` or as a stream, at
 * your own speed, which becomes the sender's. It is over when the callback has settled.
 */
export class IncomingFile implements FileDescription, AsyncIterable<Buffer> {
  readonly name: string
  readonly filename: string
  readonly type: string
  readonly headers: PartHeaders
  readonly #pull: Pull
  #pulling: Promise<unknown> | undefined
  #isOver = false

  /** `file` is in bytes. */
  constructor(file: FileDescription, decode: Decode, pull: Pull) {
    this.name = decode(file.name)
    this.filename = decode(file.filename)
    this.type = file.type
    this.headers = file.headers
    this.#pull = pull
  }

  /**
   * The content in the pieces in which it comes, none of them copied. Throws what reading the body
   * throws, and an ApplicationError once the callback has settled: the rest is gone then.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    for (;;) {
      if (this.#isOver) {
        throw new ApplicationError('a file was read on after onFile() had settled: await it there')
      }
      const pulling = this.#pull()
      this.#pulling = pulling
      const piece = await pulling
      if (piece === undefined) return
      yield piece
    }
  }

  /** The same as a Node stream. */
  stream(): Readable {
    return Readable.from(this, { objectMode: false })
  }

  /** Waits for `callback`, then closes the file to readers. */
  async handTo(callback: (file: IncomingFile) => unknown): Promise<void> {
    try {
      await callback(this)
    } finally {
      this.#isOver = true
      // A stream reads ahead; the body has one reader at a time.
      await Promise.allSettled([this.#pulling])
    }
  }
}

/** Bytes for the disk at once: each write is a trip to another thread, which a piece is too small for. */
const BLOCK_SIZE = 256 * 1024

/** A folder of its own (mode 0700) for the files of one form, made when the first file comes. */
export class TempFiles {
  readonly #parent: string
  #folder: string | undefined
  #count = 0

  constructor(parent: string = tmpdir()) {
    this.#parent = parent
  }

  async store(file: FileDescription, pull: Pull): Promise<RawField> {
    this.#folder ??= await mkdtemp(join(this.#parent, 'portico-'))
    const path = join(this.#folder, String(this.#count++))
    const handle = await open(path, 'wx', 0o600)
    const block = Buffer.allocUnsafeSlow(BLOCK_SIZE)
    let size = 0
    let used = 0
    try {
      for (let piece = await pull(); piece !== undefined; piece = await pull()) {
        size += piece.length
        for (let rest = piece; rest.length > 0;) {
          const copied = rest.copy(block, used)
          rest = rest.subarray(copied)
          used += copied
          if (used < block.length) continue
          await handle.appendFile(block)
          used = 0
        }
      }
      if (used > 0) await handle.appendFile(block.subarray(0, used))
    } finally {
      await handle.close()
    }
    return {
      name: file.name,
      toField: (decode) => new UploadedFile(file, decode, size, path),
    }
  }

  async remove(): Promise<void> {
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true, force: true })
  }
}
