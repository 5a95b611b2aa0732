/** Requests with a form, without a gateway: an environ over a body in memory. */
import { Buffer } from 'node:buffer'
import { Readable } from 'node:stream'
import {
  FieldStorage,
  type FieldStorageOptions,
  type FormValue,
  type UploadedFile,
} from '../../src/exports/forms.ts'
import type { Environ, InputStream } from '../../src/types.ts'

/** An input that has only `chunks()`: a form must not use any other method. */
export class MemoryInput implements InputStream {
  readonly #chunks: Iterable<Buffer> | AsyncIterable<Buffer>
  /** Bytes that were taken. */
  taken = 0
  hasEnded = false
  wasReturned = false
  /** Whether the reader has ended, for whatever reason. */
  isOver = false

  constructor(source: Iterable<Buffer> | AsyncIterable<Buffer>) {
    this.#chunks = source
  }

  async *chunks(): AsyncIterableIterator<Buffer> {
    try {
      for await (const chunk of this.#chunks) {
        this.taken += chunk.length
        yield chunk
      }
      this.hasEnded = true
    } finally {
      this.wasReturned = !this.hasEnded
      this.isOver = true
    }
  }

  [Symbol.asyncIterator](): AsyncIterator<Buffer> {
    throw new Error('a form does not read by lines')
  }
  read(): Promise<Buffer> {
    throw new Error('a form does not read the body whole')
  }
  readline(): Promise<Buffer> {
    throw new Error('a form does not read by lines')
  }
  readlines(): Promise<Buffer[]> {
    throw new Error('a form does not read by lines')
  }
  stream(): Readable {
    throw new Error('a form does not need a stream')
  }
}

/** `body` in chunks of `size` bytes. */
export function* inChunks(body: Buffer, size: number): Generator<Buffer> {
  for (let i = 0; i < body.length; i += size) yield body.subarray(i, i + size)
}

/** `text` as bytes, one per character. */
export const bytes = (text: string): Buffer => Buffer.from(text, 'latin1')

export const crlf = (text: string): string => text.replaceAll('\n', '\r\n')

export function environOf(input: InputStream, variables: Record<string, string> = {}): Environ {
  // A form looks at the request's CGI variables and at wsgi.input, at nothing else.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return Object.assign(Object.create(null), {
    REQUEST_METHOD: 'POST',
    QUERY_STRING: '',
    'wsgi.input': input,
    ...variables,
  }) as Environ
}

export interface PostOptions extends FieldStorageOptions {
  type?: string
  query?: string
  /** Bytes of each chunk. Default: one chunk. */
  step?: number
}

/** The form of a POST. */
export function post(body: string | Buffer, options: PostOptions = {}): Promise<FieldStorage> {
  const { type = 'multipart/form-data; boundary=X', query = '', step, ...rest } = options
  const data = typeof body === 'string' ? bytes(body) : body
  const input = new MemoryInput(step === undefined ? [data] : inChunks(data, step))
  return FieldStorage.parse(
    environOf(input, {
      CONTENT_TYPE: type,
      CONTENT_LENGTH: String(data.length),
      QUERY_STRING: query,
    }),
    rest,
  )
}

/** The first file of that name. */
export const fileOf = (form: FieldStorage, name: string): UploadedFile => {
  const file = form.getFirst(name)
  if (file === undefined || typeof file === 'string') throw new Error(`${name} is not a file`)
  return file
}

/** Everything in a form as plain data, a file as `{ filename, type, content }`. Closes the form. */
export async function dump(form: FieldStorage): Promise<[string, unknown][]> {
  const fields: [string, unknown][] = []
  for (const [name, value] of form) fields.push([name, await plain(value)])
  await form.close()
  return fields
}

async function plain(value: FormValue): Promise<unknown> {
  if (typeof value === 'string') return value
  const content = await value.bytes()
  return { filename: value.filename, type: value.type, content: content.toString('latin1') }
}

/** One part, as a browser sends it. */
export const part = (name: string, content: string, more = ''): string =>
  `--X\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${content}\r\n`

export const FINAL = '--X--\r\n'
