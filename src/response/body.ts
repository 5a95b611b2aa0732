/**
 * Helpers for response bodies, shared by handlers and middleware: type checks, iteration, closing,
 * and the length without iterating.
 */
import { ApplicationError } from '../errors.ts'
import type { Body, Chunk } from '../types.ts'
import { filePart } from './file-part.ts'
import { isFileWrapper } from './file-wrapper.ts'
import { textLength } from './text-length.ts'

export function isPromise<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as PromiseLike<T> | null | undefined)?.then === 'function'
}

export function isChunk(value: unknown): value is Chunk {
  return typeof value === 'string' || value instanceof Uint8Array
}

/** What to do if the body is an application: someone serves the function that creates it. */
export function creatorHint(body: unknown): string {
  const { fetch, listen } = Object(body) as { fetch?: unknown; listen?: unknown }
  const isApplication = [body, fetch, listen].some((each) => typeof each === 'function')
  return isApplication
    ? '. A function that creates an application is not one: serve its result, ' +
        "as in 'export default await create()'"
    : ''
}

/**
 * Returns the iterator of a body.
 *
 * @throws {ApplicationError} PORTICO_INVALID_BODY if it is not iterable.
 */
export function iteratorOf<T = Chunk>(body: unknown): Iterator<T> | AsyncIterator<T> {
  const iterable = body as Partial<Iterable<T> & AsyncIterable<T>> | null | undefined
  const iterator = iterable?.[Symbol.asyncIterator]?.() ?? iterable?.[Symbol.iterator]?.()
  if (iterator === undefined) {
    const kind = body === null ? 'null' : typeof body
    throw new ApplicationError(
      `The application must return an iterable of chunks (got ${kind})${creatorHint(body)}`,
      'PORTICO_INVALID_BODY',
    )
  }
  return iterator
}

/**
 * Closes a body: by its `close()`, else by `return()` of its iterator. A stream that was never
 * iterated is destroyed, because it would keep its file descriptor open. May return a promise.
 */
export function closeBody(
  body: Body,
  iterator: Iterator<unknown> | AsyncIterator<unknown> | null,
): unknown {
  const { close, destroy } = Object(body) as { close?: unknown; destroy?: unknown }
  if (typeof close === 'function') return close.call(body)
  if (iterator !== null) return iterator.return?.()
  if (typeof destroy === 'function') return destroy.call(body)
}

/**
 * Returns the length in bytes of a body that has not been iterated; undefined if only iterating it
 * would show the length.
 *
 * @throws {ApplicationError} PORTICO_INVALID_CHUNK if an array holds anything but chunks.
 */
export function bodyLength(body: unknown): number | undefined {
  if (isChunk(body)) return chunkLength(body)
  if (isFileWrapper(body)) return filePart(body)?.length
  if (!Array.isArray(body)) return undefined
  let length = 0
  for (const chunk of body) length += chunkLength(chunk)
  return length
}

/**
 * Returns the length of a chunk in bytes.
 *
 * @throws {ApplicationError} PORTICO_INVALID_CHUNK if it is not a string or a Uint8Array.
 */
export function chunkLength(chunk: unknown): number {
  if (typeof chunk === 'string') return textLength(chunk)
  if (chunk instanceof Uint8Array) return chunk.length
  throw new ApplicationError(
    `A body chunk must be a string or a Uint8Array (got ${chunk === null ? 'null' : typeof chunk})`,
    'PORTICO_INVALID_CHUNK',
  )
}
