/** One log line for each response (Apache's mod_log_config; Plack::Middleware::AccessLog). */
import { asApplication } from '../application/detect.ts'
import { checkNames } from '../options/names.ts'
import { refuse } from '../options/values.ts'
import { PeerError } from '../errors.ts'
import { chunkLength } from '../response/body.ts'
import { frame } from '../response/head.ts'
import { Headers } from '../response/headers.ts'
import type { Application, ApplicationClass, Environ, StartResponse } from '../types.ts'
import { hookBody } from './body-hooks.ts'
import { escapePath } from './escape-path.ts'
import { jsonLine, type LogEntry, textLine } from './log-formats.ts'
import { chain, guard } from './maybe-promise.ts'

export interface AccessLogOptions {
  /**
   * `'common'`, `'combined'` (default), `'json'`, or a format with Apache's directives:
   * %a %h %l %u %t %r %m %U %q %H %s %b %B %v %V %p %P %D %T %{Name}i %{Name}o %{key}e %%.
   */
  readonly format?: string | undefined
  /** Called with each line, which ends in '\n'. Default: `wsgi.errors`. */
  readonly write?: ((line: string) => void) | undefined
}

/**
 * Writes a line for each response, when its body has been closed.
 *
 * Under CGI it writes nothing: the web server has an access log of its own, which knows more.
 *
 * @param app the application. What it sets in the environ, REMOTE_USER for example, is in the line.
 * @param options `format` and `write`.
 * @returns the application. Control characters, quotes and bytes that are not ASCII are escaped, so
 *   that no client can forge a line or control the terminal that shows it.
 * @throws {ConfigurationError} for a format with an unknown directive, or an unknown option.
 * @example
 * import { accessLog } from 'portico/middleware'
 *
 * const lines: string[] = []
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
  checkNames('accessLog', options, ['format', 'write'])
  const { format = 'combined', write } = options
  if (typeof format !== 'string') refuse('accessLog', 'format', format, 'a string')
  if (write !== undefined && typeof write !== 'function') {
    refuse('accessLog', 'write', write, 'a function')
  }
  const toLine = format === 'json' ? jsonLine : textLine(format)
  return (environ, startResponse) => {
    if (environ['portico.gateway'] === 'cgi') return application(environ, startResponse)
    const entry: LogEntry = {
      environ,
      // Noted now, because inner middleware may change these; the line shows what the client asked for.
      method: environ.REQUEST_METHOD,
      target: environ['REQUEST_URI'] || pathOf(environ),
      began: new Date(),
      milliseconds: 0,
      status: '500',
      headers: new Headers(),
      bytes: 0,
    }
    let begun = false
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
      const headers = new Headers(head[1])
      // The gateway checks it when it sends the head: too late for a list of chunks, which is counted.
      frame(head[0], environ.REQUEST_METHOD, headers.getAll('Content-Length'))
      entry.status = head[0].slice(0, 3)
      entry.headers = headers
      return (chunk) => {
        const sent = send(chunk)
        begun = true // An empty chunk sends the head, too.
        entry.bytes += chunkLength(chunk)
        return sent
      }
    }
    function failed(error: unknown): void {
      // The client has already received the status.
      if (begun || entry.bytes > 0) return
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
      hookBody(body, {
        onChunk: (chunk) => (entry.bytes += chunkLength(chunk)),
        onError: (error) => {
          failed(error)
          throw error
        },
        onClose: done,
      }),
    )
  }
}

function pathOf(environ: Environ): string {
  const path = escapePath(environ.SCRIPT_NAME + environ.PATH_INFO) || '/'
  return environ.QUERY_STRING === '' ? path : `${path}?${environ.QUERY_STRING}`
}
