/**
 * `FileWrapper`: a file as a response body. A CGI script pays for each module it loads, so no stream
 * or file module is imported here, only their types.
 */
import { Buffer } from 'node:buffer'
import type { FileHandle } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { ApplicationError } from '../errors.ts'
import type { Chunk, FileLike, FileSource, FileWrapperOptions } from '../types.ts'

/**
 * Bytes per read, as in Node's file streams. wsgiref's 8192 would cost a thread-pool round trip for
 * every 8 KiB.
 */
export const DEFAULT_BLOCK_SIZE = 64 * 1024

/** The brand that the ESM and the CommonJS build share; their classes differ. */
const FILE_WRAPPER = Symbol.for('portico.FileWrapper')

/**
 * A file as a response body (`wsgi.file_wrapper` of PEP 3333).
 *
 * Iterating it reads the file block by block. A server that can send files in a faster way uses `fd`
 * or `path`, `start` and `length`. Reaching the end does not close the file. `close()` does; it exists
 * only if the source can be closed (a Readable is destroyed).
 */
export class FileWrapper implements AsyncIterable<Chunk> {
  readonly [FILE_WRAPPER] = true
  readonly source: FileSource
  readonly blockSize: number
  readonly start: number | undefined
  readonly length: number | undefined
  /** The path of the whole file, where it is known; `start` and `length` refer to that file. */
  readonly path: string | undefined
  declare readonly close?: () => unknown

  /**
   * @throws {ApplicationError} PORTICO_INVALID_ARGUMENT if `source` has no `read()`, or an option is
   *   not a whole number in its range.
   */
  constructor(source: FileSource, options: FileWrapperOptions = {}) {
    if (typeof source?.read !== 'function') {
      throw new ApplicationError(
        'FileWrapper: the source must have a read(size) method, as a FileHandle or a Readable has',
        'PORTICO_INVALID_ARGUMENT',
      )
    }
    this.source = source
    this.blockSize = wholeNumber('blockSize', options.blockSize ?? DEFAULT_BLOCK_SIZE, 1)
    this.start = options.start === undefined ? undefined : wholeNumber('start', options.start, 0)
    this.length =
      options.length === undefined ? undefined : wholeNumber('length', options.length, 0)
    this.path = options.path ?? (isReadable(source) ? wholeFilePath(source) : undefined)
    if (isReadable(source)) {
      // A file that cannot be opened emits 'error' before it is iterated; the iterator throws it.
      source.on('error', () => {})
      this.close = () => void source.destroy()
    } else if (typeof source.close === 'function') {
      this.close = () => source.close?.()
    }
  }

  /** The descriptor of a FileHandle; undefined for a Readable, which may have read ahead. */
  get fd(): number | undefined {
    return isFileHandle(this.source) ? this.source.fd : undefined
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Chunk, void, undefined> {
    const { source, start } = this
    if (isReadable(source)) {
      yield* slice(source.iterator({ destroyOnReturn: false }), start ?? 0, this.length)
    } else if (isFileHandle(source)) {
      yield* this.#readHandle(source)
    } else {
      yield* slice(this.#readBlocks(source, start ?? 0), start ?? 0, this.length)
    }
  }

  async *#readHandle(handle: FileHandle): AsyncGenerator<Buffer, void, undefined> {
    let left = this.length ?? Infinity
    let position = this.start ?? null
    while (left > 0) {
      const want = Math.min(this.blockSize, left)
      const block = Buffer.allocUnsafe(want)
      const { bytesRead } = await handle.read(block, 0, want, position)
      if (bytesRead === 0) return
      left -= bytesRead
      if (position !== null) position += bytesRead
      yield bytesRead < want ? block.subarray(0, bytesRead) : block
    }
  }

  /** Reads no byte past the range, so that the file position is then the end of the range. */
  async *#readBlocks(file: FileLike, start: number): AsyncGenerator<Chunk, void, undefined> {
    let left = start + (this.length ?? Infinity)
    while (left > 0) {
      const block = await file.read(Math.min(this.blockSize, left))
      if (block === null || block === undefined || block.length === 0) return
      left -= typeof block === 'string' ? Buffer.byteLength(block) : block.byteLength
      yield block
    }
  }
}

/** Whether `value` is a FileWrapper of this build or of the other one. */
export function isFileWrapper(value: unknown): value is FileWrapper {
  return typeof value === 'object' && value !== null && FILE_WRAPPER in value
}

/** Skips `start` bytes and yields the next `length`; whole chunks are passed on as they are. */
async function* slice(
  chunks: AsyncIterable<Chunk>,
  start: number,
  length: number | undefined,
): AsyncGenerator<Chunk, void, undefined> {
  let skip = start
  let left = length ?? Infinity
  if (left === 0) return
  for await (const chunk of chunks) {
    if (skip === 0 && left === Infinity) {
      yield chunk
      continue
    }
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    const part = bytes.subarray(skip, skip + left)
    skip -= Math.min(skip, bytes.byteLength)
    left -= part.byteLength
    if (part.byteLength > 0) yield part
    if (left === 0) return
  }
}

function wholeNumber(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value
  throw new ApplicationError(
    `FileWrapper: ${name} must be a whole number from ${least}, not ${value}`,
    'PORTICO_INVALID_ARGUMENT',
  )
}

function isReadable(source: FileSource): source is Readable {
  return 'pipe' in source && 'destroy' in source && typeof source.destroy === 'function'
}

function isFileHandle(source: FileSource): source is FileHandle {
  return 'fd' in source && typeof source.fd === 'number' && 'stat' in source
}

/** `fs.ReadStream#path`; undefined if the stream has a range, or a descriptor instead of a path. */
function wholeFilePath(stream: Readable & { path?: unknown; start?: unknown; end?: unknown }) {
  const whole = !stream.start && (stream.end === undefined || stream.end === Infinity)
  return whole && typeof stream.path === 'string' && stream.path !== '' ? stream.path : undefined
}
