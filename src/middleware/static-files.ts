/** The files of a directory, as an application (Plack::App::File). */
import { closeSync, createReadStream, type Stats, statSync } from 'node:fs'
import { lookup } from 'mrmime'
import { checkNames } from '../options/names.ts'
import { isInteger, refuse } from '../options/values.ts'
import { decodeText, encodeText } from '../environ/environ.ts'
import { queryOf } from '../environ/request-target.ts'
import { ConfigurationError } from '../errors.ts'
import { Headers } from '../response/headers.ts'
import type { Application, Body, Environ, StartResponse } from '../types.ts'
import { FileWrapper } from '../wsgiref/util.ts'
import { PRECONDITION_FAILED } from './conditional-get.ts'
import { acceptedCodings } from './content-coding.ts'
import { escapePath } from './escape-path.ts'
import { openBelow, type OpenFile, realDirectory } from './open-file.ts'
import { plain } from './plain-response.ts'
import { deleteDescription, evaluatePreconditions } from './preconditions.ts'
import { ranges } from './ranges.ts'

export interface StaticFilesOptions {
  /** Whether names that begin with a dot are served. `.well-known` always is. Default: false. */
  readonly dotfiles?: boolean | undefined
  /** Extensions that are tried when there is no such file. Default: `['html', 'htm']`. */
  readonly extensions?: readonly string[] | undefined
  /** True: `name.br` or `name.gz` is sent instead of `name` to clients that accept it. Default: false. */
  readonly precompressed?: boolean | undefined
  /** Seconds for which clients may use a file without asking again. Default: they ask each time. */
  readonly maxAge?: number | undefined
  /** The charset of text files; `''` leaves it to the client to guess. Default: `'utf-8'`. */
  readonly charset?: string | undefined
}

/**
 * Serves the files of a directory.
 *
 * Nothing outside the directory is served, whatever the path and wherever a symbolic link leads,
 * even if others change the directory at the same time.
 *
 * @param root the path of the directory. It is resolved for each request, so that it may be a symbolic
 *   link that is switched to another release.
 * @param options `dotfiles`, `extensions`, `precompressed`, `maxAge`, `charset`.
 * @returns an application. It responds to GET and HEAD with ETag, Last-Modified, conditional requests
 *   and single ranges; with the index.html of a directory; with a 301 that adds the slash at the end
 *   of a directory; with 403 for a path that leads outside, 404 and 405. The body is a FileWrapper
 *   with a path, so that `sendfile` can pass it on.
 * @throws {ConfigurationError} if `root` is not a directory, for a value out of range or an unknown
 *   option.
 * @example
 * import { cascade, staticFiles } from 'portico/middleware'
 *
 * const application = cascade([
 *   staticFiles('examples'),
 *   (environ, startResponse) => {
 *     startResponse('200 OK', [['Content-Type', 'text/plain']])
 *     return ['no such file, so the application responds']
 *   },
 * ])
 * // GET /hello.mjs → 200
 * // GET /nowhere → 200 no such file, so the application responds
 */
export function staticFiles(root: string, options: StaticFilesOptions = {}): Application {
  checkArguments(root, options)
  return ranges((environ, startResponse) => {
    const { REQUEST_METHOD: method, PATH_INFO, SCRIPT_NAME } = environ
    if (method !== 'GET' && method !== 'HEAD') return NOT_ALLOWED(environ, startResponse)
    const path = PATH_INFO === '' && SCRIPT_NAME === '' ? '/' : PATH_INFO
    if (path.split(/[/\\]/).includes('..')) return FORBIDDEN(environ, startResponse)
    if (isHidden(path, options)) return NOT_FOUND(environ, startResponse)
    const found = find(root, path, options)
    if (found === 'missing') return NOT_FOUND(environ, startResponse)
    if (found === 'forbidden') return FORBIDDEN(environ, startResponse)
    if (found === 'directory') return addSlash(environ, startResponse)
    return respond(found, options, environ, startResponse)
  })
}

const NOT_FOUND = plain('404 Not Found')
const FORBIDDEN = plain('403 Forbidden')
const NOT_ALLOWED = plain('405 Method Not Allowed', [['Allow', 'GET, HEAD']])

/** Without the slash, relative links in an index page would start at the parent directory. */
const addSlash: Application = (environ, startResponse) => {
  const path = escapePath(`${environ.SCRIPT_NAME}${environ.PATH_INFO}/`).replace(/^\/+/, '/')
  const query = queryOf(environ.QUERY_STRING, environ['REQUEST_URI'])
  return plain('301 Moved Permanently', [['Location', path + query]])(environ, startResponse)
}

function checkArguments(root: string, options: StaticFilesOptions): void {
  const names = ['dotfiles', 'extensions', 'precompressed', 'maxAge', 'charset'] as const
  checkNames('staticFiles', options, names)
  const { extensions = [], maxAge = 0, charset = '' } = options
  const wrong = (name: (typeof names)[number], expected: string) =>
    refuse('staticFiles', name, options[name], expected)
  for (const name of ['dotfiles', 'precompressed'] as const) {
    const value = options[name]
    if (value !== undefined && typeof value !== 'boolean') wrong(name, 'true or false')
  }
  if (!Array.isArray(extensions)) wrong('extensions', "an array, ['html'] for example")
  for (const extension of extensions) {
    if (isExtension(extension)) continue
    refuse(
      'staticFiles',
      'an element of extensions',
      extension,
      "text without a dot at its start, 'html' for example",
    )
  }
  if (!isInteger(maxAge, 0)) wrong('maxAge', 'a whole number of seconds, 0 or more')
  if (typeof charset !== 'string' || !/^[\w.:+-]*$/.test(charset)) {
    wrong('charset', "the name of a charset, 'utf-8' for example, or ''")
  }
  if (
    typeof root !== 'string' ||
    root === '' ||
    !statSync(root, { throwIfNoEntry: false })?.isDirectory()
  ) {
    throw new ConfigurationError(
      `staticFiles: the first argument must be the path of a directory (got ${JSON.stringify(root) ?? 'nothing'})`,
    )
  }
}

