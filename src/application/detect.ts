/** Detects what kind of application a value is. */
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass } from '../types.ts'

/** An application of another interface, and the bridge that adapts it. */
export interface Framework {
  /** Such as 'an Express application'. */
  readonly description: string
  readonly bridge: 'node' | 'fetch'
}

/**
 * Applications of other interfaces, recognised by their methods; the first match counts. `fetch`
 * comes first: Elysia's applications also have Connect's methods, and itty-router's have any method.
 */
const FRAMEWORKS: readonly (Framework & { readonly has: readonly string[] })[] = [
  { description: 'an application of the Fetch API', bridge: 'fetch', has: ['fetch'] },
  { description: 'an Express application', bridge: 'node', has: ['handle', 'set', 'listen'] },
  { description: 'a Connect application', bridge: 'node', has: ['handle', 'use', 'listen'] },
  { description: 'a Fastify instance', bridge: 'node', has: ['routing', 'ready'] },
  { description: 'a Koa application', bridge: 'node', has: ['callback', 'use'] },
  { description: 'an http.Server', bridge: 'node', has: ['closeIdleConnections', 'listen'] },
]

/**
 * The framework of an application; null for a plain application. A plain listener of node:http is a
 * function like any application; see `isListener`.
 */
export function frameworkOf(candidate: unknown): Framework | null {
  if (candidate === null || (typeof candidate !== 'object' && typeof candidate !== 'function')) {
    return null
  }
  // Most applications are functions without members.
  if (typeof candidate === 'function' && Object.keys(candidate).length === 0) return null
  const members = candidate as Readonly<Record<string, unknown>>
  const fits = ({ has }: { has: readonly string[] }): boolean =>
    has.every((name) => typeof members[name] === 'function')
  return FRAMEWORKS.find(fits) ?? null
}

/**
 * Returns an application as a plain function. It may be a function or a generator function, async
 * or not, or a class, of which each request constructs and iterates an instance.
 *
 * @throws {ConfigurationError} for anything else.
 */
export function asApplication(candidate: Application | ApplicationClass): Application {
  const framework = frameworkOf(candidate)
  if (framework !== null) throw new ConfigurationError(unsupportedMessage(framework))
  if (typeof candidate !== 'function') {
    throw new ConfigurationError(
      'An application is a function (environ, startResponse) => chunks, a generator function, ' +
        `or a class; this is ${candidate === null ? 'null' : `of type ${typeof candidate}`}`,
    )
  }
  if (!isClass(candidate)) return candidate
  return (environ, startResponse) => new candidate(environ, startResponse)
}

/** How to run the application of a framework if no bridge can be loaded. */
export function unsupportedMessage({ description, bridge }: Framework): string {
  const name = bridge === 'node' ? 'fromNode' : 'fromFetch'
  return `This is ${description}: run ${name}(it), with ${name} from 'portico/${bridge}', or use run() of 'portico'`
}

/** A class cannot be called without `new`, and its `prototype` cannot be replaced. */
function isClass(candidate: Application | ApplicationClass): candidate is ApplicationClass {
  return Object.getOwnPropertyDescriptor(candidate, 'prototype')?.writable === false
}

/** Matches a function with a listener's parameters; captures the name of the second. */
const LISTENER = /^(?!class\b)[^(]*\(\s*_?req(?:uest)?\s*,\s*(res(?:ponse)?)\s*[,)]/

/** What functions have: an application may use these members of its second parameter. */
const OF_FUNCTIONS = 'apply|bind|call|length|name|toString'

/**
 * Whether a function is a listener `(req, res)` of node:http. 'maybe' if its parameters have these
 * names, and it never calls the second, which an application must. 'yes' if it also uses a member of
 * the second that functions do not have, such as `res.end`. An application that is mistaken for a
 * listener has to rename its parameters. An unrecognised listener would fail at each request, with an
 * error that names neither the listener nor Portico.
 */
export function isListener(candidate: object): 'yes' | 'maybe' | 'no' {
  const source = Function.prototype.toString.call(candidate)
  const second = LISTENER.exec(source)?.[1]
  if (second === undefined || new RegExp(`\\b${second}\\s*\\(`).test(source)) return 'no'
  const uses = new RegExp(`\\b${second}\\s*\\.\\s*(?!(?:${OF_FUNCTIONS})\\b)[a-z]`)
  return uses.test(source) ? 'yes' : 'maybe'
}

/** How a listener of node:http is run. */
export const LISTENER_OF_NODE: Framework = {
  description: 'a listener of node:http',
  bridge: 'node',
}
