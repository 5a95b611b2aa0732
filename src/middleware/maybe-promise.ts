/** Steps that wait only where there is something to wait for. */
import { isPromise } from '../response/body.ts'

/** A value, or a promise of it. */
export type MaybePromise<T = unknown> = T | Promise<T>

/** Calls `then` with the value: in the same turn of the event loop unless `value` is a promise. */
export function chain<T, U>(
  value: T | PromiseLike<T>,
  then: (value: T) => MaybePromise<U>,
): MaybePromise<U> {
  return isPromise(value) ? Promise.resolve(value).then(then) : then(value)
}

/** Runs `call`; `failed` sees what it throws, or rejects with, on its way to the caller. */
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
