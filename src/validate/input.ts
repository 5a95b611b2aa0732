/**
 * `wsgi.input` under the validator: what the application may do with it, and what the gateway has
 * to give.
 */
import type { Buffer as NodeBuffer } from 'node:buffer'
import type { Readable } from 'node:stream'
import type { InputStream } from '../types.ts'
import { count, fail, show } from './report.ts'

const NEWLINE = 10

/// ## The input
/// `wsgi.input` is the request's body. It is asynchronous; every size is in bytes.

export class CheckedInput implements InputStream {
  readonly #input: InputStream
  readonly #limit: number
  #taken = 0
  #ended = false
  /** The call that has not finished yet, or that took the body for good. */
  #reader: string | undefined
  readonly #calls: Record<string, number> = {}

  /** `length` is CONTENT_LENGTH; without it there is nothing to compare with. */
  constructor(input: InputStream, length: string | undefined) {
    this.#input = input
    this.#limit = length === undefined ? Infinity : Number(length)
  }

  /// - `read(size?)` resolves to a Buffer of `size` bytes, fewer only at the end; without `size` to
  ///   everything left. At the end it resolves to an empty Buffer, never to null.
  async read(...args: unknown[]): Promise<NodeBuffer> {
    const call = this.#call('read')
    const size = sizeOf(call, args)
    return this.#alone(call, async () => {
      const [wanted = Infinity] = size
      const bytes = this.#bytes(call, await promised(call, this.#input.read(...size)), wanted)
      if (bytes.length < wanted) this.#end(call)
      return bytes
    })
  }

  /// - `readline(size?)` resolves to one line with its `\n`, or to `size` bytes of a longer one.
  async readline(...args: unknown[]): Promise<NodeBuffer> {
    const call = this.#call('readline')
    const size = sizeOf(call, args)
    return this.#alone(call, async () => {
      const [wanted = Infinity] = size
      const bytes = this.#bytes(call, await promised(call, this.#input.readline(...size)), wanted)
      if (!isLine(call, bytes) && bytes.length < wanted) this.#end(call)
      return bytes
    })
  }

  /// - `readlines(hint?)` resolves to an array of the lines left; it stops after the line that
  ///   passes `hint` bytes.
  async readlines(...args: unknown[]): Promise<NodeBuffer[]> {
    const call = this.#call('readlines')
    const hint = sizeOf(call, args)
    return this.#alone(call, async () => {
      const lines: unknown = await promised(call, this.#input.readlines(...hint))
      if (!Array.isArray(lines)) fail(`${call} must give an array, not ${show(lines)}`)
      const most = hint[0] || Infinity
      let total = 0
      let whole = true
      const checked = lines.map((line, index) => {
        const where = `${call}, line ${index + 1},`
        if (!whole) fail(`${where} must not follow one without its "\\n"`)
        if (total > most)
          fail(`${where} must not be there: those before it passed ${count(most, 'byte')}`)
        const bytes = this.#bytes(where, line)
        whole = isLine(where, bytes)
        total += bytes.length
        return bytes
      })
      if (!whole || total < most) this.#end(call)
      return checked
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
    const call = this.#call('chunks')
    noArguments(call, args)
    const chunks = this.#input.chunks()
    try {
      for (let number = 1; ; number++) {
        const where = `${call}, piece ${number},`
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

  /// - `stream()` gives the same as a Node Readable. It reads ahead, so nothing else can be read
  ///   after it was called.
  stream(...args: unknown[]): Readable {
    const call = this.#call('stream')
    noArguments(call, args)
    this.#claim(call)
    const inner: unknown = this.#input.stream()
    if (!isReadable(inner)) fail(`${call} must give a Readable, not ${show(inner)}`)
    inner.on('error', () => {}) // Whoever iterates it is told; before that, nobody can be.
    // Reached this way so that nobody who asks for no stream loads one.
    const { Readable } = process.getBuiltinModule('node:stream')
    const stream = Readable.from(this.#pieces(call, inner), { objectMode: false })
    return stream.once('close', () => inner.destroy())
  }

  async *#pieces(call: string, stream: Readable): AsyncGenerator<NodeBuffer, void, undefined> {
    let number = 1
    for await (const piece of stream) yield this.#bytes(`${call}, piece ${number++},`, piece)
    this.#end(call)
  }

  /// - `close()` is not the application's to call, and nothing else is there: what a gateway's own
  ///   object can do besides does not work behind another one.
  close(): never {
    fail('wsgi.input: close() must not be called; the gateway closes it')
  }

  /** Names a call as messages do. */
  #call(method: string): string {
    const number = (this.#calls[method] ?? 0) + 1
    this.#calls[method] = number
    return `wsgi.input: ${method}() call ${number}`
  }

  /// - One reader at a time: a call has to be awaited before the next one.
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
      fail(`${call} came before ${this.#reader} had finished; each must be awaited`)
    }
    this.#reader = call.replace('wsgi.input: ', '')
  }

  /// ## The gateway's duties
  /// - `wsgi.input` gives Buffers, at most CONTENT_LENGTH bytes of them in all, and never more than
  ///   was asked for. A body that ends early is an error, never a silent short read: what has
  ///   ended has given CONTENT_LENGTH bytes, if there is one, and gives nothing more.
  #bytes(call: string, value: unknown, size = Infinity): NodeBuffer {
    if (!Buffer.isBuffer(value)) fail(`${call} must give a Buffer, not ${show(value)}`)
    if (value.length > size) {
      fail(`${call} must give at most ${count(size, 'byte')}, not ${value.length}`)
    }
    if (this.#ended && value.length > 0) {
      fail(`${call} must give nothing after the end, not ${count(value.length, 'byte')}`)
    }
    this.#taken += value.length
    if (this.#taken > this.#limit) {
      fail(
        `${call} must not pass CONTENT_LENGTH ${this.#limit} with ` +
          `${count(this.#taken, 'byte')} in all`,
      )
    }
    return value
  }

  #end(call: string): void {
    this.#ended = true
    if (this.#limit === Infinity || this.#taken === this.#limit) return
    fail(
      `${call} must be an error where the body ends early, not an end after ` +
        `${count(this.#taken, 'byte')} of CONTENT_LENGTH ${this.#limit}`,
    )
  }
}

/** Whether `bytes` end a line; they may begin no other. */
function isLine(where: string, bytes: NodeBuffer): boolean {
  const end = bytes.indexOf(NEWLINE)
  if (end !== -1 && end !== bytes.length - 1) {
    fail(`${where} must give one line, not ${show(bytes.toString('latin1'))}`)
  }
  return end !== -1
}

/// ## The input
/// - A size or hint is a whole number from 0, or is left out.
function sizeOf(call: string, args: readonly unknown[]): [] | [number | undefined] {
  if (args.length > 1) fail(`${call} takes one argument, not ${count(args.length, 'argument')}`)
  if (args.length === 0) return []
  const [size] = args
  if (size === undefined) return [undefined]
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    fail(`${call} takes a whole number from 0, not ${show(size)}`)
  }
  return [size]
}

function promised<T>(call: string, value: Promise<T>): Promise<T> {
  if (typeof value?.then !== 'function') fail(`${call} must return a Promise, not ${show(value)}`)
  return value
}

function noArguments(call: string, args: readonly unknown[]): void {
  if (args.length > 0) fail(`${call} takes no argument, not ${count(args.length, 'argument')}`)
}

function isReadable(value: unknown): value is Readable {
  return typeof value === 'object' && value !== null && 'pipe' in value
}
