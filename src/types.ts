/**
 * The contract between gateways and applications: PEP 3333 for an asynchronous language. Types
 * only: importing this file costs nothing at run time.
 */
import type { Buffer } from 'node:buffer'
import type { FileHandle } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import type { Gateway } from './gateways.ts'

/** A `T`, or a promise of one if the caller has to wait. */
export type MaybePromise<T = void> = T | Promise<T>

/** Part of a body. A string is sent as UTF-8. */
export type Chunk = Uint8Array | string

/** What an application returns. The handler calls `close()`, if there is one, exactly once. */
export type Body = (Iterable<Chunk> | AsyncIterable<Chunk>) & { close?: () => unknown }

/** Sends a chunk. Resolves when the client can take more. */
export type Write = (chunk: Chunk) => Promise<void>

/** Headers as an array of pairs, in the order in which they are sent. */
export type HeaderList = [name: string, value: string][]

/** What `startResponse` accepts: an array of pairs, a `Headers` object, a `Map`, a generator. */
export type HeaderPairs = Iterable<readonly [name: string, value: string]>

/**
 * Sets the status (`'200 OK'`) and the headers. Nothing is sent before the first chunk.
 *
 * A second call needs `error`. Before the head is sent, it replaces the head; afterwards it throws
 * `error` (PEP 3333, "The start_response() Callable").
 */
export type StartResponse = (status: string, headers: HeaderPairs, error?: unknown) => Write

/** An application for every gateway: a function or a generator function, sync or async. */
export type Application = (environ: Environ, startResponse: StartResponse) => Body | Promise<Body>

/** An application as a class: the handler constructs it for each request and iterates it. */
export type ApplicationClass = new (environ: Environ, startResponse: StartResponse) => Body

/** `wsgi.input`: the request body, at most CONTENT_LENGTH bytes. An empty Buffer is the end. */
export interface InputStream extends AsyncIterable<Buffer> {
  /** Resolves to `size` bytes, fewer only at the end. Without `size`: all that is left. */
  read(size?: number): Promise<Buffer>
  /** Resolves to one line including its `\n`, or to its first `size` bytes if it is longer. */
  readline(size?: number): Promise<Buffer>
  /** Resolves to the remaining lines; stops after the line that passes `hint` bytes. */
  readlines(hint?: number): Promise<Buffer[]>
  /** Iterates the chunks as they arrive, without copying. */
  chunks(): AsyncIterableIterator<Buffer>
  /** The body as a Node stream. */
  stream(): Readable
}

/** `wsgi.errors`: the server's log. */
export interface ErrorStream {
  write(text: string): void
  writelines(lines: Iterable<string>): void
  flush(): void
}

/** A file with `read(size)`, as in Python; an empty result, null or undefined is the end. */
export interface FileLike {
  read(size: number): MaybePromise<Chunk | null | undefined>
  close?(): unknown
}

/** What `wsgi.file_wrapper` can send. */
export type FileSource = FileHandle | Readable | FileLike

export interface FileWrapperOptions {
  /** Bytes per read, 64 KiB by default; a Readable has its own `highWaterMark` instead. */
  blockSize?: number
  /** The first byte to send. Without it, a FileHandle is read from its current position. */
  start?: number
  /** The most bytes to send. Without it, everything up to the end. */
  length?: number
  /** The path of the file, if a web server may open it itself (X-Sendfile). */
  path?: string
}

/** `wsgi.file_wrapper`. */
export type FileWrapperConstructor = new (
  source: FileSource,
  options?: FileWrapperOptions,
) => AsyncIterable<Chunk> & { close?: () => unknown }

/** Portico's own gateways. */
export type { Gateway }

/**
 * The request: CGI variables (RFC 3875, section 4.1) and the keys of PEP 3333.
 *
 * A null-prototype object, fresh for each request. CGI values are byte strings: one character
 * (U+0000 to U+00FF) per byte; `decodeText` reads one as UTF-8.
 */
export interface Environ {
  REQUEST_METHOD: string
  /** The mount point: '' or '/…', never '/'. */
  SCRIPT_NAME: string
  /** The path below the mount point: '' or '/…', percent-decoded once. */
  PATH_INFO: string
  /** As the client sent it, not decoded; '' without a query. */
  QUERY_STRING: string
  SERVER_NAME: string
  SERVER_PORT: string
  SERVER_PROTOCOL: string
  'wsgi.version': readonly [number, number]
  'wsgi.url_scheme': string
  'wsgi.input': InputStream
  'wsgi.errors': ErrorStream
  'wsgi.multithread': boolean
  'wsgi.multiprocess': boolean
  'wsgi.run_once': boolean
  /** True if `wsgi.input` has an end even without CONTENT_LENGTH. */
  'wsgi.input_terminated': boolean
  /** Makes a response body from an open file. A handler may omit it (PEP 3333). */
  'wsgi.file_wrapper'?: FileWrapperConstructor
  /**
   * Aborts when the client disconnects or the server gives up. An accessor of the prototype creates
   * it on first use: `copyEnviron` keeps it, `{ ...environ }` does not.
   */
  readonly 'portico.signal': AbortSignal
  /** A gateway that is not Portico's has a name of its own. */
  'portico.gateway': Gateway | (string & {})
  /** Any other CGI variable. */
  [variable: Uppercase<string>]: string | undefined
  [key: string]: unknown
}
