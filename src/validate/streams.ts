/**
 * `wsgi.input` and `wsgi.errors` under the validator: what the application may do with them, and
 * what the gateway has to give.
 */
import type { Buffer as NodeBuffer } from 'node:buffer'
import type { Readable } from 'node:stream'
import type { ErrorStream, InputStream } from '../types.ts'
import { fail, show } from './report.ts'

/// ## The input
/// `wsgi.input` is the request's body. It is asynchronous; every size is in bytes.

export class CheckedInput implements InputStream {
  readonly #input: InputStream
  readonly #limit: number
  #taken = 0
  /** The call that has not finished yet, or that took the body for good. */
  #reader: string | undefined

  /** `length` is CONTENT_LENGTH; without it there is nothing to compare with. */
  constructor(input: InputStream, length: string | undefined) {
    this.#input = input
    this.#limit = length === undefined ? Infinity : Number(length)
  }

  /// - `read(size?)` resolves to a Buffer of `size` bytes, fewer only at the end; without `size` to
  ///   everything left. At the end it resolves to an empty Buffer, never to null.
  async read(...args: unknown[]): Promise<NodeBuffer> {
    const size = sizeOf('read', args)
    return this.#alone('read()', async () =>
      this.#bytes('read()', await promised('read()', this.#input.read(...size)), size[0]),
    )
  }

  /// - `readline(size?)` resolves to one line with its `\n`, or to `size` bytes of a longer one.
  async readline(...args: unknown[]): Promise<NodeBuffer> {
    const size = sizeOf('readline', args)
    return this.#alone('readline()', async () => {
      const result = await promised('readline()', this.#input.readline(...size))
      return this.#line('readline()', this.#bytes('readline()', result, size[0]))
    })
  }

  /// - `readlines(hint?)` resolves to an array of the lines left; it stops after the line that
  ///   passes `hint` bytes.
  async readlines(...args: unknown[]): Promise<NodeBuffer[]> {
    const hint = sizeOf('readlines', args)
    return this.#alone('readlines()', async () => {
      const lines: unknown = await promised('readlines()', this.#input.readlines(...hint))
      if (!Array.isArray(lines)) {
        fail(`wsgi.input: readlines() must resolve to an array, not ${show(lines)}`)
      }
      return lines.map((line) => this.#line('readlines()', this.#bytes('readlines()', line)))
    })
  }

  /// - `for await (const line of input)` gives the lines, as `readline()` does.
  async *[Symbol.asyncIterator](): AsyncGenerator<NodeBuffer, void, undefined> {
    for (;;) {
      const line = await this.readline()
      if (line.length === 0) return
      yield line
    }
  }

  /// - `chunks()` gives the bytes in the pieces in which they come, none of them empty.
  async *chunks(...args: unknown[]): AsyncGenerator<NodeBuffer, void, undefined> {
    noArguments('wsgi.input: chunks', args)
    const chunks = this.#input.chunks()
    try {
      for (;;) {
        const step = await this.#alone('chunks()', () => chunks.next())
        if (step.done) return
        const chunk = this.#bytes('chunks()', step.value)
        if (chunk.length === 0) fail('wsgi.input: chunks() must not give an empty piece')
        yield chunk
      }
    } finally {
      await chunks.return?.()
    }
  }

  /// - `stream()` gives the same as a Node Readable. It reads ahead, so nothing else can be read
  ///   after it was called.
  stream(...args: unknown[]): Readable {
    noArguments('wsgi.input: stream', args)
    this.#claim('stream()')
    const stream: unknown = this.#input.stream()
    if (!isReadable(stream)) {
      fail(`wsgi.input: stream() must return a Readable, not ${show(stream)}`)
    }
    return stream
  }

  /// - `close()` is not the application's to call.
  close(): never {
    fail('wsgi.input: close() must not be called; the gateway closes it')
  }

  /// - One reader at a time: a call has to be awaited before the next one.
  async #alone<T>(reader: string, read: () => Promise<T>): Promise<T> {
    this.#claim(reader)
    try {
      return await read()
    } finally {
      this.#reader = undefined
    }
  }

  #claim(reader: string): void {
    if (this.#reader !== undefined) {
      fail(`wsgi.input: ${reader} was called before ${this.#reader} had finished; await each read`)
    }
    this.#reader = reader
  }

  /// ## The gateway's duties
  /// - `wsgi.input` gives Buffers, at most CONTENT_LENGTH bytes of them in all, and never more than
  ///   was asked for. A body that ends early is an error, never a silent short read.
  #bytes(call: string, value: unknown, size = Infinity): NodeBuffer {
    if (!Buffer.isBuffer(value)) {
      fail(`wsgi.input: ${call} must resolve to a Buffer, not ${show(value)}`)
    }
    if (value.length > size) {
      fail(`wsgi.input: ${call} gave ${value.length} bytes where ${size} were asked for`)
    }
    this.#taken += value.length
    if (this.#taken > this.#limit) {
      fail(
        `wsgi.input: ${call} passed CONTENT_LENGTH ${this.#limit} by ${this.#taken - this.#limit}`,
      )
    }
    return value
  }

  #line(call: string, line: NodeBuffer): NodeBuffer {
    const end = line.indexOf(10)
    if (end !== -1 && end !== line.length - 1) {
      fail(`wsgi.input: ${call} gave more than one line`)
    }
    return line
  }
}

