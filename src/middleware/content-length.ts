/** Content-Length where it can be known, for layers outside that need it (Rack::ContentLength). */
import { asApplication } from '../application/detect.ts'
import { bodyLength } from '../response/body.ts'
import { whenOpen } from '../response/file-part.ts'
import type { Application, ApplicationClass, Environ } from '../types.ts'
import { isFileWrapper } from '../wsgiref/util.ts'
import { chain, type MaybePromise } from './body-hooks.ts'
import { intercept, type Response } from './response.ts'

/**
 * Adds Content-Length to answers whose body is an array or a regular file.
 *
 * Handlers do so themselves; a layer between that has to see the length wants it earlier.
 *
 * @param app the application.
 * @returns the application with the header; it stays as it is where the application sets it, where
 *   the status has no body, and where only the end of the body would tell.
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
  const application = asApplication(app)
  return (environ, startResponse) =>
    intercept(application, environ, startResponse, (response) => addLength(response, environ))
}

/** Adds the header to a response, if it can; waits for a stream that has yet to open its file. */
export function addLength(
  { status, headers, body }: Response,
  environ: Environ,
): MaybePromise<void> {
  if (headers.has('Content-Length') || /^(?:1|204|304)/.test(status)) return
  return chain(isFileWrapper(body) ? whenOpen(body) : undefined, () => {
    const length = bodyLength(body)
    // A HEAD request may be answered without the body that a GET would have.
    if (length === undefined || (length === 0 && environ.REQUEST_METHOD === 'HEAD')) return
    headers.append('Content-Length', String(length))
  })
}
