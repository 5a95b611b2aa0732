/** What may be handed to a handler's `run`, from the handler's side. */
import { ConfigurationError } from './errors.ts'
import type { Application, ApplicationClass } from './types.ts'

/**
 * Makes one function of the shapes that an application can have: a function, a generator function,
 * either of them async, or a class that is constructed for each request and then iterated.
 *
 * @throws {ConfigurationError} for anything else.
 */
export function asApplication(candidate: Application | ApplicationClass): Application {
  if (typeof candidate !== 'function') {
    throw new ConfigurationError(
      'An application is a function (environ, startResponse) => chunks, a generator function, ' +
        `or a class; this is ${candidate === null ? 'null' : `of type ${typeof candidate}`}`,
    )
  }
  if (!isClass(candidate)) return candidate
  return (environ, startResponse) => new candidate(environ, startResponse)
}

/** A class cannot be called without `new`. What tells it from a function is that it keeps its prototype. */
function isClass(candidate: Application | ApplicationClass): candidate is ApplicationClass {
  return Object.getOwnPropertyDescriptor(candidate, 'prototype')?.writable === false
}
