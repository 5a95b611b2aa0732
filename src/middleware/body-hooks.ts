/**
 * A body on its way through a layer, from the layer's side: seen chunk by chunk, replaced, closed.
 *
 * What is easily got wrong is here once: that a body is closed exactly once, that an array stays an
 * array (its length can be announced), a file stays a file (a server may send it by itself), and
 * that nothing waits where the application does not.
 */
import { bodyLength, closeBody, isChunk, isPromise, iteratorOf } from '../response/body.ts'
import type { Body, Chunk } from '../types.ts'
import { FileWrapper, isFileWrapper } from '../wsgiref/util.ts'

/** A value that is there, or will be. */
export type MaybePromise<T = unknown> = T | Promise<T>

/** Goes on in the same turn of the event loop, unless there is something to wait for. */
export function chain<T, U>(
  value: T | PromiseLike<T>,
  then: (value: T) => MaybePromise<U>,
): MaybePromise<U> {
  return isPromise(value) ? Promise.resolve(value).then(then) : then(value)
}

/** The same for a call that may fail, now or later: `failed` sees the error on its way. */
export function guard<T>(
  call: () => MaybePromise<T>,
  failed: (error: unknown) => void,
): MaybePromise<T> {
  const rethrow = (error: unknown): never => {
    failed(error)
    throw error
  }
  try {
    const value = call()
    return isPromise(value) ? Promise.resolve(value).catch(rethrow) : value
  } catch (error) {
    return rethrow(error)
  }
}

/** What a layer wants to know of a body. */
export interface BodyHooks {
  /**
   * The first step has been made, so that a generator has called `startResponse`. A function
   * returned gives the body to go on with; the one that was there has been closed before.
   */
  first?(): MaybePromise<(() => MaybePromise<Body>) | undefined>
  /** True if `first` may wait, or give a body that does: the body is then an async one. */
  readonly waits?: boolean
  /** Sees each chunk. */
  chunk?(chunk: Chunk): void
  /** The body threw: gives the last chunk to send, or throws. */
  failed?(error: unknown): Chunk
  /** Called once, behind the body's own `close`. */
  closed?(): unknown
}

/** Returns `body` with the hooks; what is no body fails when it is iterated. */
export function hook(body: Body, hooks: BodyHooks): Body {
  const value: unknown = body
  if (isChunk(value)) return hook([value], hooks)
  if (Array.isArray(body) && !hooks.first && body.every(isChunk)) {
    const chunks: Chunk[] & { close?: () => unknown } = [...body]
    for (const chunk of chunks) hooks.chunk?.(chunk)
    chunks.close = once(() => closeWith(body, null, hooks))
    return chunks
  }
  if (isFileWrapper(body) && !hooks.first) return new HookedFile(body, hooks)
  const passage = new Passage(body, hooks)
  const iterator = { next: () => passage.next() }
  const close = once(() => passage.close())
  return isAsync(body) || hooks.waits
    ? { [Symbol.asyncIterator]: () => iterator as AsyncIterator<Chunk>, close }
    : { [Symbol.iterator]: () => iterator as Iterator<Chunk>, close }
}

/** Closes a body, then tells the hook, even if closing fails. */
function closeWith(
  body: Body,
  iterator: Iterator<Chunk> | AsyncIterator<Chunk> | null,
  hooks: BodyHooks,
): unknown {
  const closed = () => hooks.closed?.()
  return chain(
    guard(() => closeBody(body, iterator), closed),
    closed,
  )
}

/** A step of an iteration, now or later: generators of both kinds go through the same code. */
type Step = MaybePromise<IteratorResult<Chunk, undefined>>

const DONE: IteratorResult<Chunk, undefined> = { done: true, value: undefined }

class Passage {
  #body: Body
  #iterator: Iterator<Chunk> | AsyncIterator<Chunk> | null = null
  #first: BodyHooks['first']
  readonly #hooks: BodyHooks
  #over = false

  constructor(body: Body, hooks: BodyHooks) {
    this.#body = body
    this.#hooks = hooks
    this.#first = hooks.first?.bind(hooks)
  }

  next(): Step {
    if (this.#over) return DONE
    try {
      this.#iterator ??= begin(this.#body)
      const step: MaybePromise<IteratorResult<Chunk>> = this.#iterator.next()
      if (!isPromise(step)) return this.#pass(step)
      return step.then((result) => this.#pass(result)).catch((error: unknown) => this.#fail(error))
    } catch (error) {
      return this.#fail(error)
    }
  }

  close(): unknown {
    this.#over = true
    return closeWith(this.#body, this.#iterator, this.#hooks)
  }

  #pass(step: IteratorResult<Chunk>): Step {
    const first = this.#first
    this.#first = undefined
    if (first) {
      return chain(first(), (other) => (other ? this.#replace(other) : this.#pass(step)))
    }
    if (step.done) return DONE
    this.#hooks.chunk?.(step.value)
    return step
  }

  #replace(other: () => MaybePromise<Body>): Step {
    return chain(closeBody(this.#body, this.#iterator), () => {
      this.#body = []
      this.#iterator = null
      return chain(other(), (body) => {
        // Closed while it was waited for: nobody else will close this one.
        if (this.#over) return chain(closeBody(body, null), () => DONE)
        this.#body = isChunk(body) ? [body] : body
        return this.next()
      })
    })
  }

  #fail(error: unknown): Step {
    if (this.#over || !this.#hooks.failed) throw error
    const value = this.#hooks.failed(error)
    this.#over = true
    return { done: false, value }
  }
}

/** An array with something that is no chunk is refused whole, as the gateway does. */
function begin(body: Body): Iterator<Chunk> | AsyncIterator<Chunk> {
  if (Array.isArray(body)) bodyLength(body)
  return iteratorOf(body)
}

/** A file with hooks is still a file of the same source, for whoever can send it by itself. */
class HookedFile extends FileWrapper {
  readonly #passage: Passage

  constructor(file: FileWrapper, hooks: BodyHooks) {
    const { blockSize, start, length, path } = file
    super(file.source, {
      blockSize,
      ...(start === undefined ? {} : { start }),
      ...(length === undefined ? {} : { length }),
      ...(path === undefined ? {} : { path }),
    })
    const passage = (this.#passage = new Passage(file, hooks))
    Object.assign(this, { close: once(() => passage.close()) })
  }

  override async *[Symbol.asyncIterator](): AsyncGenerator<Chunk, void, undefined> {
    for (let step; !(step = await this.#passage.next()).done;) yield step.value
  }
}

function once(close: () => unknown): () => unknown {
  let called = false
  return () => {
    if (called) return
    called = true
    return close()
  }
}

function isAsync(body: Body): body is AsyncIterable<Chunk> {
  return (
    typeof (body as Partial<AsyncIterable<Chunk>> | null)?.[Symbol.asyncIterator] === 'function'
  )
}
