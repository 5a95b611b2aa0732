/** Continues at once with a value, or later with a promise of one. */
import { isPromise } from '../response/body.ts'
import type { MaybePromise } from '../types.ts'

/** Calls `then` with the value: synchronously, unless `value` is a promise. */
export function chain<T, U>(
  value: T | PromiseLike<T>,
  then: (value: T) => MaybePromise<U>,
): MaybePromise<U> {
  return isPromise(value) ? Promise.resolve(value).then(then) : then(value)
}

/** Runs `call`. If it throws or rejects, `failed` gets the error first. */
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
