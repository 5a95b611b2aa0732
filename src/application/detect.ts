/** What kind of application something is. */
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass } from '../types.ts'

/** An application of another interface, and the bridge that adapts it. */
export interface Framework {
  /** What it is, such as 'an Express application'. */
  readonly description: string
  readonly bridge: 'node' | 'fetch'
}

/**
 * Applications of other interfaces by the members they have; the first that fits. Only those of the
 * Fetch API have `fetch`, but Elysia's have Connect's members, too, and itty-router's have any.
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
 * The framework of an application, or null if it has none. A plain listener of node:http looks the
 * same as an application; see `looksLikeListener`.
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
 * Makes a function of an application: a function, a generator function, either of them async, or a
 * class that is constructed for each request and then iterated.
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

/** How to run the application of a framework where no bridge is loaded. */
export function unsupportedMessage({ description, bridge }: Framework): string {
  const name = bridge === 'node' ? 'fromNode' : 'fromFetch'
  return `This is ${description}: run ${name}(it), with ${name} from 'portico/${bridge}', or use run() of 'portico'`
}

/** A class cannot be called without `new`, and its `prototype` cannot be replaced. */
function isClass(candidate: Application | ApplicationClass): candidate is ApplicationClass {
  return Object.getOwnPropertyDescriptor(candidate, 'prototype')?.writable === false
}

/** The name of the second parameter of a function whose parameters are named as a listener's are. */
const LISTENER = /^(?!class\b)[^(]*\(\s*_?req(?:uest)?\s*,\s*(res(?:ponse)?)\s*[,)]/

/**
 * Whether a function is probably a listener `(req, res)` of node:http: its parameters are named so,
 * and it does not call the second, as an application has to. An application that is mistaken for
 * one has to rename its parameters. A listener that is not recognised would fail at each request,
 * with an error that names neither the listener nor Portico.
 */
export function looksLikeListener(candidate: object): boolean {
  const source = Function.prototype.toString.call(candidate)
  const second = LISTENER.exec(source)?.[1]
  return second !== undefined && !new RegExp(`\\b${second}\\s*\\(`).test(source)
}
