/**
 * `hook`: watches a response body on its way from the application to the gateway.
 *
 * An array stays an array, so that its length can be announced. A file stays a file, so that a server
 * can send it itself. A synchronous application stays synchronous.
 */
import { bodyLength, closeBody, isChunk, isPromise, iteratorOf } from '../response/body.ts'
import { checkNames } from '../options/names.ts'
import type { Body, Chunk, MaybePromise } from '../types.ts'
import { FileWrapper, isFileWrapper } from '../wsgiref/util.ts'
import { chain, guard } from './maybe-promise.ts'

/** What middleware wants to know about a body. All are optional. */
export interface BodyHooks {
  /** Called with each chunk before the gateway gets it. */
  readonly onChunk?: ((chunk: Chunk) => void) | undefined
  /**
   * Called when the body throws. It throws `error` or another error, or returns the last chunk to send.
   */
  readonly onError?: ((error: unknown) => Chunk) | undefined
  /** Called once, after the body's own `close()`, whether or not that failed. May return a promise. */
  readonly onClose?: (() => unknown) | undefined
  /**
   * Called once, after the first step of the body: a generator has called `startResponse` by then.
   * If it returns a function, that function creates a body to send instead, after the first was closed.
   * A body with this hook is an async iterable.
   */
  readonly onStart?: (() => MaybePromise<(() => MaybePromise<Body>) | undefined>) | undefined
}

/**
 * Returns a body that passes the chunks of `body` on and calls `hooks` on the way.
 *
 * @param body the body that the application returned. The new body closes it, exactly once.
 * @param hooks `onChunk`, `onError`, `onClose`, `onStart`.
 * @returns the body for the gateway: an array for an array, a FileWrapper for a FileWrapper, unless
 *   there is an `onStart`. What is not a body fails when it is iterated.
 * @throws {ConfigurationError} for an unknown hook.
 * @example
 * import type { Application } from 'portico'
 * import { hook } from 'portico/middleware'
 *
 * const counted = { bytes: 0 }
 * const counting = (app: Application): Application => async (environ, startResponse) =>
 *   hook(await app(environ, startResponse), {
 *     onChunk: (chunk) => (counted.bytes += Buffer.byteLength(chunk)),
 *   })
 * const application = counting((environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return ['Hello', String(counted.bytes)]
 * })
 * // GET / → 200 Hello0
 * // GET / → 200 Hello6
 */
export function hook(body: Body, hooks: BodyHooks): Body {
  checkNames('hook', hooks, HOOKS)
  return hookBody(body, hooks)
}

const HOOKS = ['onChunk', 'onError', 'onClose', 'onStart'] satisfies (keyof BodyHooks)[]

/** `hook` without the check of names, which each request would pay for. */
export function hookBody(body: Body, hooks: BodyHooks): Body {
  const value: unknown = body
  if (isChunk(value)) return hookBody([value], hooks)
  if (Array.isArray(body) && !hooks.onStart && body.every(isChunk)) {
    const chunks: Chunk[] & { close?: () => unknown } = [...body]
    for (const chunk of chunks) hooks.onChunk?.(chunk)
    chunks.close = once(() => closeWith(body, null, hooks))
    return chunks
  }
  if (isFileWrapper(body) && !hooks.onStart) return new HookedFile(body, hooks)
  const passage = new Passage(body, hooks)
  const iterator = { next: () => passage.next() }
  const close = once(() => passage.close())
  return isAsync(body) || hooks.onStart
    ? { [Symbol.asyncIterator]: () => iterator as AsyncIterator<Chunk>, close }
    : { [Symbol.iterator]: () => iterator as Iterator<Chunk>, close }
}

/** Closes a body, then calls `onClose`, even if closing fails. */
function closeWith(
  body: Body,
  iterator: Iterator<Chunk> | AsyncIterator<Chunk> | null,
  hooks: BodyHooks,
): unknown {
  const closed = () => hooks.onClose?.()
  return chain(
    guard(() => closeBody(body, iterator), closed),
    closed,
  )
}

/** A step of an iteration, sync or async: both kinds of generators go through the same code. */
type Step = MaybePromise<IteratorResult<Chunk, undefined>>

const DONE: IteratorResult<Chunk, undefined> = { done: true, value: undefined }

class Passage {
  #body: Body
  #iterator: Iterator<Chunk> | AsyncIterator<Chunk> | null = null
  #started = false
  #over = false
  readonly #hooks: BodyHooks

  constructor(body: Body, hooks: BodyHooks) {
    this.#body = body
    this.#hooks = hooks
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
    const { onStart } = this.#hooks
    if (onStart && !this.#started) {
      this.#started = true
      return chain(onStart(), (other) => (other ? this.#replace(other) : this.#pass(step)))
    }
    if (step.done) return DONE
    this.#hooks.onChunk?.(step.value)
    return step
  }

  #replace(other: () => MaybePromise<Body>): Step {
    return chain(closeBody(this.#body, this.#iterator), () => {
      this.#body = []
      this.#iterator = null
      return chain(other(), (body) => {
        // Closed while the new body was awaited: no one else would close that one.
        if (this.#over) return chain(closeBody(body, null), () => DONE)
        this.#body = isChunk(body) ? [body] : body
        return this.next()
      })
    })
  }

  #fail(error: unknown): Step {
    if (this.#over || !this.#hooks.onError) throw error
    const value = this.#hooks.onError(error)
    this.#over = true
    return { done: false, value }
  }
}

/** Refuses an array if any element is not a chunk, as the gateway does. */
function begin(body: Body): Iterator<Chunk> | AsyncIterator<Chunk> {
  if (Array.isArray(body)) bodyLength(body)
  return iteratorOf(body)
}

/** A file with hooks is still a file of the same source, for servers that can send it themselves. */
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
