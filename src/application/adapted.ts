/**
 * What a bridge has made, and what it was made from. A conversion back gives the same function
 * again, and a server that is given an adapted application can use the original.
 *
 * The links are properties under `Symbol.for` keys, so that the CommonJS and ESM builds see each
 * other's. There is one key for each kind: a listener of node:http must never be used as a handler
 * of the Fetch API.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Application, Environ } from '../types.ts'

const APPLICATION = Symbol.for('portico.application')
const NODE_ORIGIN = Symbol.for('portico.node')
const FETCH_ORIGIN = Symbol.for('portico.fetch')

/** The node:http application that `fromNode` was given. */
export interface NodeOrigin {
  /** What `http.createServer` takes. */
  readonly listener: (request: IncomingMessage, response: ServerResponse) => unknown
  /** The server that the listener belongs to (an `http.Server`, or Fastify's), if there is one. */
  readonly server: Server | null
}

/** The handler of the Fetch API that `fromFetch` was given. */
export type FetchOrigin = (request: Request, environ: Environ) => Response | Promise<Response>

interface Links {
  readonly [APPLICATION]?: Application
  readonly [NODE_ORIGIN]?: NodeOrigin
  readonly [FETCH_ORIGIN]?: FetchOrigin
}

/** Notes that `made`, an application or what a bridge made of one, stands for `application`. */
export function linkApplication(made: object, application: Application): void {
  link(made, APPLICATION, application)
}

/** Notes what `fromNode` made an application from. */
export function linkNodeOrigin(application: Application, origin: NodeOrigin): void {
  linkApplication(application, application)
  link(application, NODE_ORIGIN, origin)
}

/** Notes what `fromFetch` made an application from. */
export function linkFetchOrigin(application: Application, origin: FetchOrigin): void {
  linkApplication(application, application)
  link(application, FETCH_ORIGIN, origin)
}

/** The application that `value` stands for; undefined if no bridge made it. */
export function applicationOf(value: unknown): Application | undefined {
  return linksOf(value)[APPLICATION]
}

/** The node:http application behind `fromNode(…)`; undefined for anything else. */
export function nodeOriginOf(value: unknown): NodeOrigin | undefined {
  return linksOf(value)[NODE_ORIGIN]
}

/** The Fetch API handler behind `fromFetch(…)`; undefined for anything else. */
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
