/** The body between application and gateway: its items, its end, and who closes it. */
import { existsSync } from 'node:fs'
import type { Chunk } from '../types.ts'
import { type FileWrapper, isFileWrapper } from '../wsgiref/util.ts'
import type { Exchange } from './exchange.ts'
import { type OpenBody, release, watch } from './open.ts'
import { fail, show, type Warn } from './report.ts'

/** What the checks of `checkBody` leave. */
export type CheckedSource = (Iterable<unknown> | AsyncIterable<unknown>) & {
  close?: () => unknown
  destroy?: () => unknown
}

/// ## The body
/// - The application returns an iterable or an async iterable, or a Promise of one: an array, a
///   generator, a Readable, a FileWrapper, an object with `Symbol.asyncIterator`.
/// - It does not return a string or a Uint8Array. These are iterable too, but one character or one
///   number at a time; gateways send them as one chunk, other programs may not.
/// - A Readable with an encoding other than UTF-8 is no body: its strings would be sent as UTF-8.
/// - A FileWrapper's FileHandle is open. *Warning:* a `path` where there is no file: a server that
///   sends files by itself would not find it.
/// - `close`, if there is one, is a function. It is called once, when the request is over.
export function checkBody(body: unknown, warn: Warn): asserts body is CheckedSource {
  if (body === undefined || body === null || body === false) {
    fail(`The application must return an iterable, if only an empty array, not ${show(body)}`)
  }
  if (typeof body === 'string' || body instanceof Uint8Array) {
    fail(
      `The application must return an iterable of chunks, such as [chunk], not ${show(body)} itself`,
    )
  }
  // By its tag: the mere mention of the global makes Node load the Fetch API, which takes 19 ms.
  if (Object.prototype.toString.call(body) === '[object Response]') {
    fail(
      'The application must return an iterable, not a Response of the Fetch API; a handler of ' +
        'these has to be wrapped: fromFetch(handler)',
    )
  }
  const { [Symbol.iterator]: sync, [Symbol.asyncIterator]: async, close } = members(body)
  if (typeof sync !== 'function' && typeof async !== 'function') {
    fail(`The application must return an iterable, not ${show(body)}`)
  }
  if (close !== undefined && typeof close !== 'function') {
    fail(`body: close must be a function, not ${show(close)}`)
  }
  const { readableEncoding: encoding } = members(body)
  if (typeof encoding === 'string' && !/^utf-?8$/i.test(encoding)) {
    fail(`body: the Readable must have no encoding, or utf8, not ${show(encoding)}`)
  }
  if (isFileWrapper(body)) checkFile(body, warn)
}

function checkFile({ fd = 0, path }: FileWrapper, warn: Warn): void {
  if (fd < 0) fail('body: the FileHandle of a FileWrapper must be open, not closed')
  if (path !== undefined && !existsSync(path)) {
    warn(`body: the path of a FileWrapper should be that of a file, not ${show(path)}`)
  }
}

function members(value: unknown): Partial<Record<PropertyKey, unknown>> {
  return Object(value)
}

/**
 * How many items an outer body took from the one inside it since it gave one. Two validators know
 * of each other by the environ, if it is the same one.
 */
export interface Flow {
  taken: number
}

/** What the two shapes of body have in common. */
class Guard {
  readonly #source: CheckedSource
  readonly #exchange: Exchange
  readonly #open: OpenBody
  readonly #flow: Flow
  readonly #outer: Flow | undefined
  #iterated = false
  #steps = 0
  #stepping = false
  #closed = false

  constructor(
    source: CheckedSource,
    exchange: Exchange,
    open: OpenBody,
    flow: Flow,
    outer: Flow | undefined,
  ) {
    this.#source = source
    this.#exchange = exchange
    this.#open = open
    this.#flow = flow
    this.#outer = outer
  }

