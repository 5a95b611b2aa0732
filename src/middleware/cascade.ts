/** Applications that are tried one after the other (Plack::App::Cascade). */
import { asApplication } from '../application/detect.ts'
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass } from '../types.ts'
import { intercept } from './intercept.ts'
import { checkNames } from '../options/names.ts'
import { isInteger, refuse } from '../options/values.ts'
import { plain } from './plain-response.ts'

export interface CascadeOptions {
  /** The statuses that hand a request on to the next application. Default: 404 and 405. */
  readonly catch?: readonly number[] | undefined
}

/**
 * Tries applications in turn until one responds with a status other than 404 or 405.
 *
 * @param applications in their order. The response of the last one counts, whatever it is. If one
 *   reads `wsgi.input` and then responds with 404, nothing of the body is left for the next one.
 * @param options `catch`: the statuses that hand a request on.
 * @returns an application. The body of a response that is not used is closed before the next
 *   application runs.
 * @throws {ConfigurationError} for anything but an array of applications, or an unknown option.
 * @example
 * import type { Application } from 'portico'
 * import { cascade, mount } from 'portico/middleware'
 *
 * const say = (text: string): Application => (environ, startResponse) => {
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
    throw new ConfigurationError('cascade: the first argument must be an array of applications')
  }
  checkNames('cascade', options, ['catch'])
  const { catch: statuses = [404, 405] } = options
  if (!Array.isArray(statuses)) {
    refuse('cascade', 'catch', statuses, 'an array of statuses, [404, 405] for example')
  }
  for (const status of statuses) {
    if (!isInteger(status, 100, 999)) {
      refuse('cascade', 'a status of catch', status, 'a whole number from 100 to 999')
    }
  }
  const caught = new Set(statuses.map(String))
  return (
    applications.map(asApplication).reduceRight<Application | undefined>(
      (next, application) =>
        next === undefined
          ? application
          : intercept(application, {
              onResponse: ({ status }) => (caught.has(status.slice(0, 3)) ? next : undefined),
            }),
      undefined,
    ) ?? plain('404 Not Found')
  )
}
