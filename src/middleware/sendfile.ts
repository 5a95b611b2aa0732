/** Files that the web server in front sends by itself (X-Sendfile, X-Accel-Redirect). */
import { resolve } from 'node:path'
import { asApplication } from '../application/detect.ts'
import { encodeText } from '../environ/environ.ts'
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass } from '../types.ts'
import { isFileWrapper } from '../wsgiref/util.ts'
import { escapePath } from './escape-path.ts'
import { intercept } from './response.ts'

/** How the web server in front is told. Nothing of it is ever taken from a request. */
export interface SendfileOptions {
  /**
   * `'X-Accel-Redirect'` for nginx; `'X-Sendfile'` for lighttpd (`x-sendfile` and
   * `x-sendfile-docroot`) and for Apache with mod_xsendfile.
   */
  readonly header: 'X-Accel-Redirect' | 'X-Sendfile'
  /**
   * Only for nginx, which takes a URL instead of a path: folders and the `internal` locations that
   * serve them, `{ '/srv/files': '/files' }`. The longest folder counts; files elsewhere are sent
   * from here.
   */
  readonly map?: Readonly<Record<string, string>> | undefined
  /**
   * Whether the path is percent-encoded. nginx and lighttpd decode it; mod_xsendfile up to 0.12,
   * which Debian has, does not, and needs `false` here. Default: true.
   */
  readonly escape?: boolean | undefined
}

/**
 * Hands whole files to the web server, which sends them without a byte passing the gateway.
 *
 * @param app the application; it returns a FileWrapper with a `path`, as one over
 *   `fs.createReadStream(path)` has. The workers of the web server must be allowed to read it.
 * @param options `header`; `map` for nginx; `escape`.
 * @returns the application. Only a 200 to GET or HEAD with a whole file is handed over, and none with
 *   a Content-Encoding: nginx keeps of the head Content-Type, Content-Disposition, Set-Cookie,
 *   Cache-Control and Expires only (Accept-Ranges is left to it). The application's own such header stays as it is.
 * @throws {ConfigurationError} if `map` is missing, not needed, or not of absolute paths.
 * @example
 * import { createReadStream } from 'node:fs'
 * import { FileWrapper } from 'portico'
 * import { sendfile } from 'portico/middleware'
 *
 * const application = sendfile(
 *   (environ, startResponse) => {
 *     startResponse('200 OK', [['Content-Type', 'text/plain']])
 *     return new FileWrapper(createReadStream('/etc/hostname'))
 *   },
 *   { header: 'X-Accel-Redirect', map: { '/etc': '/protected' } },
 * )
 * // GET / → 200
 * // X-Accel-Redirect: /protected/hostname
 */
export function sendfile(
  app: Application | ApplicationClass,
  options: SendfileOptions,
): Application {
  const application = asApplication(app)
  const { header } = options ?? {}
  const translate = translator(options)
  return (environ, startResponse) => {
    const { REQUEST_METHOD: method } = environ
    if (method !== 'GET' && method !== 'HEAD') return application(environ, startResponse)
    return intercept(application, environ, startResponse, (response) => {
      const { status, headers, body } = response
      if (!isFileWrapper(body) || body.path === undefined) return
      if (body.start || body.length !== undefined || !status.startsWith('200')) return
      if (headers.has(header) || headers.has('Content-Encoding')) return
      const target = translate(resolve(body.path))
      if (target === undefined) return
      headers.set(header, target)
      headers.set('Content-Length', '0')
      // nginx would send this one and its own.
      if (header === 'X-Accel-Redirect') headers.delete('Accept-Ranges')
      response.body = []
    })
  }
}

function translator(options: SendfileOptions): (path: string) => string | undefined {
  const { header, map, escape = true } = options ?? {}
  const encode = escape ? escapeText : plainText
  if (header !== 'X-Accel-Redirect') {
    if (header !== 'X-Sendfile' || map !== undefined) {
      throw new ConfigurationError(
        "sendfile: header is 'X-Sendfile', or 'X-Accel-Redirect' with a map",
      )
    }
    return encode
  }
  const rules = Object.entries(map ?? {})
    .map(([folder, location]) => [withSlash(folder), withSlash(location)] as const)
    .toSorted(([a], [b]) => b.length - a.length)
  if (rules.length === 0 || rules.flat().some((path) => !path.startsWith('/'))) {
    throw new ConfigurationError(
      "sendfile: X-Accel-Redirect needs a map of folders to locations, { '/srv/files': '/files' }",
    )
  }
  return (path) => {
    const rule = rules.find(([folder]) => path.startsWith(folder))
    return rule && encode(rule[1] + path.slice(rule[0].length))
  }
}

function withSlash(path: string): string {
  return path.endsWith('/') ? path : `${path}/`
}

/** As a URL's path. */
function escapeText(path: string): string {
  return escapePath(encodeText(path))
}

/** Its bytes as they are, unless a header cannot carry them. */
function plainText(path: string): string | undefined {
  return /[^ -~\x80-\uffff]|^ | $/.test(path) ? undefined : encodeText(path)
}