  /// ## The gateway's duties
  /// - The body is iterated once, one `next()` at a time, and not after it was closed. Nothing but
  ///   the body's iterator and its `close()` is used: under the validator it has no length.
  iterate(): void {
    if (this.#iterated) fail('gateway: the body must be iterated once, not a second time')
    this.#iterated = true
  }

  enter(): void {
    const call = `gateway: next() call ${++this.#steps}`
    if (this.#closed) fail(`${call}: Iterator read after closed; it must come before close()`)
    if (this.#stepping) fail(`${call}: came before the last one had finished; each must be awaited`)
    this.#stepping = true
    this.#exchange.iterate()
  }

  /// ## The body
  /// - Middleware gives one chunk, an empty one if it has to, for each that it takes from the
  ///   application inside it: nothing is held back. *Warning,* where both sides are validated.
  leave(result: IteratorResult<unknown>): IteratorResult<Chunk, undefined> {
    this.#stepping = false
    if (typeof result !== 'object' || result === null) {
      fail(
        `body: next() call ${this.#steps} must give an object { done, value }, not ${show(result)}`,
      )
    }
    if (result.done) {
      this.#open.endedAt = performance.now()
      this.#exchange.finish()
      return { done: true, value: undefined }
    }
    const chunk: unknown = result.value
    this.#exchange.chunk(chunk)
    this.#flow.taken = 0
    if (this.#outer && ++this.#outer.taken === 2) {
      this.#open.warn(
        'middleware: must give a chunk, if only an empty one, for each that it takes from inside; ' +
          `it took chunk ${this.#exchange.chunks} and gave none for the one before`,
      )
    }
    return { done: false, value: chunk }
  }

  failed(): void {
    this.#stepping = false
    this.#open.endedAt = performance.now()
    this.#exchange.abandon()
  }

  /// ## The gateway's duties
  /// - Whatever happens, the body is closed exactly once: by `close()` if it has one, else by
  ///   `return()` of its iterator. *Warning:* a body that was not closed.
  close(iterator: { return?: () => unknown } | undefined): unknown {
    if (this.#closed) fail('gateway: close() must be called once, not a second time')
    this.#closed = true
    this.#exchange.abandon()
    release(this.#open)
    const source = this.#source
    if (source.close) return source.close()
    // A Readable that was never iterated has nothing to return, but a file to give back.
    return source.destroy ? source.destroy() : iterator?.return?.()
  }
}

/** An iterable stays one: a handler may be faster with it. */
class SyncBody implements IterableIterator<Chunk, undefined> {
  readonly #source: Iterable<unknown>
  readonly #guard: Guard
  #iterator: Iterator<unknown> | undefined

  constructor(source: Iterable<unknown>, guard: Guard) {
    this.#source = source
    this.#guard = guard
  }

  [Symbol.iterator](): this {
    this.#guard.iterate()
    return this
  }

  next(): IteratorResult<Chunk, undefined> {
    this.#guard.enter()
    let result: IteratorResult<unknown>
    try {
      this.#iterator ??= this.#source[Symbol.iterator]()
      result = this.#iterator.next()
    } catch (error) {
      this.#guard.failed()
      throw error
    }
    return this.#guard.leave(result)
  }

  close(): unknown {
    return this.#guard.close(this.#iterator)
  }
}

class AsyncBody implements AsyncIterableIterator<Chunk, undefined> {
  readonly #source: AsyncIterable<unknown>
  readonly #guard: Guard
  #iterator: AsyncIterator<unknown> | undefined

  constructor(source: AsyncIterable<unknown>, guard: Guard) {
    this.#source = source
    this.#guard = guard
  }

  [Symbol.asyncIterator](): this {
    this.#guard.iterate()
    return this
  }

  async next(): Promise<IteratorResult<Chunk, undefined>> {
    this.#guard.enter()
    let result: IteratorResult<unknown>
    try {
      this.#iterator ??= this.#source[Symbol.asyncIterator]()
      result = await this.#iterator.next()
    } catch (error) {
      this.#guard.failed()
      throw error
    }
    return this.#guard.leave(result)
  }

  close(): unknown {
    return this.#guard.close(this.#iterator)
  }
}

/** As handlers choose: what can be iterated both ways is iterated asynchronously. */
function isAsync(source: CheckedSource): source is CheckedSource & AsyncIterable<unknown> {
  return typeof members(source)[Symbol.asyncIterator] === 'function'
}

/** Wraps what `checkBody` has accepted. The wrapper has no length, and always a `close()`. */
export function wrapBody(
  source: CheckedSource,
  exchange: Exchange,
  open: OpenBody,
  flow: Flow,
  outer: Flow | undefined,
): SyncBody | AsyncBody {
  const guard = new Guard(source, exchange, open, flow, outer)
  const body = isAsync(source) ? new AsyncBody(source, guard) : new SyncBody(source, guard)
  watch(body, open)
  return body
}
