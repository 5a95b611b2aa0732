/**
 * `fromFetch`: a handler of the Fetch API (Hono, H3, itty-router) as an application of ours. From
 * the handler's side: one Request, whose second argument is the environ, for one Response.
 *
 * The globals of the Fetch API take 19 ms to load, more than Node itself: nothing here touches one
 * of them before the first request.
 */
import { Buffer } from 'node:buffer'
import { STATUS_CODES } from 'node:http'
import { ApplicationError, ConfigurationError, PeerError } from '../errors.ts'
import type {
  Application,
  Body,
  Chunk,
  Environ,
  HeaderList,
  StartResponse,
  Write,
} from '../types.ts'
import { applicationUri, isHopByHop } from '../util.ts'
import { markOrigin, originOf } from './origin.ts'
import { knownBody, openBody, type RequestBody } from './request-body.ts'
import { headerLines } from './request-headers.ts'
import { targetOf } from './target.ts'

/** Answers a Request; `c.env` of Hono is the environ. */
export type FetchHandler = (request: Request, environ: Environ) => Response | Promise<Response>

/** What `fromFetch` takes: a handler, or an application that has one, as Hono and H3. */
export type FetchApplication = FetchHandler | { readonly fetch: FetchHandler }

/** Answers without a body (Fetch Standard, section 2.2.3, "null body status"). */
const NULL_BODY = new Set([101, 103, 204, 205, 304])

/** What the constructor of Request refuses (Fetch Standard, section 2.2.1). */
const FORBIDDEN_METHOD = /^(?:CONNECT|TRACE|TRACK)$/i

/**
 * Makes an application of ours. The URL of the Request has the path below the mount point; the
 * mount point itself is SCRIPT_NAME in the environ.
 *
 * @throws {ConfigurationError} for what is no handler and has none.
 */
export function fromFetch(source: FetchApplication): Application {
  const origin = originOf(source)
  if (origin !== undefined) return origin as Application // It came from toFetch().
  const handler = handlerOf(source)
  const application: Application = async (environ, startResponse) => {
    const body = knownBody(environ) ?? (await openBody(environ))
    const response: unknown = await handler(createRequest(environ, body), environ)
    return answer(response, startResponse, environ)
  }
  markOrigin(application, handler)
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

/** @throws {PeerError} for a request that the Fetch API cannot express. */
function createRequest(environ: Environ, body: RequestBody): Request {
  const { chunks } = body
  const method = environ.REQUEST_METHOD
  if (FORBIDDEN_METHOD.test(method)) {
    const text = `${method} cannot be a Request`
    throw new PeerError('PORTICO_BAD_REQUEST', text, '501 Not Implemented')
  }
  const { url } = targetOf(environ)
  const lines = headerLines(environ, body)
  const headers: [string, string][] = []
  for (let i = 0; i < lines.length; i += 2) headers.push([lines[i]!, lines[i + 1]!])
  const init: RequestInit = { method, headers }
  // A GET with a body cannot be a Request, either; nobody reads such a body.
  if (chunks !== null && !/^(?:GET|HEAD)$/i.test(method)) {
    Object.assign(init, { body: webStream(chunks), duplex: 'half' })
  }
  try {
    const request = new Request(originUri(environ) + (url === '*' ? '/' : url), init)
    return watched(request, environ)
  } catch (error) {
    throw new PeerError('PORTICO_BAD_REQUEST', `This cannot be a Request: ${String(error)}`)
  }
}

/** Where a Request finds its environ. */
const ENVIRON = Symbol('portico.environ')

interface WatchedRequest extends Request {
  readonly [ENVIRON]: Environ
}

/** One for all requests: with a getter of its own each would be an object of its own shape. */
const WATCHED: PropertyDescriptorMap & ThisType<WatchedRequest> = {
  signal: {
    configurable: true,
    get(): AbortSignal {
      return this[ENVIRON]['portico.signal']
    },
  },
  clone: {
    configurable: true,
    value(): Request {
      return watched(Request.prototype.clone.call(this), this[ENVIRON])
    },
  },
}

/**
 * Makes `request.signal` that of the environ. To follow it from the beginning costs a Request three
 * times what else it costs, so it is asked for where it is used; `new Request(url, request)` does.
 */
function watched(request: Request, environ: Environ): Request {
  Object.defineProperty(request, ENVIRON, { value: environ })
  return Object.defineProperties(request, WATCHED)
}

/** Scheme and host of the request: a Host that is none is passed over for SERVER_NAME. */
function originUri(environ: Environ): string {
  const { SERVER_NAME, SERVER_PORT, HTTP_HOST, 'wsgi.url_scheme': scheme } = environ
  const parts = { SERVER_NAME, SERVER_PORT, HTTP_HOST, 'wsgi.url_scheme': scheme }
  return applicationUri(parts).slice(0, -1)
}

/** The body is read from the gateway only as the handler reads it. */
function webStream(chunks: AsyncIterator<Buffer>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await chunks.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
    },
    { highWaterMark: 0 },
  )
}

