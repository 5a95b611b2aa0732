/**
 * `wsgiref.util` for applications and handlers: a file as a body, URIs from an environ, the path
 * shifted segment by segment, an environ for tests, and hop-by-hop headers.
 *
 * A CGI script pays for what it loads on every request: no stream or file module is imported here,
 * though streams and files are taken. All functions take any object that has the keys they read.
 */
import type { Buffer as NodeBuffer } from 'node:buffer'
import type { FileHandle } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { ErrorLog } from '../request/error-log.ts'
import { ApplicationError } from '../errors.ts'
import { emptySource, Input } from '../request/input.ts'
import { percentEncode } from '../text.ts'
import type { Chunk, Environ } from '../types.ts'

/**
 * Bytes per read. wsgiref has 8192, which costs a thread-pool round trip per 8 KiB here; 64 KiB is
 * what Node's own file streams read at once, and a little more than one FastCGI record carries.
 */
export const DEFAULT_BLOCK_SIZE = 64 * 1024

/** Shared by the ESM and the CommonJS build, whose classes differ. */
const FILE_WRAPPER = Symbol.for('portico.FileWrapper')

/** Anything with `read(size)`, as Python's files have; an empty result or none is the end. */
export interface FileLike {
  read(size: number): Chunk | null | undefined | Promise<Chunk | null | undefined>
  close?(): unknown
}

/** What a FileWrapper can send. */
export type FileSource = FileHandle | Readable | FileLike

export interface FileWrapperOptions {
  /** Bytes per read; a Readable has its own `highWaterMark` instead. */
  blockSize?: number
  /** The first byte to send. Without it a FileHandle is read from where it stands. */
  start?: number
  /** How many bytes to send at most. Without it everything up to the end. */
  length?: number
  /** Where the file lies, if a server may open it by itself (X-Sendfile). */
  path?: string
}

/**
 * A file as a response body (`wsgi.file_wrapper` of PEP 3333).
 *
 * Iterated it reads block by block. A server that can do better looks at `fd` or `path`, `start`
 * and `length`. Exhausting it does not close the file; `close()` does, and exists only if the
 * source has a way to be closed (for a Readable that is `destroy()`).
 */
export class FileWrapper implements AsyncIterable<Chunk> {
  readonly [FILE_WRAPPER] = true
  readonly source: FileSource
  readonly blockSize: number
  readonly start: number | undefined
  readonly length: number | undefined
  /** The path of the whole file that `start` and `length` count in, where it is known. */
  readonly path: string | undefined
  declare readonly close?: () => unknown

  /** Throws ApplicationError if `source` cannot be read or a number is not usable. */
  constructor(source: FileSource, options: FileWrapperOptions = {}) {
    if (typeof source?.read !== 'function') {
      throw new ApplicationError('FileWrapper: a file has read(size), this source has not')
    }
    this.source = source
    this.blockSize = wholeNumber('blockSize', options.blockSize ?? DEFAULT_BLOCK_SIZE, 1)
    this.start = options.start === undefined ? undefined : wholeNumber('start', options.start, 0)
    this.length =
      options.length === undefined ? undefined : wholeNumber('length', options.length, 0)
    this.path = options.path ?? (isReadable(source) ? wholeFilePath(source) : undefined)
    if (isReadable(source)) {
      // A file that cannot be opened says so before anybody iterates; the iterator will tell.
      source.on('error', () => {})
      this.close = () => void source.destroy()
    } else if (typeof source.close === 'function') {
      this.close = () => source.close?.()
    }
  }

  /** The descriptor of a FileHandle. A Readable's is not given: it may have read ahead. */
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

  async *#readHandle(handle: FileHandle): AsyncGenerator<NodeBuffer, void, undefined> {
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

  /** Asks for no byte behind the range, so that what follows stays in the file. */
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

/** The `length` bytes behind the first `start`; chunks are passed on whole where nothing is cut. */
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
    const piece = bytes.subarray(skip, skip + left)
    skip -= Math.min(skip, bytes.byteLength)
    left -= piece.byteLength
    if (piece.byteLength > 0) yield piece
    if (left === 0) return
  }
}

function wholeNumber(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value
  throw new ApplicationError(`FileWrapper: ${name} is a whole number from ${least}, not ${value}`)
}

function isReadable(source: FileSource): source is Readable {
  return 'pipe' in source && 'destroy' in source && typeof source.destroy === 'function'
}

function isFileHandle(source: FileSource): source is FileHandle {
  return 'fd' in source && typeof source.fd === 'number' && 'stat' in source
}

/** `fs.ReadStream#path`, unless the stream has a range of its own, or a descriptor and no path. */
function wholeFilePath(stream: Readable & { path?: unknown; start?: unknown; end?: unknown }) {
  const whole = !stream.start && (stream.end === undefined || stream.end === Infinity)
  return whole && typeof stream.path === 'string' && stream.path !== '' ? stream.path : undefined
}

/** 'https' if the web server set HTTPS to on, yes or 1 (IIS and Apache differ in case). */
export function guessScheme(environ: Partial<Environ>): 'http' | 'https' {
  const https = environ['HTTPS']
  return https && /^(?:on|yes|1)$/i.test(https) ? 'https' : 'http'
}

/**
 * The application's base URI, without PATH_INFO and query (PEP 3333, "URL Reconstruction").
 *
 * The client chooses HTTP_HOST; one that is no `host[:port]` is passed over for SERVER_NAME.
 * Throws ApplicationError if SCRIPT_NAME is not a byte string.
 */
