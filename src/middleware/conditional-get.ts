/** 304 for what the client has already (RFC 9110, section 13; Rack::ConditionalGet). */
import { asApplication } from '../application/detect.ts'
import type { Headers } from '../response/headers.ts'
import type { Application, ApplicationClass, Environ } from '../types.ts'
import { intercept } from './response.ts'

/**
 * Answers 304 (Not Modified) where ETag or Last-Modified says that the client's copy is still good.
 *
 * @param app the application; it sets ETag or Last-Modified, and is run in any case.
 * @returns the application. Only a 200 to GET or HEAD is changed. If-None-Match counts, and only
 *   without it If-Modified-Since; what is malformed is passed over.
 * @example
 * import { conditionalGet } from 'portico/middleware'
 *
 * const application = conditionalGet((environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain'], ['ETag', '"v1"']])
 *   return ['first version']
 * })
 * // GET / → 200 first version
 * // GET / with If-None-Match: "v1" → 304
 */
export function conditionalGet(app: Application | ApplicationClass): Application {
  const application = asApplication(app)
  return (environ, startResponse) =>
    intercept(application, environ, startResponse, (response) => {
      if (!response.status.startsWith('200') || !isFresh(environ, response.headers)) return
      response.status = '304 Not Modified'
      deleteDescription(response.headers)
      response.body = []
    })
}

/** A 304 tells of the client's copy only what may have changed (section 15.4.5). */
export function deleteDescription(headers: Headers): void {
  for (const name of DESCRIPTION) headers.delete(name)
}

const DESCRIPTION = [
  'Content-Encoding',
  'Content-Language',
  'Content-Length',
  'Content-Range',
  'Content-Type',
]

/** Whether the client has the representation that `headers` belong to (section 13.2.2). */
export function isFresh(environ: Environ, headers: Headers): boolean {
  if (environ.REQUEST_METHOD !== 'GET' && environ.REQUEST_METHOD !== 'HEAD') return false
  const tags = environ['HTTP_IF_NONE_MATCH']
  if (tags !== undefined) return matches(tags, headers.get('ETag'))
  const since = readDate(environ['HTTP_IF_MODIFIED_SINCE'])
  const modified = readDate(headers.get('Last-Modified'))
  return since !== undefined && modified !== undefined && modified <= since
}

/** If-None-Match compares weakly: `W/` makes no difference (section 13.1.2). */
function matches(list: string, tag: string | null): boolean {
  if (tag === null) return false
  if (list.trim() === '*') return true
  const opaque = tag.replace(/^W\//, '')
  return [...list.matchAll(/"[^"]*"/g)].some(([it]) => it === opaque)
}

/**
 * Milliseconds of an HTTP date. The two forms that have been obsolete since 1999 are passed over,
 * which costs their senders no more than a full answer.
 */
function readDate(text: string | null | undefined): number | undefined {
  const milliseconds = text && IMF_FIXDATE.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(milliseconds) ? undefined : milliseconds
}

const IMF_FIXDATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/
