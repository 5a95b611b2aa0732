/**
 * Which body an input reads, through whichever wrapper, also for another copy of this file, and
 * `WholeBody` for readers that need all of it.
 */
import type { Buffer } from 'node:buffer'
import { ApplicationError } from '../errors.ts'
import type { InputStream } from '../types.ts'

const WRAPPED = Symbol.for('portico.wrapped')

type Wrapper = InputStream & { [WRAPPED]?: InputStream }

/** Notes that `outer` reads the body of `inner`. */
export function wrapInput<T extends InputStream>(outer: T, inner: InputStream): T {
  Object.defineProperty(outer, WRAPPED, { value: inner })
  return outer
}

/** The input of the gateway that `input` reads from. */
export function unwrapInput(input: InputStream): InputStream {
  let inner: Wrapper = input
  while (inner[WRAPPED] !== undefined) inner = inner[WRAPPED]
  return inner
}

/** Whether bytes of the body that `input` reads have been read, through whichever input. */
export function wasRead(input: InputStream): boolean {
  return (unwrapInput(input) as { readonly didRead?: boolean }).didRead === true
}

/** The chunks of a body, for readers that need it from its first byte. */
export class WholeBody implements AsyncIterator<Buffer, undefined> {
  readonly #input: InputStream
  #chunks: AsyncIterator<Buffer> | null = null

  constructor(input: InputStream) {
    this.#input = input
  }

  /** Rejects with an ApplicationError if something has read of the body before the first call. */
  next(): Promise<IteratorResult<Buffer>> {
    if (this.#chunks === null) {
      if (wasRead(this.#input)) return Promise.reject(alreadyRead())
      this.#chunks = this.#input.chunks()
    }
    return this.#chunks.next()
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.#chunks?.return?.()
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}

function alreadyRead(): ApplicationError {
  return new ApplicationError(
    'The request body has been read already, so it is lost. Read it only once, or keep what the ' +
      'first reader got',
    'PORTICO_BODY_ALREADY_READ',
  )
}
