/**
 * The contract between gateways and applications: PEP 3333 for an asynchronous language.
 *
 * Seen from both sides: an application is written against these types, a handler keeps their
 * promises. The file holds types only; importing it costs nothing at run time.
 */
import type { Buffer } from 'node:buffer'
import type { Readable } from 'node:stream'

/** A piece of a body. A string is sent as UTF-8. */
export type Chunk = Uint8Array | string

/** What an application returns. `close()`, if there is one, is called exactly once. */
export type Body = (Iterable<Chunk> | AsyncIterable<Chunk>) & { close?: () => unknown }

/** Sends a chunk; resolves when what waits to be sent is below the high-water mark. */
export type Write = (chunk: Chunk) => Promise<void>

/** A header list: pairs of name and value, in the order in which they are sent. */
export type HeaderList = [name: string, value: string][]

/**
 * Announces status (`'200 OK'`) and headers. Nothing is sent before the first chunk.
 *
 * A second call needs `error`: before the head is sent it replaces the head, afterwards it throws
 * `error` (PEP 3333, "The start_response() Callable").
 */
export type StartResponse = (status: string, headers: HeaderList, error?: unknown) => Write

/** One application for every gateway: a function, a generator function, sync or async. */
export type Application = (environ: Environ, startResponse: StartResponse) => Body | Promise<Body>

/** The same as a class: constructed for each request, then iterated. */
export type ApplicationClass = new (environ: Environ, startResponse: StartResponse) => Body

/** `wsgi.input`: the request's body, at most CONTENT_LENGTH bytes of it. EOF is an empty Buffer. */
export interface InputStream extends AsyncIterable<Buffer> {
  /** Resolves to `size` bytes, fewer only at the end; to everything left without `size`. */
  read(size?: number): Promise<Buffer>
  /** Resolves to one line with its `\n`, or to `size` bytes of it if it is longer. */
  readline(size?: number): Promise<Buffer>
  /** Resolves to the lines left; stops after the line that passes `hint` bytes. */
  readlines(hint?: number): Promise<Buffer[]>
  /** The bytes in the pieces in which they come, none of them copied. */
  chunks(): AsyncIterableIterator<Buffer>
  /** The same as a Node stream. */
  stream(): Readable
}

/** `wsgi.errors`: text for whoever runs the server. */
export interface ErrorStream {
  write(text: string): void
  writelines(lines: Iterable<string>): void
  flush(): void
}

/** Portico's own gateways. */
export type Gateway = 'cgi' | 'fastcgi' | 'scgi' | 'http'

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
  /** Raw; '' if there is none. */
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
  /** True where `wsgi.input` ends by itself even without CONTENT_LENGTH. */
  'wsgi.input_terminated': boolean
  /**
   * Aborted when the client goes away or the server gives up. Made when first asked for, by the
   * prototype: `copyEnviron` copies it, `{ ...environ }` does not.
   */
  readonly 'portico.signal': AbortSignal
  /** A gateway that is not Portico's has a name of its own. */
  'portico.gateway': Gateway | (string & {})
  /** Any other CGI variable. */
  [variable: Uppercase<string>]: string | undefined
  [key: string]: unknown
}
