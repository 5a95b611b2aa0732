/** Reads HTTP/1.x responses from a socket, strictly (RFC 9112). */
import type { Buffer } from 'node:buffer'
import { HEADER_LINE, LENGTH } from '../text.ts'
import type { HeaderList } from '../types.ts'
import type { HttpHead } from './http-message.ts'
import { malformed, type SocketReader } from './socket-reader.ts'

/** Bytes of a line with the size of a chunk, extensions included. */
const MAX_CHUNK_LINE = 4096

/** RFC 9112, section 4. The reason may be empty, and some servers omit the space before it. */
const STATUS_LINE = /^HTTP\/(\d\.\d) ([1-9]\d\d)(?: ([\t -~\x80-\xff]*))?$/

const CHUNK_LINE = /^([0-9A-Fa-f]{1,13})[\t ]*(?:;.*)?$/

export class HttpResponseReader {
  readonly #reader: SocketReader
  readonly #maxTrailers: number

  constructor(reader: SocketReader, maxTrailers: number) {
    this.#reader = reader
    this.#maxTrailers = maxTrailers
  }

  /** Reads a status line and headers of at most `budget` bytes; also resolves to their size. */
  async head(budget: number): Promise<{ head: HttpHead; size: number }> {
    const line = await this.#reader.line(budget)
    const match = STATUS_LINE.exec(line)
    if (!match) throw malformed('status line', line)
    const { fields, size } = await this.#fields(budget - line.length - 2)
    const [, version = '', status, reason = ''] = match
    return {
      size: size + line.length + 2,
      head: {
        version,
        status: Number(status),
        reason,
        headers: fields,
        header: (name) => valueOf(fields, name),
      },
    }
  }

  /** Header or trailer fields, and the empty line after them. */
  async #fields(budget: number): Promise<{ fields: HeaderList; size: number }> {
    const fields: HeaderList = []
    for (let size = 0; ;) {
      const line = await this.#reader.line(budget - size)
      size += line.length + 2
      if (line === '') return { fields, size }
      const match = HEADER_LINE.exec(line)
      if (!match) throw malformed('header line', line)
      fields.push([match[1]!, trim(match[2]!)])
    }
  }

  /** RFC 9112, section 6.3. Ambiguous framing is an error. */
  async *body(
    method: string,
    head: HttpHead,
    trailers: HeaderList,
  ): AsyncGenerator<Buffer, void, undefined> {
    const encoding = head.header('transfer-encoding')
    const length = head.header('content-length')
    if (encoding !== undefined && length !== undefined) {
      throw malformed('framing', 'both Transfer-Encoding and Content-Length')
    }
    if (method === 'HEAD' || head.status === 204 || head.status === 304) {
      // Nothing to read.
    } else if (encoding !== undefined) {
      if (encoding.toLowerCase() !== 'chunked') throw malformed('Transfer-Encoding', encoding)
      yield* this.#chunkedBody(trailers)
    } else if (length !== undefined) {
      if (!LENGTH.test(length)) throw malformed('Content-Length', length)
      yield* this.#reader.take(Number(length))
    } else {
      yield* this.#reader.rest()
    }
  }

  async *#chunkedBody(trailers: HeaderList): AsyncGenerator<Buffer, void, undefined> {
    for (;;) {
      const line = await this.#reader.line(MAX_CHUNK_LINE)
      const match = CHUNK_LINE.exec(line)
      if (!match) throw malformed('chunk size', line)
      const size = Number.parseInt(match[1]!, 16)
      if (size === 0) break
      yield* this.#reader.take(size)
      const end = await this.#reader.line(MAX_CHUNK_LINE)
      if (end !== '') throw malformed('end of a chunk', end)
    }
    trailers.push(...(await this.#fields(this.#maxTrailers)).fields)
  }
}

function valueOf(headers: HeaderList, name: string): string | undefined {
  const wanted = name.toLowerCase()
  const values = headers.filter(([key]) => key.toLowerCase() === wanted).map(([, value]) => value)
  return values.length === 0 ? undefined : values.join(', ')
}

/** Removes spaces and tabs at both ends; the expression `/[\t ]+$/` would take quadratic time. */
function trim(value: string): string {
  let start = 0
  let end = value.length
  while (start < end && isSpace(value[start])) start += 1
  while (start < end && isSpace(value[end - 1])) end -= 1
  return value.slice(start, end)
}

function isSpace(character: string | undefined): boolean {
  return character === ' ' || character === '\t'
}
