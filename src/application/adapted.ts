/**
 * Links from an adapted application to its original, so that a conversion back returns the original
 * function, and a server can run the original directly.
 *
 * The links are properties under `Symbol.for` keys, so that the CommonJS and ESM builds share them.
 * Each kind has its own key: a listener of node:http must never run as a Fetch API handler.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Application, Environ } from '../types.ts'

const APPLICATION = Symbol.for('portico.application')
const NODE_ORIGIN = Symbol.for('portico.node')
const FETCH_ORIGIN = Symbol.for('portico.fetch')

/** The argument of `fromNode`. */
export interface NodeOrigin {
  /** What `http.createServer` takes. */
  readonly listener: (request: IncomingMessage, response: ServerResponse) => unknown
  /** The server that the listener belongs to (an `http.Server`, or Fastify's), if there is one. */
  readonly server: Server | null
}

/** The argument of `fromFetch`: a handler of the Fetch API. */
export type FetchOrigin = (request: Request, environ: Environ) => Response | Promise<Response>

interface Links {
  readonly [APPLICATION]?: Application
  readonly [NODE_ORIGIN]?: NodeOrigin
  readonly [FETCH_ORIGIN]?: FetchOrigin
}

/** Links `made`, which is `application` itself or what a bridge made from it, to `application`. */
export function linkApplication(made: object, application: Application): void {
  link(made, APPLICATION, application)
}

/** Links an application to the argument of `fromNode`. */
export function linkNodeOrigin(application: Application, origin: NodeOrigin): void {
  linkApplication(application, application)
  link(application, NODE_ORIGIN, origin)
}

/** Links an application to the argument of `fromFetch`. */
export function linkFetchOrigin(application: Application, origin: FetchOrigin): void {
  linkApplication(application, application)
  link(application, FETCH_ORIGIN, origin)
}

/** The application that `value` is linked to; undefined if no bridge made it. */
export function applicationOf(value: unknown): Application | undefined {
  return linksOf(value)[APPLICATION]
}

/** The node:http application inside `fromNode(…)`; undefined for anything else. */
export function nodeOriginOf(value: unknown): NodeOrigin | undefined {
  return linksOf(value)[NODE_ORIGIN]
}

/** The Fetch API handler inside `fromFetch(…)`; undefined for anything else. */
export function fetchOriginOf(value: unknown): FetchOrigin | undefined {
  return linksOf(value)[FETCH_ORIGIN]
}

/** Own properties only: an application may inherit from another. */
function linksOf(value: unknown): Links {
  return typeof value === 'function' && Object.hasOwn(value, APPLICATION) ? (value as Links) : NONE
}

const NONE: Links = {}

function link(made: object, key: symbol, value: unknown): void {
  Object.defineProperty(made, key, { value })
}
