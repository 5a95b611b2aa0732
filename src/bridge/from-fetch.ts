/**
 * `fromFetch`: a handler of the Fetch API (Hono, H3, itty-router) as an application.
 *
 * The globals of the Fetch API take 19 ms to load, more than Node itself, so nothing here uses one
 * of them before the first request.
 */
import { STATUS_CODES } from '../node-http.ts'
import { applicationOf, linkFetchOrigin } from '../application/adapted.ts'
import { ApplicationError, ConfigurationError } from '../errors.ts'
import { isPromise } from '../response/body.ts'
import type { Application, Body, Environ, HeaderList, StartResponse } from '../types.ts'
import { isForGateway } from '../response/head.ts'
import { createFetchRequest } from './fetch-request.ts'
import { LightResponse } from './light-response.ts'
import { Incoming } from './peer-address.ts'
import { knownBody, openBody, type RequestBody } from './request-body.ts'
import { readStream } from './response-stream.ts'

/** Responds to a Request. The second argument, `c.env` in Hono, is the environ. */
export type FetchHandler = (request: Request, environ: Environ) => Response | Promise<Response>

/** What `fromFetch` takes: a handler, or an object with a `fetch()`, as in Hono and H3. */
export type FetchApplication = FetchHandler | { readonly fetch: FetchHandler }

/**
 * Adapts a handler of the Fetch API. The URL of the Request has the path below the mount point; the
 * mount point itself is SCRIPT_NAME in the environ.
 *
 * @throws {ConfigurationError} if `source` is not a handler and has none.
 */
export function fromFetch(source: FetchApplication): Application {
  const made = applicationOf(source)
  if (made !== undefined) return made // It came from a bridge.
  const handler = handlerOf(source)
  const application: Application = (environ, startResponse) => {
    environ['incoming'] = new Incoming(environ)
    const respond = (body: RequestBody): Body | Promise<Body> => {
      const response = handler(createFetchRequest(environ, body), environ)
      return isPromise(response)
        ? response.then((settled) => send(settled, startResponse, environ))
        : send(response, startResponse, environ)
    }
    const body = knownBody(environ)
    return body === null ? openBody(environ).then(respond) : respond(body)
  }
  linkFetchOrigin(application, handler)
  return application
}

function handlerOf(source: FetchApplication): FetchHandler {
  if (typeof source === 'function') return source
  if (typeof source?.fetch !== 'function') {
    throw new ConfigurationError(
      'fromFetch() takes a function (request) => response, or an object with such a fetch()',
    )
  }
  return (request, environ) => source.fetch(request, environ)
}

function send(
  response: unknown,
  startResponse: StartResponse,
  environ: Environ,
): Body | Promise<Body> {
  const light = LightResponse.take(response)
  if (light !== null) {
    const { status, headers, body } = light
    const sent = headers.filter(([name]) => !isForGateway(name))
    startResponse(statusLine(status), sent)
    return body === null ? [] : [body]
  }
  if (!isResponse(response)) {
    const type = response === null ? 'null' : typeof response
    throw new ApplicationError(
      `The fetch handler must return a Response (got ${type})`,
      'PORTICO_INVALID_BODY',
    )
  }
  if (response.bodyUsed) {
    throw new ApplicationError(
      'The body of the Response has been read already, so it cannot be sent. Read a clone() instead',
      'PORTICO_BODY_ALREADY_READ',
    )
  }
  const { status, statusText, body } = response
  const write = startResponse(statusLine(status, statusText), headersOf(response, environ))
  if (body === null) return []
  return NULL_BODY.has(status) ? body.cancel().then(() => []) : readStream(body, write, environ)
}

/** Fetch Standard, section 2.2.3, "null body status". */
const NULL_BODY = new Set([101, 103, 204, 205, 304])

function statusLine(status: number, reason = ''): string {
  return `${status} ${reason || (STATUS_CODES[status] ?? '')}`
}

/** Does not use `instanceof`: a polyfill's Response is accepted as well. */
function isResponse(value: unknown): value is Response {
  const { status, headers } = (value ?? {}) as Partial<Response>
  return typeof status === 'number' && typeof headers === 'object' && 'body' in (value as object)
}

/** The headers to send. Headers iterates over each of several Set-Cookie headers. */
function headersOf(response: Response, environ: Environ): HeaderList {
  const list: HeaderList = []
  const decoded = environ.REQUEST_METHOD !== 'HEAD' && isDecoded(response)
  // oxlint-disable-next-line unicorn/no-array-for-each -- all implementations have it.
  response.headers.forEach((value, name) => {
    if (isForGateway(name)) return
    if (decoded && OF_ENCODED_BODY.test(name)) return
    list.push([name, value])
  })
  return list
}

/** Headers that describe a body before `fetch()` has decoded it. */
const OF_ENCODED_BODY = /^content-(?:encoding|length)$/i

/** Codings that the `fetch()` of every supported Node decodes. */
const DECODED = /^\s*(?:x-gzip|gzip|deflate|br)\s*(?:,\s*(?:x-gzip|gzip|deflate|br)\s*)*$/i

/**
 * Whether the body of a Response that came from `fetch()`, which is not of type 'default', is
 * decoded although its Content-Encoding says otherwise.
 */
function isDecoded({ type, body, headers }: Response): boolean {
  if (body === null || (type !== 'basic' && type !== 'cors')) return false
  return DECODED.test(headers.get('content-encoding') ?? '')
}
