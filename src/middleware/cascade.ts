/** Applications that are tried one after the other (Plack::App::Cascade). */
import { asApplication } from '../application/detect.ts'
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass } from '../types.ts'
import { intercept, plain } from './response.ts'

/** What `cascade` can be told. */
export interface CascadeOptions {
  /** The statuses that mean 'not mine'. Default: 404 and 405. */
  readonly catch?: readonly number[] | undefined
}

/**
 * Tries applications in turn until one answers with something else than 404 or 405.
 *
 * @param applications in their order; the last one's answer counts, whatever it is. One that reads
 *   `wsgi.input` and then answers 404 leaves nothing of it to the next.
 * @param options `catch`: the statuses that hand a request on.
 * @returns an application. The body of an answer that was not taken is closed before the next
 *   application runs.
 * @throws {ConfigurationError} for what is no array.
 * @example
 * import { cascade, mount } from 'portico/middleware'
 *
 * const say = (text) => (environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [text]
 * }
 * const application = cascade([mount({ '/new': say('new') }), mount({ '/': say('old') })])
 * // GET /new → 200 new
 * // GET /other → 200 old
 */
export function cascade(
  applications: readonly (Application | ApplicationClass)[],
  options: CascadeOptions = {},
): Application {
  if (!Array.isArray(applications)) {
    throw new ConfigurationError('cascade: it takes an array of applications')
  }
  const caught = new Set((options.catch ?? [404, 405]).map(String))
  return (
    applications
      .map(asApplication)
      .reduceRight<Application | undefined>(
        (next, application) =>
          next === undefined
            ? application
            : (environ, startResponse) =>
                intercept(
                  application,
                  environ,
                  startResponse,
                  ({ status }) => (caught.has(status.slice(0, 3)) ? next : undefined),
                  true,
                ),
        undefined,
      ) ?? plain('404 Not Found')
  )
}
