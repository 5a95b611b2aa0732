/** Files that the web server sends itself (X-Sendfile, X-Accel-Redirect). */
import { resolve } from 'node:path'
import { asApplication } from '../application/detect.ts'
import { checkNames } from '../options/names.ts'
import { refuse } from '../options/values.ts'
import { encodeText } from '../environ/environ.ts'
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass } from '../types.ts'
import { isFileWrapper } from '../wsgiref/util.ts'
import { escapePath } from './escape-path.ts'
import { intercept } from './intercept.ts'

/** Which header the web server understands. No header of a request can turn it on. */
export interface SendfileOptions {
  /**
   * `'X-Accel-Redirect'` for nginx; `'X-Sendfile'` for lighttpd (`x-sendfile` and
   * `x-sendfile-docroot`) and for Apache with mod_xsendfile.
   */
  readonly header: 'X-Accel-Redirect' | 'X-Sendfile'
  /**
   * Only for nginx, which takes a URL instead of a path: directories and the `internal` locations
   * that serve them, `{ '/srv/files': '/files' }`. The longest matching directory counts. Files
   * outside all of them are sent by the application.
   */
  readonly map?: Readonly<Record<string, string>> | undefined
  /**
   * Whether the path is percent-encoded. nginx and lighttpd decode it. mod_xsendfile up to 0.12,
   * which Debian has, does not: set `false` there. Default: true.
   */
  readonly escape?: boolean | undefined
}

/**
 * Lets the web server send whole files itself: only the path goes through the gateway.
 *
 * @param app the application. It returns a FileWrapper with a `path`, as one over
 *   `fs.createReadStream(path)` has. The web server's workers must be allowed to read the file.
 * @param options `header`; `map` for nginx; `escape`.
 * @returns the application. It changes only a 200 to GET or HEAD with a whole file and without
 *   Content-Encoding. nginx keeps Content-Type, Content-Disposition, Set-Cookie, Cache-Control and
 *   Expires, and adds its own Accept-Ranges. A response that already has the header stays as it is.
 * @throws {ConfigurationError} if `map` is missing, not used or has relative paths, or for an unknown
 *   option.
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
  checkNames('sendfile', options ?? {}, ['header', 'map', 'escape'])
  const { header, escape = true } = options ?? {}
  if (typeof escape !== 'boolean') refuse('sendfile', 'escape', escape, 'true or false')
  const translate = translator(options)
  const intercepted = intercept(application, {
    onResponse(response) {
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
      response.replaceBody([])
    },
  })
  return (environ, startResponse) => {
    const { REQUEST_METHOD: method } = environ
    if (method !== 'GET' && method !== 'HEAD') return application(environ, startResponse)
    return intercepted(environ, startResponse)
  }
}

function translator(options: SendfileOptions): (path: string) => string | undefined {
  const { header, map, escape = true } = options ?? {}
  const encode = escape ? escapeText : plainText
  if (header !== 'X-Accel-Redirect') {
    if (header !== 'X-Sendfile') {
      refuse('sendfile', 'header', header, "'X-Sendfile', or 'X-Accel-Redirect' with a map")
    }
    if (map !== undefined) {
      throw new ConfigurationError(
        "sendfile: map is for 'X-Accel-Redirect' only: X-Sendfile has the path of the file",
      )
    }
    return encode
  }
  const entries: [unknown, unknown][] = Object.entries(map ?? {})
  if (!entries.every((entry): entry is [string, string] => typeof entry[1] === 'string')) {
    refuse('sendfile', 'map', map, "an object of strings, { '/srv/files': '/files' }")
  }
  const rules = entries
    .map(([directory, location]) => [withSlash(directory), withSlash(location)] as const)
    .toSorted(([a], [b]) => b.length - a.length)
  if (rules.length === 0 || rules.flat().some((path) => !path.startsWith('/'))) {
    throw new ConfigurationError(
      "sendfile: X-Accel-Redirect needs a map of directories to locations, { '/srv/files': '/files' }",
    )
  }
  return (path) => {
    const rule = rules.find(([directory]) => path.startsWith(directory))
    return rule && encode(rule[1] + path.slice(rule[0].length))
  }
}

function withSlash(path: string): string {
  return path.endsWith('/') ? path : `${path}/`
}

function escapeText(path: string): string {
  return escapePath(encodeText(path))
}

/** The bytes of the path, unencoded; undefined if a header cannot contain them. */
function plainText(path: string): string | undefined {
  return /[^ -~\x80-\uffff]|^ | $/.test(path) ? undefined : encodeText(path)
}
