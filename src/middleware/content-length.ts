/** Content-Length where it is known, for middleware that looks at it (Rack::ContentLength). */
import { bodyLength } from '../response/body.ts'
import { whenOpen } from '../response/file-part.ts'
import type { Application, ApplicationClass, Environ, MaybePromise } from '../types.ts'
import { isFileWrapper } from '../wsgiref/util.ts'
import { type InterceptedResponse, intercept } from './intercept.ts'
import { chain } from './maybe-promise.ts'

/**
 * Adds Content-Length to responses whose body is an array or a regular file.
 *
 * Handlers do this themselves, as Rack's and Plack's servers do; use it inside middleware of your
 * own that has to see the length.
 *
 * @param app the application.
 * @returns the application with the header. A response stays as it is if it has a Content-Length, if
 *   its status allows no body, or if only the end of its body would show the length.
 * @example
 * import { contentLength } from 'portico/middleware'
 *
 * const application = contentLength((environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return ['Hello, ', 'world!']
 * })
 * // GET / → 200 Hello, world!
 * // Content-Length: 13
 */
export function contentLength(app: Application | ApplicationClass): Application {
  return intercept(app, { onResponse: addLength })
}

/** Adds the header if the length is known; waits for a stream that has yet to open its file. */
export function addLength(
  { status, headers, body }: InterceptedResponse,
  environ: Environ,
): MaybePromise {
  if (headers.has('Content-Length') || /^(?:1|204|304)/.test(status)) return
  return chain(isFileWrapper(body) ? whenOpen(body) : undefined, () => {
    const length = bodyLength(body)
    // An empty body for HEAD does not say that the one for GET is empty.
    if (length === undefined || (length === 0 && environ.REQUEST_METHOD === 'HEAD')) return
    headers.append('Content-Length', String(length))
  })
}
