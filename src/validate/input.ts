/** Checks of how an application reads `wsgi.input`, and of what the gateway returns. */
import type { Buffer as NodeBuffer } from 'node:buffer'
import type { Readable } from 'node:stream'
import type { InputStream } from '../types.ts'
import { excusePeer, guardSteps, PeerError } from '../errors.ts'
import { count, describe, fail, type Warn } from './report.ts'

const NEWLINE = 10

/// ## The input
/// `wsgi.input` is the request body. All reads are asynchronous, and all sizes are in bytes.

export class CheckedInput implements InputStream {
  readonly #input: InputStream
  readonly #limit: number
  readonly #warn: Warn
  #taken = 0
  #ended = false
  /** The call that is pending, or the `stream()` call that took the whole body. */
  #reader: string | undefined
  readonly #calls: Record<string, number> = {}

  /** @param length CONTENT_LENGTH, if there is one. */
  constructor(input: InputStream, length: string | undefined, warn: Warn) {
    this.#input = input
    this.#warn = warn
    this.#limit = length === undefined ? Infinity : Number(length)
  }

  /// - `read(size?)` resolves to a Buffer of `size` bytes, or fewer at the end. Without `size` it
  ///   resolves to all bytes left. After the end it resolves to an empty Buffer, never to null.
  read(...args: unknown[]): Promise<NodeBuffer> {
    return excusePeer(this.#read(args))
  }

  async #read(args: readonly unknown[]): Promise<NodeBuffer> {
    const call = this.#call('read')
    const size = sizeOf(call, args)
    if (size[0] === undefined) this.#warnIfConsumed(call)
    return this.#alone(call, async () => {
      const [wanted = Infinity] = size
      const bytes = this.#bytes(call, await promised(call, this.#input.read(...size)), wanted)
      if (bytes.length < wanted) this.#end(call)
      return bytes
    })
  }

  /// - `readline(size?)` resolves to one line with its `\n`, or to the first `size` bytes of a longer
  ///   line.
  readline(...args: unknown[]): Promise<NodeBuffer> {
    return excusePeer(this.#readline(args))
  }

  async #readline(args: readonly unknown[]): Promise<NodeBuffer> {
    const call = this.#call('readline')
    const size = sizeOf(call, args)
    return this.#alone(call, async () => {
      const [wanted = Infinity] = size
      const bytes = this.#bytes(call, await promised(call, this.#input.readline(...size)), wanted)
      if (!isLine(call, bytes) && bytes.length < wanted) this.#end(call)
      return bytes
    })
  }

  /// - `readlines(hint?)` resolves to an array of the lines left. With `hint` it stops after the line
  ///   that reaches `hint` bytes.
  readlines(...args: unknown[]): Promise<NodeBuffer[]> {
    return excusePeer(this.#readlines(args))
  }

  async #readlines(args: readonly unknown[]): Promise<NodeBuffer[]> {
    const call = this.#call('readlines')
    const hint = sizeOf(call, args)
    this.#warnIfConsumed(call)
    return this.#alone(call, async () => {
      const lines: unknown = await promised(call, this.#input.readlines(...hint))
      if (!Array.isArray(lines)) fail(`${call} must return an array, not ${describe(lines)}`)
      const most = hint[0] || Infinity
      let total = 0
      let whole = true
      const checked = lines.map((line, index) => {
        const where = `${call}, line ${index + 1},`
        if (!whole) fail(`${where} must not follow a line without "\\n"`)
        if (total > most) {
          fail(
            `${where} is one too many: the lines before it have more than ${count(most, 'byte')}`,
          )
        }
        const bytes = this.#bytes(where, line)
        whole = isLine(where, bytes)
        total += bytes.length
        return bytes
      })
      if (!whole || total < most) this.#end(call)
      return checked
    })
  }

  /// - `for await (const line of input)` iterates over the lines, as `readline()` returns them.
  [Symbol.asyncIterator](): AsyncGenerator<NodeBuffer, void, undefined> {
    return guardSteps(this.#lines(), excusePeer)
  }

  async *#lines(): AsyncGenerator<NodeBuffer, void, undefined> {
    this.#warnIfConsumed('wsgi.input: iteration')
    for (;;) {
      const line = await this.readline()
      if (line.length === 0) return
      yield line
    }
  }

  /// - `chunks()` iterates over the bytes in chunks as they arrive. No chunk is empty.
  chunks(...args: unknown[]): AsyncGenerator<NodeBuffer, void, undefined> {
    return guardSteps(this.#chunks(args), excusePeer)
  }

  async *#chunks(args: readonly unknown[]): AsyncGenerator<NodeBuffer, void, undefined> {
    const call = this.#call('chunks')
    noArguments(call, args)
    this.#warnIfConsumed(call)
    const chunks = this.#input.chunks()
    try {
      for (let number = 1; ; number++) {
        const where = `${call}, chunk ${number},`
        const step = await this.#alone(where, () => chunks.next())
        if (step.done) return this.#end(call)
        const chunk = this.#bytes(where, step.value)
        if (chunk.length === 0) fail(`${where} must not be empty`)
        yield chunk
      }
    } finally {
      await chunks.return?.()
    }
  }

  /// - `stream()` returns a Node Readable of the same bytes. It reads ahead, so no other method can
  ///   be used after it.
  stream(...args: unknown[]): Readable {
    const call = this.#call('stream')
    noArguments(call, args)
    this.#warnIfConsumed(call)
    this.#claim(call)
    const inner: unknown = this.#input.stream()
    if (!isReadable(inner)) fail(`${call} must return a Readable, not ${describe(inner)}`)
    inner.on('error', () => {}) // Iterating the stream throws the error.
    // Loaded on first use: most applications need no stream.
    const { Readable } = process.getBuiltinModule('node:stream')
    const stream = Readable.from(this.#checkedChunks(call, inner), { objectMode: false })
    stream.once('close', () => inner.destroy())
    // Without a listener a disconnect would end the process of an application that only pipes it. A
    // violation still ends it, unless the application listens.
    return stream.on('error', (error) => {
      if (!(error instanceof PeerError) && stream.listenerCount('error') === 1) throw error
    })
  }

  async *#checkedChunks(
    call: string,
    stream: Readable,
  ): AsyncGenerator<NodeBuffer, void, undefined> {
    let number = 1
    for await (const chunk of stream) yield this.#bytes(`${call}, chunk ${number++},`, chunk)
    this.#end(call)
  }

  /// - The application does not call `close()`. It uses no other method either: another gateway
  ///   would not have it.
  close(): never {
    fail('wsgi.input: the application must not call close(); the gateway does')
  }

  /** Numbers a call for messages. */
  #call(method: string): string {
    const number = (this.#calls[method] ?? 0) + 1
    this.#calls[method] = number
    return `wsgi.input: ${method}() call ${number}`
  }

  /// - The body can be read once. *Warning:* a reader that wants the whole body, such as `read()`
  ///   without a size, `chunks()`, `stream()` or a form parser, begins after the end was reached.
  #warnIfConsumed(call: string): void {
    if (this.#taken === 0 || !(this.#ended || this.#taken === this.#limit)) return
    this.#warn(
      `${call} gets nothing: ${count(this.#taken, 'byte')} of body were already read to the end; ` +
        'keep what the first reader got',
    )
  }

  /// - There is one reader at a time: each call is awaited before the next.
  async #alone<T>(call: string, read: () => Promise<T>): Promise<T> {
    this.#claim(call)
    try {
      return await read()
    } finally {
      this.#reader = undefined
    }
  }

  #claim(call: string): void {
    if (this.#reader !== undefined) {
      fail(`${call} called before ${this.#reader} had finished; await each call`)
    }
    this.#reader = call.replace('wsgi.input: ', '')
  }

  /// ## The gateway's duties
  /// - `wsgi.input` returns Buffers: at most CONTENT_LENGTH bytes in total, and never more than the
  ///   caller asked for. If the body ends before CONTENT_LENGTH bytes, the read rejects; it never
  ///   returns less without an error. After the end it returns nothing more.
  #bytes(call: string, value: unknown, size = Infinity): NodeBuffer {
    if (!Buffer.isBuffer(value)) fail(`${call} must return a Buffer, not ${describe(value)}`)
    if (value.length > size) {
      fail(`${call} must return at most ${count(size, 'byte')}, not ${value.length}`)
    }
    if (this.#ended && value.length > 0) {
      fail(`${call} must return nothing after the end, not ${count(value.length, 'byte')}`)
    }
    this.#taken += value.length
    if (this.#taken > this.#limit) {
      fail(
        `${call} must not exceed CONTENT_LENGTH ${this.#limit} with ` +
          `${count(this.#taken, 'byte')} in total`,
      )
    }
    return value
  }

  #end(call: string): void {
    this.#ended = true
    if (this.#limit === Infinity || this.#taken === this.#limit) return
    fail(
      `${call} must reject if the body ends early, not end after ` +
        `${count(this.#taken, 'byte')} of CONTENT_LENGTH ${this.#limit}`,
    )
  }
}