/// ## The input
/// - A size or hint is a whole number from 0, or is left out.
function sizeOf(method: string, args: readonly unknown[]): [] | [number | undefined] {
  if (args.length > 1) fail(`wsgi.input: ${method}() takes one argument, not ${args.length}`)
  if (args.length === 0) return []
  const [size] = args
  if (size === undefined) return [undefined]
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    fail(`wsgi.input: ${method}() takes a whole number from 0, not ${show(size)}`)
  }
  return [size]
}

function promised<T>(call: string, value: Promise<T>): Promise<T> {
  if (typeof value?.then !== 'function') {
    fail(`wsgi.input: ${call} must return a Promise, not ${show(value)}`)
  }
  return value
}

function noArguments(call: string, args: readonly unknown[]): void {
  if (args.length > 0) fail(`${call}() takes no argument, not ${args.length}`)
}

function isReadable(value: unknown): value is Readable {
  return typeof value === 'object' && value !== null && 'pipe' in value
}

/// ## The errors
/// `wsgi.errors` is text for whoever runs the server: CGI's standard error, the FastCGI stream.

export class CheckedErrors implements ErrorStream {
  readonly #errors: ErrorStream

  constructor(errors: ErrorStream) {
    this.#errors = errors
  }

  /// - `write(text)` takes one string. Lines end in `\n`.
  write(...args: unknown[]): void {
    const [text] = args
    if (args.length !== 1) fail(`wsgi.errors: write() takes one argument, not ${args.length}`)
    if (typeof text !== 'string') fail(`wsgi.errors: write() takes a string, not ${show(text)}`)
    this.#errors.write(text)
  }

  /// - `writelines(lines)` takes an iterable of strings, which a string itself is not meant to be.
  writelines(...args: unknown[]): void {
    const [lines] = args
    if (args.length !== 1) fail(`wsgi.errors: writelines() takes one argument, not ${args.length}`)
    if (!isLines(lines)) {
      fail(`wsgi.errors: writelines() takes an iterable of strings, not ${show(lines)}`)
    }
    for (const line of lines) this.write(line)
  }

  /// - `flush()` takes nothing.
  flush(...args: unknown[]): void {
    noArguments('wsgi.errors: flush', args)
    this.#errors.flush()
  }

  /// - `close()` is not the application's to call.
  close(): never {
    fail('wsgi.errors: close() must not be called; the gateway closes it')
  }
}

function isLines(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value
}