function isExtension(it: unknown): boolean {
  return typeof it === 'string' && /^[^./\\\0][^/\\\0]*$/.test(it)
}

/** Whether the path has a name that is never served. */
function isHidden(path: string, { dotfiles = false }: StaticFilesOptions): boolean {
  // On Windows a backslash separates names, and a colon makes a name that of a device or a stream.
  if (path.includes('\0') || (process.platform === 'win32' && /[\\:]/.test(path))) return true
  return !dotfiles && path.split('/').some((name) => name.startsWith('.') && name !== '.well-known')
}

/** The file for a path, or the reason why nothing can be sent. */
function find(
  root: string,
  path: string,
  { extensions = ['html', 'htm'] }: StaticFilesOptions,
): OpenFile | 'directory' | 'missing' | 'forbidden' {
  let directory: string
  try {
    directory = realDirectory(root)
  } catch {
    return 'missing' // A release is being replaced by another.
  }
  const isDirectory = path === '' || path.endsWith('/')
  const withSlash = path.endsWith('/') ? path : `${path}/`
  const endings = extensions.map((it) => encodeText(`.${it}`))
  const indexes = endings.map((ending) => `${withSlash}index${ending}`)
  const files = isDirectory ? [] : [path, ...endings.map((ending) => path + ending)]
  let nothing: 'missing' | 'forbidden' = 'missing'
  for (const name of [...files, ...indexes]) {
    const file = openBelow(directory, name)
    if (file === 'missing') continue
    if (file === 'forbidden') {
      nothing = 'forbidden'
      // A directory that cannot be listed may have an index page that can be read.
      if (files.includes(name)) continue
      break
    }
    if (file.stats.isFile() && (path.endsWith('/') || files.includes(name))) return file
    closeSync(file.fd)
    // An index page, but the path lacks the slash.
    if (file.stats.isFile()) return 'directory'
  }
  return nothing
}

/** Codings by the ending of a precompressed file. */
const CODINGS = new Map([
  ['br', '.br'],
  ['gzip', '.gz'],
])

/** A precompressed variant of a file that the client accepts. The caller closes the file as well. */
function findVariant(
  { root, path }: OpenFile,
  environ: Environ,
): { file: OpenFile; coding: string } | undefined {
  const accepted = acceptedCodings(environ['HTTP_ACCEPT_ENCODING'] ?? '', [...CODINGS.keys()])
  for (const coding of accepted) {
    const file = openBelow(root, path + CODINGS.get(coding)!)
    if (typeof file === 'string') continue
    if (file.stats.isFile()) return { file, coding }
    closeSync(file.fd)
  }
}

function respond(
  plainFile: OpenFile,
  options: StaticFilesOptions,
  environ: Environ,
  startResponse: StartResponse,
): Body | Promise<Body> {
  const variant = options.precompressed ? findVariant(plainFile, environ) : undefined
  if (variant) closeSync(plainFile.fd)
  const { fd, root, path, stats } = variant?.file ?? plainFile
  const headers = describe(plainFile.path, stats, options, variant?.coding)
  const condition = evaluatePreconditions(environ, headers)
  const sendsBody = condition === 'met' && environ.REQUEST_METHOD === 'GET'
  if (!sendsBody) closeSync(fd)
  if (condition === 'failed') return PRECONDITION_FAILED(environ, startResponse)
  if (condition === 'not-modified') {
    deleteDescription(headers)
    startResponse('304 Not Modified', headers.items())
    return []
  }
  startResponse('200 OK', headers.items())
  if (!sendsBody) return []
  // A file that grows meanwhile is sent only up to the announced length.
  const end = stats.size > 0 ? stats.size - 1 : Infinity
  const stream = createReadStream('', { fd, start: 0, end })
  const bytes = root + path
  const text = decodeText(bytes)
  // A path that is not UTF-8 has no spelling as a string, so that no server could open it.
  return new FileWrapper(stream, encodeText(text) === bytes ? { path: text } : {})
}

/** The media type for an extension. mrmime would also find members of Object.prototype. */
function typeOf(path: string): string {
  const type: unknown = lookup(path)
  return typeof type === 'string' ? type : 'application/octet-stream'
}

function describe(
  path: string,
  { size, mtimeMs }: Stats,
  options: StaticFilesOptions,
  coding: string | undefined,
): Headers {
  const { maxAge, charset = 'utf-8', precompressed } = options
  const type = typeOf(path)
  const headers = new Headers()
  headers.set(
    'Content-Type',
    charset && type.startsWith('text/') ? `${type}; charset=${charset}` : type,
  )
  headers.set('Content-Length', String(size))
  if (coding !== undefined) headers.set('Content-Encoding', coding)
  if (precompressed) headers.set('Vary', 'Accept-Encoding')
  headers.set('Cache-Control', maxAge === undefined ? 'no-cache' : `public, max-age=${maxAge}`)
  // Strong, as nginx's and Apache's are, so that downloads can be resumed by it.
  const version = [size, Math.round(mtimeMs * 1000)].map((it) => it.toString(16)).join('-')
  headers.set('ETag', `"${version}${coding === undefined ? '' : `-${coding}`}"`)
  // Never in the future (RFC 9110, section 8.8.2.1).
  headers.set('Last-Modified', new Date(Math.min(mtimeMs, Date.now())).toUTCString())
  headers.set('Accept-Ranges', 'bytes')
  return headers
}