/** Whether `bytes` end with a newline; there must be no other newline in them. */
function isLine(where: string, bytes: NodeBuffer): boolean {
  const end = bytes.indexOf(NEWLINE)
  if (end !== -1 && end !== bytes.length - 1) {
    fail(`${where} must return one line, not ${describe(bytes.toString('latin1'))}`)
  }
  return end !== -1
}

/// ## The input
/// - A size or hint is a whole number, 0 or more, or is omitted.
function sizeOf(call: string, args: readonly unknown[]): [] | [number | undefined] {
  if (args.length > 1) fail(`${call} takes one argument, not ${count(args.length, 'argument')}`)
  if (args.length === 0) return []
  const [size] = args
  if (size === undefined) return [undefined]
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    fail(`${call} takes a whole number of 0 or more, not ${describe(size)}`)
  }
  return [size]
}

function promised<T>(call: string, value: Promise<T>): Promise<T> {
  if (typeof value?.then !== 'function')
    fail(`${call} must return a Promise, not ${describe(value)}`)
  return value
}

function noArguments(call: string, args: readonly unknown[]): void {
  if (args.length > 0) fail(`${call} takes no argument, not ${count(args.length, 'argument')}`)
}

function isReadable(value: unknown): value is Readable {
  return typeof value === 'object' && value !== null && 'pipe' in value
}
