/**
 * Live reload: HTML pages get a script, which reloads them when a new process serves the application.
 * The script reads an event stream, in which each process sends its own name.
 */
import { ERROR_PAGE_POLICY } from '../middleware/error-page.ts'
import { chain } from '../middleware/maybe-promise.ts'
import { closeBody, isChunk, iteratorOf } from '../response/body.ts'
import type { Application, Body, Chunk, Environ, HeaderList, StartResponse } from '../types.ts'

/** Below the mount point. */
export const STREAM_PATH = '/.portico/live'
export const SCRIPT_PATH = `${STREAM_PATH}.js`

/** Milliseconds until a browser connects again. */
const RETRY_TIME = 200

/** The stream's own address is that of the script, without its suffix. */
export const SCRIPT = `{
  const stream = new EventSource(document.currentScript.src.replace(/\\.js$/, ''))
  let served
  stream.onmessage = ({ data }) => {
    if (served !== undefined && served !== data) location.reload()
    served = data
  }
  addEventListener('pagehide', () => stream.close())
}
`

export const STREAM_HEADERS: HeaderList = [
  ['Content-Type', 'text/event-stream'],
  ['Cache-Control', 'no-store'],
  // nginx passes each event on at once.
  ['X-Accel-Buffering', 'no'],
]

export const SCRIPT_HEADERS: HeaderList = [
  ['Content-Type', 'text/javascript; charset=utf-8'],
  ['Cache-Control', 'no-cache'],
]

const RETRY = `retry: ${RETRY_TIME}\n`
const NAME = `data: ${process.pid}-${Date.now()}\n`

/** The open streams: they end when the process is replaced, so that the browsers connect again. */
const ends = new Set<() => void>()

let isReplaced = false

/** The first event of a stream: which process this is, unless it is about to end. */
export function firstEvent(): string {
  return `${RETRY}${isReplaced ? '' : NAME}\n`
}

/** Calls `end` when the process is replaced; returns a function that forgets it. */
export function onReplaced(end: () => void): () => void {
  if (isReplaced) setImmediate(end)
  ends.add(end)
  return () => ends.delete(end)
}

export function endStreams(): void {
  isReplaced = true
  for (const end of ends) end()
}

export function scriptTag(mountPoint: string): string {
  return `<script src="${mountPoint}${SCRIPT_PATH}"></script>\n`
}

/**
 * The headers of a response that gets the script, or null if it must stay as it is: no HTML, encoded,
 * without a body, or with a Content-Security-Policy that would refuse the script.
 */
export function headersWithScript(
  status: string,
  headers: HeaderList,
  method: string,
  tag: string,
): HeaderList | null {
  if (method === 'HEAD' || /^(?:1|204|206|304)/.test(status)) return null
  const all = (name: string): string[] =>
    headers.filter(([each]) => each.toLowerCase() === name).map(([, value]) => value)
  if (!/^text\/html\b/i.test(all('content-type')[0] ?? '')) return null
  if (all('content-encoding').some((coding) => coding.toLowerCase() !== 'identity')) return null
  const policies = all('content-security-policy')
  if (!policies.every((policy) => policy === ERROR_PAGE_POLICY || allowsOwnScripts(policy)))
    return null
  return headers.map(([name, value]) => {
    const lower = name.toLowerCase()
    if (lower === 'content-length') return [name, String(Number(value) + Buffer.byteLength(tag))]
    if (value === ERROR_PAGE_POLICY)
      return [name, `${value}; script-src 'self'; connect-src 'self'`]
    return [name, value]
  })
}

/** Content Security Policy Level 3, section 6.1: the most specific directive counts. */
function allowsOwnScripts(policy: string): boolean {
  const directives = new Map(
    policy.split(';').map((directive) => {
      const [name = '', ...sources] = directive.trim().toLowerCase().split(/\s+/)
      return [name, sources] as const
    }),
  )
  const fallback = directives.get('default-src')
  const scripts = directives.get('script-src-elem') ?? directives.get('script-src') ?? fallback
  const streams = directives.get('connect-src') ?? fallback
  return allowsOwn(scripts) && allowsOwn(streams)
}

function allowsOwn(sources: readonly string[] | undefined): boolean {
  if (sources === undefined) return true
  if (sources.includes("'strict-dynamic'")) return false
  return sources.includes("'self'") || sources.includes('*')
}

/** Gives the pages of an application the script, and responds to the script's requests. */
export function live(application: Application): Application {
  return (environ, startResponse) => {
    const { PATH_INFO: path, SCRIPT_NAME: mountPoint } = environ
    if (path === SCRIPT_PATH) {
      startResponse('200 OK', SCRIPT_HEADERS)
      return [SCRIPT]
    }
    if (path === STREAM_PATH) {
      startResponse('200 OK', STREAM_HEADERS)
      return stream(environ)
    }
    const tag = scriptTag(mountPoint)
    let announced = false
    let added = false
    const announce: StartResponse = (...head) => {
      const [status, pairs, ...error] = head
      const headers: HeaderList = Array.from(pairs, ([name, value]) => [name, value])
      const changed = headersWithScript(status, headers, environ.REQUEST_METHOD, tag)
      const write = startResponse(status, changed ?? headers, ...error)
      announced = true
      added = changed !== null
      return write
    }
    return chain(application(environ, announce), (body) => {
      if (!announced) return withEnd(body, () => (added ? tag : '')) // A generator.
      return added ? withEnd(body, () => tag) : body
    })
  }
}

async function* stream(environ: Environ): AsyncGenerator<Chunk> {
  yield firstEvent()
  // A promise does not keep the process alive, but the channel to the parent does.
  await new Promise<void>((resolve) => {
    const forget = onReplaced(resolve)
    const gone = (): void => {
      forget()
      resolve()
    }
    environ['portico.signal'].addEventListener('abort', gone, { once: true })
  })
}

/** `body` with a last chunk. For a generator, `last` is called when the rest has been sent. */
function withEnd(body: Body, last: () => string): Body {
  if (isChunk(body)) return [body, last()]
  if (Array.isArray(body)) {
    // The gateway can announce the length of an array.
    return Object.assign([...body, last()], { close: () => closeBody(body, null) })
  }
  let iterator: Iterator<Chunk> | AsyncIterator<Chunk> | null = null
  async function* chunks(): AsyncGenerator<Chunk> {
    iterator = iteratorOf(body)
    for (let step; !(step = await iterator.next()).done;) yield step.value
    const end = last()
    if (end !== '') yield end
  }
  const made = chunks()
  return { [Symbol.asyncIterator]: () => made, close: () => closeBody(body, iterator) } as Body
}
