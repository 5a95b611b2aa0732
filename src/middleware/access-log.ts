/** One line for each answer (Apache's mod_log_config; Plack::Middleware::AccessLog). */
import { asApplication } from '../application/detect.ts'
import { chunkLength } from '../response/body.ts'
import { PeerError } from '../errors.ts'
import { Headers } from '../response/headers.ts'
import type { Application, ApplicationClass, Environ, StartResponse } from '../types.ts'
import { chain, guard, hook } from './body-hooks.ts'
import { escapePath } from './escape-path.ts'
import { jsonLine, type LogEntry, textLine } from './log-formats.ts'

/** What `accessLog` can be told. */
export interface AccessLogOptions {
  /**
   * `'common'`, `'combined'` (default), `'json'`, or a format of Apache's directives:
   * %a %h %l %u %t %r %m %U %q %H %s %b %B %v %V %p %P %D %T %{Name}i %{Name}o %{key}e %%.
   */
  readonly format?: string | undefined
  /** Gets each line, with its '\n'. Default: `wsgi.errors`. */
  readonly write?: ((line: string) => void) | undefined
}

/**
 * Writes a line for each answer, when its body has been closed.
 *
 * Under CGI it is silent: the web server has a log of its own, and wrote down more.
 *
 * @param app the application; what it sets in the environ, as REMOTE_USER, is there for the line.
 * @param options `format` and `write`.
 * @returns the application. Control bytes, quotes and all that is not ASCII are escaped, so that no
 *   client can forge a line, or drive the terminal that shows it.
 * @throws {ConfigurationError} for a format with an unknown directive.
 * @example
 * import { accessLog } from 'portico/middleware'
 *
 * const lines = []
 * const application = accessLog(
 *   (environ, startResponse) => {
 *     startResponse('200 OK', [['Content-Type', 'text/plain']])
 *     return [lines.join('')]
 *   },
 *   { format: '%m %U %s %b', write: (line) => lines.push(line) },
 * )
 * // GET /first → 200
 * // GET /second → 200
 */
export function accessLog(
  app: Application | ApplicationClass,
  options: AccessLogOptions = {},
): Application {
  const application = asApplication(app)
  const { format = 'combined', write } = options
  const toLine = format === 'json' ? jsonLine : textLine(format)
  return (environ, startResponse) => {
    if (environ['portico.gateway'] === 'cgi') return application(environ, startResponse)
    const entry: LogEntry = {
      environ,
      // A layer may change these on their way in; the line tells what the client asked for.
      method: environ.REQUEST_METHOD,
      target: environ['REQUEST_URI'] ?? pathOf(environ),
      began: new Date(),
      milliseconds: 0,
      status: '500',
      headers: new Headers(),
      bytes: 0,
    }
    const start = performance.now()
    function done(): void {
      entry.milliseconds = performance.now() - start
      if (environ.REQUEST_METHOD === 'HEAD' || /^(?:1|204|304)/.test(entry.status)) entry.bytes = 0
      const line = toLine(entry)
      if (write) write(line)
      else environ['wsgi.errors'].write(line)
    }
    const listen: StartResponse = (...head) => {
      const send = startResponse(...head)
      entry.status = head[0].slice(0, 3)
      entry.headers = new Headers(head[1])
      return (chunk) => {
        entry.bytes += chunkLength(chunk)
        return send(chunk)
      }
    }
    function failed(error: unknown): void {
      entry.status = error instanceof PeerError ? error.status.slice(0, 3) : '500'
      entry.headers = new Headers()
    }
    const result = guard(
      () => application(environ, listen),
      (error) => {
        failed(error)
        done()
      },
    )
    return chain(result, (body) =>
      hook(body, {
        chunk: (chunk) => (entry.bytes += chunkLength(chunk)),
        failed: (error) => {
          // Behind the first byte the client has the status that was announced.
          if (entry.bytes === 0) failed(error)
          throw error
        },
        closed: done,
      }),
    )
  }
}

function pathOf(environ: Environ): string {
  const path = escapePath(environ.SCRIPT_NAME + environ.PATH_INFO) || '/'
  return environ.QUERY_STRING === '' ? path : `${path}?${environ.QUERY_STRING}`
}
