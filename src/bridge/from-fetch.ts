/**
 * `fromFetch`: a handler of the Fetch API (Hono, H3, itty-router) as an application of ours. From
 * the handler's side: one Request, whose second argument is the environ, for one Response.
 *
 * The globals of the Fetch API take 19 ms to load, more than Node itself: nothing here touches one
 * of them before the first request.
 */
import type { Buffer } from 'node:buffer'
import { STATUS_CODES } from 'node:http'
import { applicationOf, linkFetchOrigin } from '../application/adapted.ts'
import { isPromise } from '../response/body.ts'
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
import { isHopByHop } from '../wsgiref/util.ts'
import { createRequest } from './fetch-request.ts'
import { LightResponse } from './light-fetch.ts'
import { knownBody, openBody, type RequestBody } from './request-body.ts'
import { takeSource } from './response-source.ts'

/** Answers a Request; `c.env` of Hono is the environ. */
export type FetchHandler = (request: Request, environ: Environ) => Response | Promise<Response>

/** What `fromFetch` takes: a handler, or an application that has one, as Hono and H3. */
export type FetchApplication = FetchHandler | { readonly fetch: FetchHandler }

/** Answers without a body (Fetch Standard, section 2.2.3, "null body status"). */
const NULL_BODY = new Set([101, 103, 204, 205, 304])

/**
 * Makes an application of ours. The URL of the Request has the path below the mount point; the
 * mount point itself is SCRIPT_NAME in the environ.
 *
 * @throws {ConfigurationError} for what is no handler and has none.
 */
export function fromFetch(source: FetchApplication): Application {
  const made = applicationOf(source)
  if (made !== undefined) return made // It came from a bridge.
  const handler = handlerOf(source)
  const application: Application = (environ, startResponse) => {
    const respond = (body: RequestBody): Body | Promise<Body> => {
      const response = handler(createRequest(environ, body), environ)
      return isPromise(response)
        ? response.then((settled) => answer(settled, startResponse, environ))
        : answer(response, startResponse, environ)
    }
    const begin = (body: RequestBody): Body | Promise<Body> => {
      if (body.chunks === null) return respond(body)
      const chunks = new WatchedChunks(body.chunks)
      const answered = respond({ ...body, chunks })
      return isPromise(answered)
        ? answered.then((settled) => chunks.stayBehind(settled))
        : chunks.stayBehind(answered)
    }
    const body = knownBody(environ)
    return body === null ? openBody(environ).then(begin) : begin(body)
  }
  linkFetchOrigin(application, handler)
  return application
}

/** The body of a request, which a handler may go on reading behind its answer. */
class WatchedChunks implements AsyncIterator<Buffer> {
  readonly #chunks: AsyncIterator<Buffer>
  /** The last read, until it comes to the end. */
  #read: Promise<IteratorResult<Buffer>> | null = null

  constructor(chunks: AsyncIterator<Buffer>) {
    this.#chunks = chunks
  }

  async next(): Promise<IteratorResult<Buffer>> {
    const read = (this.#read = this.#chunks.next())
    const step = await read
    if (step.done) this.#read = null
    return step
  }

  /** The answer, which ends when nobody reads any more; most often nobody does. */
  stayBehind(body: Body): Body {
    if (this.#read === null) return body
    const readOn = () => this.#readOn()
    return {
      async *[Symbol.asyncIterator]() {
        yield* body
        await readOn()
      },
      close: () => body.close?.(),
    }
  }

  /** Who has not asked for more a turn of the event loop after the last piece has stopped. */
  async #readOn(): Promise<void> {
    for (let last: unknown = undefined; this.#read !== last;) {
      last = this.#read
      // What goes wrong the reader hears.
      await this.#read?.catch(() => {})
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
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

function answer(
  response: unknown,
  startResponse: StartResponse,
  environ: Environ,
): Body | Promise<Body> {
  const light = LightResponse.take(response)
  if (light !== null) {
    const { status, headers, body } = light
    const ours = headers.filter(([name]) => !isHopByHop(name))
    startResponse(statusLine(status), ours)
    return body === null ? [] : [body]
  }
  if (!isResponse(response)) {
    const type = response === null ? 'null' : typeof response
    throw new ApplicationError(`The fetch handler must return a Response (got ${type})`)
  }
  const { status, statusText, body } = response
  const write = startResponse(statusLine(status, statusText), headersOf(response))
  if (body === null) return []
  if (NULL_BODY.has(status)) return body.cancel().then(() => [])
  const source = takeSource(response, body)
  return source === null ? readBody(body, write, environ) : [source]
}

function statusLine(status: number, reason = ''): string {
  return `${status} ${reason || (STATUS_CODES[status] ?? '')}`
}

/** A polyfill's Response will do. */
function isResponse(value: unknown): value is Response {
  const { status, headers } = (value ?? {}) as Partial<Response>
  return typeof status === 'number' && typeof headers === 'object' && 'body' in (value as object)
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
