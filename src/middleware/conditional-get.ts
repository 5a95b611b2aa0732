/** 304 and 412 for conditional requests (Rack::ConditionalGet). */
import type { Application, ApplicationClass } from '../types.ts'
import { intercept } from './intercept.ts'
import { plain } from './plain-response.ts'
import { deleteDescription, evaluatePreconditions } from './preconditions.ts'

/**
 * Responds to conditional requests: 304 (Not Modified) if the client's copy is still current, and 412
 * (Precondition Failed) if the client asks for a version that is not the current one.
 *
 * @param app the application. It sets ETag or Last-Modified, and runs in any case.
 * @returns the application. Only a 200 to GET or HEAD is changed. If-Match counts before
 *   If-Unmodified-Since and If-None-Match before If-Modified-Since (RFC 9110, section 13.2.2);
 *   what is malformed is ignored.
 * @example
 * import { conditionalGet } from 'portico/middleware'
 *
 * const application = conditionalGet((environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain'], ['ETag', '"v1"']])
 *   return ['first version']
 * })
 * // GET / → 200 first version
 * // GET / with If-None-Match: "v1" → 304
 * // GET / with If-Match: "v2" → 412 Precondition Failed
 */
export function conditionalGet(app: Application | ApplicationClass): Application {
  return intercept(app, {
    onResponse(response, environ) {
      if (!response.status.startsWith('200')) return
      const condition = evaluatePreconditions(environ, response.headers)
      if (condition === 'failed') return PRECONDITION_FAILED
      if (condition === 'met') return
      response.status = '304 Not Modified'
      deleteDescription(response.headers)
      response.replaceBody([])
    },
  })
}

export const PRECONDITION_FAILED = plain('412 Precondition Failed')
