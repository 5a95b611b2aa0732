/** HEAD without the work of a body (Rack::Head). */
import { asApplication } from '../application/detect.ts'
import type { Application, ApplicationClass } from '../types.ts'
import { addLength } from './content-length.ts'
import { intercept } from './intercept.ts'
import { chain } from './maybe-promise.ts'

/**
 * Drops the body of a response to HEAD, and closes it before it is iterated.
 *
 * Handlers drop such bodies anyway. As in Rack and Plack, use it to spare the application the work, or
 * to hide the body from outer middleware.
 *
 * @param app the application. It may respond to HEAD as it does to GET.
 * @returns the application. Content-Length is that of the response to GET, where it is known.
 * @example
 * import { head } from 'portico/middleware'
 *
 * const application = head((environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return ['Hello world']
 * })
 * // HEAD / → 200
 * // Content-Length: 11
 */
export function head(app: Application | ApplicationClass): Application {
  const application = asApplication(app)
  const withoutBody = intercept(application, {
    onResponse: (response, environ) =>
      chain(addLength(response, environ), () => response.replaceBody([])),
  })
  return (environ, startResponse) =>
    (environ.REQUEST_METHOD === 'HEAD' ? withoutBody : application)(environ, startResponse)
}
