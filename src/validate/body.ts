/** Checks the response body between application and gateway: its steps, its end, and its closing. */
import type { Chunk } from '../types.ts'
import type { CheckedSource } from './body-source.ts'
import type { CheckedExchange } from './exchange.ts'
import { type OpenBody, release, watch } from './open.ts'
import { describe, fail } from './report.ts'

/**
 * How many chunks an outer body has taken from the body inside it since it last gave one. Two
 * validators find each other by the environ, if both see the same one.
 */
export interface Flow {
  taken: number
}

type Result = IteratorResult<Chunk, undefined>

/** Checks each step of a body, for both kinds of iterator. */
class BodyGuard {
  readonly #source: CheckedSource
  readonly #exchange: CheckedExchange
  readonly #open: OpenBody
  readonly #flow: Flow
  readonly #outer: Flow | undefined
  #iterator: Iterator<unknown> | AsyncIterator<unknown> | undefined
  #iterated = false
  #steps = 0
  #stepping = false
  #closed = false

  constructor(
    source: CheckedSource,
    exchange: CheckedExchange,
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
  /// - It iterates the body once, one `next()` at a time, and not after closing it. It uses nothing
  ///   of the body but its iterator and its `close()`: under the validator a body has no length.
  iterate(): void {
    if (this.#iterated) fail('gateway: the body must be iterated once, not a second time')
    this.#iterated = true
  }

  step(): Result {
    return this.#leave(this.#enter())
  }

  async stepLater(): Promise<Result> {
    const pending = this.#enter()
    let result: unknown
    try {
      result = await pending
    } catch (error) {
      throw this.#failed(error)
    }
    return this.#leave(result)
  }

  /** Takes a step of the application's iterator. */
  #enter(): unknown {
    const call = `gateway: next() call ${++this.#steps}`
    if (this.#closed) fail(`${call}: Iterator read after closed; call next() before close()`)
    if (this.#stepping) {
      fail(`${call}: called before the previous call had finished; await each call`)
    }
    this.#stepping = true
    this.#exchange.iterate()
    try {
      this.#iterator ??= isAsync(this.#source)
        ? this.#source[Symbol.asyncIterator]()
        : this.#source[Symbol.iterator]()
      return this.#iterator.next()
    } catch (error) {
      throw this.#failed(error)
    }
  }

  /// ## The body
  /// - Middleware returns one chunk, if only an empty one, for each chunk that it takes from the
  ///   application inside it. It holds nothing back. *Warning,* where both sides are validated.
  #leave(result: unknown): Result {
    this.#stepping = false
    if (!isResult(result)) {
      fail(
        `body: next() call ${this.#steps} must return an object { done, value }, not ` +
          describe(result),
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
        'middleware: must return a chunk, if only an empty one, for each that it takes; it took ' +
          `chunk ${this.#exchange.chunks} and returned none for the one before`,
      )
    }
    return { done: false, value: chunk }
  }

  #failed(error: unknown): unknown {
    this.#stepping = false
    this.#open.endedAt = performance.now()
    this.#exchange.abandon()
    return error
  }

  /// ## The gateway's duties
  /// - Whatever happens, it closes the body exactly once: by `close()` if the body has one, otherwise
  ///   by `return()` of its iterator. *Warning:* a body that was not closed.
  close(): unknown {
    if (this.#closed) fail('gateway: close() must be called once, not a second time')
    this.#closed = true
    this.#exchange.abandon()
    release(this.#open)
    const source = this.#source
    if (source.close) return source.close()
    // A Readable that was never iterated has no iterator to return, but may hold a file.
    return source.destroy ? source.destroy() : this.#iterator?.return?.()
  }
}

/** A synchronous body stays synchronous, because a handler may be faster with it. */
class SyncBody implements IterableIterator<Chunk, undefined> {
  readonly #guard: BodyGuard

  constructor(guard: BodyGuard) {
    this.#guard = guard
  }

  [Symbol.iterator](): this {
    this.#guard.iterate()
    return this
  }

  next(): Result {
    return this.#guard.step()
  }

  close(): unknown {
    return this.#guard.close()
  }
}

class AsyncBody implements AsyncIterableIterator<Chunk, undefined> {
  readonly #guard: BodyGuard

  constructor(guard: BodyGuard) {
    this.#guard = guard
  }

  [Symbol.asyncIterator](): this {
    this.#guard.iterate()
    return this
  }

  next(): Promise<Result> {
    return this.#guard.stepLater()
  }

  close(): unknown {
    return this.#guard.close()
  }
}

/** Handlers, too, iterate a body asynchronously if it can be iterated in both ways. */
function isAsync(source: CheckedSource): source is CheckedSource & AsyncIterable<unknown> {
  return Symbol.asyncIterator in source && typeof source[Symbol.asyncIterator] === 'function'
}

function isResult(value: unknown): value is IteratorResult<unknown> {
  return typeof value === 'object' && value !== null
}

/** Wraps a body that `checkBody` accepted. The wrapper has a `close()`, and no length. */
export function wrapBody(
  source: CheckedSource,
  exchange: CheckedExchange,
  open: OpenBody,
  flow: Flow,
  outer: Flow | undefined,
): SyncBody | AsyncBody {
  const guard = new BodyGuard(source, exchange, open, flow, outer)
  const body = isAsync(source) ? new AsyncBody(guard) : new SyncBody(guard)
  watch(body, open)
  return body
}
