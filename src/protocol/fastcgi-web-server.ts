/**
 * The web server's side of a FastCGI connection, without a socket: for clients, tools and tests.
 *
 * Methods that send return Buffers to write. Bytes from the application go in, events come out. Each
 * of the two streams of an active request is open until its empty record, and the request is active
 * until END_REQUEST. Unlike a web server, this side is strict: every record that an application must
 * not send is an error.
 */
import { Buffer } from 'node:buffer'
import {
  FCGI_ABORT_REQUEST,
  FCGI_BEGIN_REQUEST,
  FCGI_END_REQUEST,
  FCGI_GET_VALUES,
  FCGI_GET_VALUES_RESULT,
  FCGI_KEEP_CONN,
  FCGI_NULL_REQUEST_ID,
  FCGI_PARAMS,
  FCGI_RESPONDER,
  FCGI_STDERR,
  FCGI_STDIN,
  FCGI_STDOUT,
  FCGI_UNKNOWN_TYPE,
  MAX_CONTENT,
  encodeRecord,
  encodeStream,
} from './fastcgi.ts'
import { decodePairs, encodePairs } from './fastcgi-pairs.ts'
import { RecordReader } from './fastcgi-records.ts'
import { buffersOf } from './part.ts'

export type WebServerEvent =
  /** A chunk of the response or of the error log, a view of the memory in which it arrived. */
  | { readonly type: 'stdout' | 'stderr'; readonly id: number; readonly data: Buffer }
  | { readonly type: 'stdout-end' | 'stderr-end'; readonly id: number }
  /** END_REQUEST: the id is free again. */
  | {
      readonly type: 'end'
      readonly id: number
      readonly appStatus: number
      readonly protocolStatus: number
    }
  /** GET_VALUES_RESULT: `[name, value, name, value …]`. */
  | { readonly type: 'values'; readonly values: string[] }
  /** The application does not know records of this type. */
  | { readonly type: 'unknown-type'; readonly recordType: number }
  /** The last event of all: the application broke the protocol, or left requests without a response. */
  | { readonly type: 'error'; readonly message: string }

interface OpenStreams {
  stdout: boolean
  stderr: boolean
}

export class WebServerConnection {
  readonly #reader = new RecordReader()
  readonly #requests = new Map<number, OpenStreams>()
  #eof = false
  #finished = false

  /** The ids between BEGIN_REQUEST and END_REQUEST. */
  get active(): number[] {
    return [...this.#requests.keys()]
  }

  /** BEGIN_REQUEST (section 5.1). `id` is 1 to 65,535 and not active. */
  begin(id: number, role = FCGI_RESPONDER, keepConn = false): Buffer {
    if (!Number.isInteger(id) || id < 1 || id > 0xffff) {
      throw new RangeError(`A FastCGI request cannot have the id ${id}`)
    }
    if (this.#requests.has(id)) throw new Error(`FastCGI request ${id} is active already`)
    this.#requests.set(id, { stdout: true, stderr: true })
    const flags = keepConn ? FCGI_KEEP_CONN : 0
    const content = Buffer.from([role >>> 8, role & 0xff, flags, 0, 0, 0, 0, 0])
    return encodeRecord(FCGI_BEGIN_REQUEST, id, content)
  }

  /** The whole PARAMS stream (section 5.2) with its end; names and values are byte strings. */
  params(id: number, pairs: Iterable<readonly [name: string, value: string]>): Buffer[] {
    return [
      ...buffersOf(encodeStream(FCGI_PARAMS, id, [encodePairs(pairs)])),
      encodeRecord(FCGI_PARAMS, id),
    ]
  }

  /** A chunk of the body (see `encodeStream`). An empty one sends nothing. */
  stdin(id: number, bytes: Buffer): Buffer[] {
    return buffersOf(encodeStream(FCGI_STDIN, id, [bytes]))
  }

  endStdin(id: number): Buffer {
    return encodeRecord(FCGI_STDIN, id)
  }

  /** ABORT_REQUEST (section 5.4); the application still sends END_REQUEST. */
  abort(id: number): Buffer {
    return encodeRecord(FCGI_ABORT_REQUEST, id)
  }

  /** GET_VALUES (section 4.1). */
  getValues(names: Iterable<string>): Buffer {
    const pairs = Array.from(names, (name): [string, string] => [name, ''])
    return encodeRecord(FCGI_GET_VALUES, FCGI_NULL_REQUEST_ID, encodePairs(pairs))
  }

  receive(chunk: Buffer): void {
    if (!this.#finished) this.#reader.receive(chunk)
  }

  /** The application closed the connection: an error if a request is active. */
  receiveEof(): void {
    this.#eof = true
  }

  next(): WebServerEvent | null {
    while (!this.#finished && this.#reader.read()) {
      const event = this.#handleRecord()
      if (event !== null) return event
    }
    if (this.#finished) return null
    if (this.#reader.fault !== null) return this.#fail(this.#reader.fault)
    if (!this.#eof) return null
    if (this.#reader.insideRecord) return this.#fail('The connection ended inside a record')
    if (this.#requests.size > 0) return this.#fail('The connection ended without END_REQUEST')
    this.#finished = true
    return null
  }

  #handleRecord(): WebServerEvent | null {
    const { type, id } = this.#reader
    if (id === FCGI_NULL_REQUEST_ID) return this.#handleManagement(type)
    const streams = this.#requests.get(id)
    if (streams === undefined) return null
    if (type === FCGI_STDOUT) return this.#handleStream(id, streams, 'stdout')
    if (type === FCGI_STDERR) return this.#handleStream(id, streams, 'stderr')
    if (type === FCGI_END_REQUEST) return this.#handleEnd(id)
    return this.#fail(`Record of type ${type} for request ${id}`)
  }

  #handleStream(id: number, streams: OpenStreams, name: 'stdout' | 'stderr'): WebServerEvent {
    if (!streams[name]) return this.#fail(`Record after the end of ${name} of request ${id}`)
    const { bytes, start, end } = this.#reader
    if (start < end) return { type: name, id, data: bytes.subarray(start, end) }
    streams[name] = false
    return { type: `${name}-end`, id }
  }

  #handleEnd(id: number): WebServerEvent {
    const { bytes, start, end } = this.#reader
    if (end - start !== 8) return this.#fail(`END_REQUEST of ${end - start} bytes`)
    this.#requests.delete(id)
    return {
      type: 'end',
      id,
      appStatus: bytes.readUInt32BE(start),
      protocolStatus: bytes[start + 4]!,
    }
  }

  #handleManagement(type: number): WebServerEvent {
    const { bytes, start, end } = this.#reader
    if (type === FCGI_UNKNOWN_TYPE && end - start === 8) {
      return { type: 'unknown-type', recordType: bytes[start]! }
    }
    if (type === FCGI_GET_VALUES_RESULT) {
      const values = decodePairs(bytes.subarray(start, end), MAX_CONTENT)
      if (typeof values !== 'string') return { type: 'values', values }
    }
    return this.#fail(`Management record of type ${type} and ${end - start} bytes`)
  }

  #fail(message: string): WebServerEvent {
    this.#finished = true
    return { type: 'error', message }
  }
}
