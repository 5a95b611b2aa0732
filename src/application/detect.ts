/** What may be handed to a handler's `run`, from the handler's side. */
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass } from '../types.ts'

/**
 * Makes one function of the shapes that an application can have: a function, a generator function,
 * either of them async, or a class that is constructed for each request and then iterated.
 *
 * @throws {ConfigurationError} for anything else.
 */
export function asApplication(candidate: Application | ApplicationClass): Application {
  const foreign = frameworkOf(candidate)
  if (foreign !== null) throw new ConfigurationError(wanting(foreign))
  if (typeof candidate !== 'function') {
    throw new ConfigurationError(
      'An application is a function (environ, startResponse) => chunks, a generator function, ' +
        `or a class; this is ${candidate === null ? 'null' : `of type ${typeof candidate}`}`,
    )
  }
  if (!isClass(candidate)) return candidate
  return (environ, startResponse) => new candidate(environ, startResponse)
}

/** Which of the bridges makes an application of ours of it. */
export interface Framework {
  /** What it is, in words that fit behind 'this is'. */
  readonly shape: string
  readonly bridge: 'node' | 'fetch'
}

const BRIDGES = {
  node: ['fromNode', 'portico/node'],
  fetch: ['fromFetch', 'portico/fetch'],
} as const

function wanting({ shape, bridge }: Framework): string {
  const [name, module] = BRIDGES[bridge]
  return `This is ${shape}: run ${name}(it), with ${name} from '${module}', or use run() of 'portico'`
}

/**
 * Makes an application of ours of a framework's. The bridge comes out of the package by its name,
 * so that it is part of no script that has a copy of portico.cjs and nothing else.
 *
 * @throws {ConfigurationError} if there is no package.
 */
export async function bridged(candidate: unknown, framework: Framework): Promise<Application> {
  const [name, module] = BRIDGES[framework.bridge]
  type Bridge = Readonly<Record<string, (candidate: unknown) => Application>>
  const bridge = await (import(module) as Promise<Bridge>).catch(() => {
    throw new ConfigurationError(wanting(framework))
  })
  return bridge[name]!(candidate)
}

/**
 * Applications of other interfaces by the members they have; the first that fits. Only those of the
 * Fetch API have `fetch`, but Elysia's have Connect's members, too, and itty-router's any at all.
 */
const FRAMEWORKS: readonly (Framework & { readonly has: readonly string[] })[] = [
  { shape: 'an application of the Fetch API', bridge: 'fetch', has: ['fetch'] },
  { shape: 'an Express application', bridge: 'node', has: ['handle', 'set', 'listen'] },
  { shape: 'a Connect application', bridge: 'node', has: ['handle', 'use', 'listen'] },
  { shape: 'a Fastify instance', bridge: 'node', has: ['routing', 'ready'] },
  { shape: 'a Koa application', bridge: 'node', has: ['callback', 'use'] },
  { shape: 'an http.Server', bridge: 'node', has: ['closeIdleConnections', 'listen'] },
]

/**
 * What a framework's application is, or null for whatever is none. A plain listener of node:http
 * cannot be told from a function of ours.
 */
export function frameworkOf(candidate: unknown): Framework | null {
  if (candidate === null || (typeof candidate !== 'object' && typeof candidate !== 'function')) {
    return null
  }
  // A function of ours has no members of its own, and need not be looked at any further.
  if (typeof candidate === 'function' && Object.keys(candidate).length === 0) return null
  const members = candidate as Readonly<Record<string, unknown>>
  const fits = ({ has }: { has: readonly string[] }): boolean =>
    has.every((name) => typeof members[name] === 'function')
  return FRAMEWORKS.find(fits) ?? null
}

/** A class cannot be called without `new`. What tells it from a function is that it keeps its prototype. */
function isClass(candidate: Application | ApplicationClass): candidate is ApplicationClass {
  return Object.getOwnPropertyDescriptor(candidate, 'prototype')?.writable === false
}
