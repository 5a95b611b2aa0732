/**
 * Whatever can be run, made an application of ours: from the side of handlers that have the time to
 * load a bridge. A bridge is loaded only for what needs it.
 */
import { asApplication, frameworkOf } from './detect.ts'
import type { FetchHandler } from '../bridge/from-fetch.ts'
import type { NodeApplication, NodeListener } from '../bridge/from-node.ts'
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass } from '../types.ts'

/**
 * A framework's application, which can be told from a function of ours. None of these can be called
 * as far as the types go, so that `run((environ, startResponse) => …)` knows its parameters.
 */
export type FrameworkApplication =
  | { readonly handle: (...args: never[]) => unknown }
  | Exclude<NodeApplication, NodeListener>
  | { readonly fetch: FetchHandler }

/** What a handler runs. */
export type Runnable = Application | ApplicationClass | FrameworkApplication

/** An application, and what it was taken for. */
export interface Recognised {
  readonly application: Application
  /** 'an application', 'an Express application' … */
  readonly shape: string
}

/**
 * Tells what `candidate` is: an application of ours, or one of Express, Connect, Koa or Fastify, an
 * `http.Server`, or whatever has a `fetch()`, such as Hono and H3.
 *
 * @throws {ConfigurationError} for anything else; it names the shapes. And for what is probably a
 *   listener of node:http, which can be told from a function of ours by nothing but its text.
 */
export async function recognise(candidate: Runnable): Promise<Recognised> {
  const framework = frameworkOf(candidate)
  if (framework?.bridge === 'node') {
    const { fromNode } = await import('../bridge/from-node.ts')
    return { application: fromNode(candidate as NodeApplication), shape: framework.shape }
  }
  if (framework?.bridge === 'fetch') {
    const { fromFetch } = await import('../bridge/from-fetch.ts')
    const source = candidate as { readonly fetch: FetchHandler }
    return { application: fromFetch(source), shape: framework.shape }
  }
  if (typeof candidate !== 'function') {
    throw new ConfigurationError(
      'An application is a function (environ, startResponse) => chunks, a generator function, a ' +
        'class, an application of Express, Connect, Koa or Fastify, an http.Server, or an ' +
        `object with fetch(); this is ${candidate === null ? 'null' : `of type ${typeof candidate}`}`,
    )
  }
  if (looksLikeListener(candidate)) {
    throw new ConfigurationError(
      'This looks like a listener (req, res) of node:http: run fromNode(it), with fromNode from ' +
        "'portico/node'. An application has parameters (environ, startResponse) and calls the second",
    )
  }
  return { application: asApplication(candidate as Application), shape: 'an application' }
}

/** The second parameter of a function, no class, whose parameters are called as those of a listener. */
const LISTENER = /^(?!class\b)[^(]*\(\s*_?req(?:uest)?\s*,\s*(res(?:ponse)?)\s*[,)]/

/**
 * Whether a function is called with `(req, res)` by everybody but us: nothing but these names tells,
 * and that it nowhere calls the second, where an application has to. An application that is taken
 * for one has to rename its parameters; a listener that is not would fail at each request, with an
 * error that names neither it nor us.
 */
function looksLikeListener(candidate: object): boolean {
  const source = Function.prototype.toString.call(candidate)
  const second = LISTENER.exec(source)?.[1]
  return second !== undefined && !new RegExp(`\\b${second}\\s*\\(`).test(source)
}
