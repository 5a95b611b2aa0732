/** An input that reads from another one: which body it is, also for another copy of this file. */
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
