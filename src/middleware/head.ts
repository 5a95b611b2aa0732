/** Answers to HEAD without the work of a body (Rack::Head). */
import { asApplication } from '../application/detect.ts'
import type { Application, ApplicationClass } from '../types.ts'
import { chain } from './body-hooks.ts'
import { addLength } from './content-length.ts'
import { intercept } from './response.ts'

/**
 * Drops the body of an answer to HEAD before anybody iterates it.
 *
 * Handlers send no such body either; this closes it at once, and keeps it from the layers outside.
 *
 * @param app the application; it may answer to HEAD as it does to GET.
 * @returns the application. Content-Length is what it would be for GET, where that can be known.
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
  return (environ, startResponse) => {
    if (environ.REQUEST_METHOD !== 'HEAD') return application(environ, startResponse)
    return intercept(application, environ, startResponse, (response) =>
      chain(addLength(response, environ), () => {
        response.body = []
      }),
    )
  }
}