async function answer(
  response: unknown,
  startResponse: StartResponse,
  environ: Environ,
): Promise<Body> {
  if (!isResponse(response)) {
    const type = response === null ? 'null' : typeof response
    throw new ApplicationError(`The fetch handler must return a Response (got ${type})`)
  }
  const { body, status } = response
  const write = startResponse(
    `${status} ${response.statusText || (STATUS_CODES[status] ?? '')}`,
    headersOf(response),
  )
  if (body === null) return []
  if (!NULL_BODY.has(status)) return readBody(body, write, environ)
  await body.cancel()
  return []
}

/** A polyfill's Response will do. */
function isResponse(value: unknown): value is Response {
  const { status, headers, body } = (value ?? {}) as Partial<Response>
  return typeof status === 'number' && typeof headers === 'object' && body !== undefined
}

/** Several Set-Cookie stay several: the iterator of Headers gives each of them. */
function headersOf({ headers }: Response): HeaderList {
  const list: HeaderList = []
  // oxlint-disable-next-line unicorn/no-array-for-each -- it is what every implementation has.
  headers.forEach((value, name) => {
    if (!isHopByHop(name)) list.push([name, value])
  })
  return list
}

/**
 * A body that is there at once is returned as a list, whose length the handler announces; of any
 * other the head is sent before there is a first chunk, as an event stream wants it.
 */
async function readBody(
  stream: ReadableStream<Chunk>,
  write: Write,
  environ: Environ,
): Promise<Body> {
  const reader = stream.getReader()
  const ready: Chunk[] = []
  let next = reader.read()
  while (ready.length < 2) {
    const step = await atOnce(next)
    if (step === null) break
    if (step.done) return ready
    ready.push(step.value)
    next = reader.read()
  }
  next.catch(() => {}) // It may fail before somebody waits for it, and is seen then.
  if (ready.length === 0) await write('')
  return streamed(reader, ready, next, environ['portico.signal'])
}

/** A cancelled stream ends a read that is under way, which a generator's `return` would wait for. */
function streamed(
  reader: ReadableStreamDefaultReader<Chunk>,
  ready: readonly Chunk[],
  next: ReturnType<typeof reader.read>,
  signal: AbortSignal,
): Body {
  // What goes wrong in it the reads have told, if anybody was to know.
  const cancel = () => reader.cancel(signal.reason).catch(() => {})
  if (signal.aborted) void cancel()
  else signal.addEventListener('abort', cancel)
  return {
    async *[Symbol.asyncIterator]() {
      yield* ready
      for (let step = await next; !step.done; step = await reader.read()) yield step.value
      // A stream that was cancelled looks as if it had come to its end.
      if (signal.aborted) throw new PeerError('PORTICO_DISCONNECTED', 'The client went away')
    },
    close() {
      signal.removeEventListener('abort', cancel)
      return cancel()
    },
  }
}

/**
 * What a promise resolves to in this turn of the event loop; null if it takes longer. Most are a few
 * microtasks from it, which are cheaper to wait for than a turn.
 */
async function atOnce<T>(promise: Promise<T>): Promise<T | null> {
  const wait = { over: false }
  const end = () => {
    wait.over = true
  }
  promise.then(end, end)
  for (let i = 0; i < MICROTASKS && !wait.over; i += 1) await NOTHING
  if (wait.over) return promise
  return Promise.race([promise, new Promise<null>((resolve) => setImmediate(resolve, null))])
}

/** A form with files takes 7 for a chunk, anything else that is in memory 3 (Node 20). */
const MICROTASKS = 8
const NOTHING = Promise.resolve()