export function applicationUri(environ: Partial<Environ>): string {
  const scheme = environ['wsgi.url_scheme'] ?? guessScheme(environ)
  return `${scheme}://${authority(environ, scheme)}${quote('SCRIPT_NAME', environ.SCRIPT_NAME || '/')}`
}

/** The request's URI, with its query unless `includeQuery` is false. Throws as applicationUri. */
export function requestUri(environ: Partial<Environ>, includeQuery = true): string {
  const path = quote('PATH_INFO', environ.PATH_INFO ?? '')
  const query = includeQuery && environ.QUERY_STRING ? `?${environ.QUERY_STRING}` : ''
  // Without SCRIPT_NAME the base already ends in the slash that PATH_INFO begins with.
  return applicationUri(environ) + (environ.SCRIPT_NAME ? path : path.replace(/^\//, '')) + query
}

const HOST = /^(?:\[[\da-f:.]+\]|[\w.~%-]+)(?::\d{1,5})?$/i

function authority(environ: Partial<Environ>, scheme: string): string {
  const host = environ['HTTP_HOST']
  if (host && HOST.test(host)) return host
  const name = environ.SERVER_NAME || 'localhost'
  const port = environ.SERVER_PORT
  // nginx's $server_addr and others give an IPv6 address without the brackets of RFC 3875.
  const bracketed = name.includes(':') && !name.startsWith('[') ? `[${name}]` : name
  const usual = !port || port === (scheme === 'https' ? '443' : '80')
  return usual ? bracketed : `${bracketed}:${port}`
}

/** Percent-encodes a byte string, save what a path may hold as it is. */
function quote(name: string, path: string): string {
  // oxlint-disable-next-line no-control-regex
  const [character] = /[^\x00-\xff]/.exec(path) ?? []
  if (character) throw new ApplicationError(`${name} must hold bytes, not "${character}"`)
  return percentEncode(path, /[^\w.~/;=,-]/g)
}

/**
 * Moves one segment from PATH_INFO to the end of SCRIPT_NAME, in place, and returns it: null when
 * there is none left. Empty and '.' segments are passed over, '..' takes one away from SCRIPT_NAME.
 *
 * The last slash of a path is a segment '' of its own, and leaves SCRIPT_NAME with a slash at its
 * end, so that '/x' and '/x/' can be told apart.
 */
export function shiftPathInfo(environ: Partial<Environ>): string | null {
  if (!environ.PATH_INFO) return null
  const segments = environ.PATH_INFO.replace(/^\//, '').split('/')
  // The last one counts even if it is empty.
  const kept = segments.filter(
    (part, i) => i === segments.length - 1 || (part !== '' && part !== '.'),
  )
  const [name = '', ...rest] = kept
  const script: string[] = []
  for (const part of [...(environ.SCRIPT_NAME ?? '').split('/'), name]) {
    if (part === '..') script.pop()
    else if (part && part !== '.') script.push(part)
  }
  environ.SCRIPT_NAME = script.map((part) => `/${part}`).join('') + (name === '' ? '/' : '')
  environ.PATH_INFO = rest.map((part) => `/${part}`).join('')
  return name === '.' ? null : name
}

/**
 * Fills in what a request has at least, in place, and returns the environ. Keys that are there stay.
 * For tests only: the data is made up. `String(environ['wsgi.errors'])` is what was written there.
 */
export function setupTestingDefaults(environ: Partial<Environ>): Environ {
  const mounted = 'SCRIPT_NAME' in environ
  const defaults = (values: Partial<Environ>) => {
    for (const key in values) if (!(key in environ)) environ[key] = values[key]
  }
  defaults({ SERVER_NAME: '127.0.0.1', 'wsgi.url_scheme': guessScheme(environ) })
  defaults({
    REQUEST_METHOD: 'GET',
    SCRIPT_NAME: '',
    PATH_INFO: mounted ? '' : '/',
    QUERY_STRING: '',
    SERVER_PORT: environ['wsgi.url_scheme'] === 'https' ? '443' : '80',
    SERVER_PROTOCOL: 'HTTP/1.0',
    HTTP_HOST: environ.SERVER_NAME,
    'wsgi.version': [1, 0],
    'wsgi.input': new Input(emptySource),
    'wsgi.errors': new MemoryErrors(),
    'wsgi.multithread': false,
    'wsgi.multiprocess': false,
    'wsgi.run_once': false,
    'wsgi.input_terminated': true,
    'wsgi.file_wrapper': FileWrapper,
    'portico.signal': new AbortController().signal,
    'portico.gateway': 'http',
  })
  return environ as Environ
}

/** An error stream that keeps what it is given. */
class MemoryErrors extends ErrorLog {
  #text = ''

  constructor() {
    super((text) => {
      this.#text += text
    })
  }

  override toString(): string {
    return this.#text
  }
}

/** RFC 2616, section 13.5.1, with its 'Trailers': the names that wsgiref refuses. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailers',
  'transfer-encoding',
  'upgrade',
])

/**
 * One bit per length that occurs above. It runs for every header of every response, and most names
 * need no lower case to be told apart; a length over 31 wraps around and is only looked up in vain.
 */
const HOP_BY_HOP_LENGTHS = [...HOP_BY_HOP].reduce((bits, name) => bits | (1 << name.length), 0)

/** Whether a header, in any case, is one that concerns a single connection. */
export function isHopByHop(name: string): boolean {
  return ((HOP_BY_HOP_LENGTHS >>> name.length) & 1) === 1 && HOP_BY_HOP.has(name.toLowerCase())
}
