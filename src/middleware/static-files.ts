/** The files of a folder, as an application (Plack::App::File). */
import { EventEmitter } from 'node:events'
import { type ReadStream, realpathSync, type Stats, statSync } from 'node:fs'
import { join, sep } from 'node:path'
import type { IncomingMessage, ServerResponse } from 'node:http'
import sirv from 'sirv'
import { decodeText } from '../environ/environ.ts'
import { ConfigurationError } from '../errors.ts'
import { Headers } from '../response/headers.ts'
import type { Application } from '../types.ts'
import { FileWrapper } from '../wsgiref/util.ts'
import { deleteDescription, isFresh } from './conditional-get.ts'
import { escapePath } from './escape-path.ts'
import { ranges } from './ranges.ts'
import { plain } from './response.ts'

/** What `staticFiles` can be told. */
export interface StaticFilesOptions {
  /** Whether names that begin with a dot are served; `.well-known` always is. Default: false. */
  readonly dotfiles?: boolean | undefined
  /** What is tried behind a name that is none. Default: `['html', 'htm']`. */
  readonly extensions?: readonly string[] | undefined
  /** True: `name.br` or `name.gz` is sent instead of `name` to clients that can read it. */
  readonly precompressed?: boolean | undefined
  /** Seconds for which clients may keep a file without asking. Default: they ask each time. */
  readonly maxAge?: number | undefined
}

/**
 * Serves the files of a folder.
 *
 * Nothing outside the folder is served, whatever the path and wherever a symlink leads.
 *
 * @param root the folder. Files are looked up for each request.
 * @param options `dotfiles`, `extensions`, `precompressed`, `maxAge`.
 * @returns an application: GET and HEAD with ETag, Last-Modified and single ranges; a folder's
 *   index.html; 301 to the slash at a folder's end; 403 for a path that leads outside, 404, 405.
 *   The body is a FileWrapper with its path, so that `sendfile` can hand it over.
 * @throws {ConfigurationError} if `root` is no folder.
 * @example
 * import { cascade, staticFiles } from 'portico/middleware'
 *
 * const dynamic = (environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return ['no such file, so the application answers']
 * }
 * const application = cascade([staticFiles('examples'), dynamic])
 * // GET /hello.mjs → 200
 * // GET /nowhere → 200 no such file, so the application answers
 */
export function staticFiles(root: string, options: StaticFilesOptions = {}): Application {
  const folder = realFolder(root)
  const find = sirv(folder, {
    dev: true, // Looks a file up for each request; else it would read the whole tree at each start.
    etag: true,
    extensions: [...(options.extensions ?? ['html', 'htm'])],
    brotli: options.precompressed ?? false,
    gzip: options.precompressed ?? false,
    setHeaders: refuseUnlessRegular,
  })
  return ranges((environ, startResponse) => {
    const { REQUEST_METHOD: method, PATH_INFO } = environ
    if (method !== 'GET' && method !== 'HEAD') return notAllowed(environ, startResponse)
    const path = decodeText(PATH_INFO) || '/'
    const segments = path.split(/[/\\]/)
    if (segments.includes('..')) return forbidden(environ, startResponse)
    // sirv would end the path at a '?' or '#', though it stands for itself here.
    if (/[?#]/.test(path) || (!options.dotfiles && segments.some(isHidden)))
      return notFound(environ, startResponse)
    const found = lookUp(find, path, environ['HTTP_ACCEPT_ENCODING'])
    if (!found) return notFound(environ, startResponse)
    const { file, headers } = found
    const name = String(file.path)
    if (!realPath(name).startsWith(folder + sep)) {
      file.destroy()
      return forbidden(environ, startResponse)
    }
    if (!path.endsWith('/') && name.startsWith(join(folder, path) + sep)) {
      file.destroy()
      return toFolder(environ, startResponse)
    }
    // sirv 3.0.2 takes every such file for a variant of another, which clients would then unpack.
    if (name === join(folder, path) && headers.has('Content-Encoding')) {
      headers.delete('Content-Encoding')
      headers.set('Content-Type', name.endsWith('.gz') ? 'application/gzip' : UNKNOWN)
    }
    if (options.maxAge !== undefined)
      headers.set('Cache-Control', `public, max-age=${options.maxAge}`)
    return send(file, headers)(environ, startResponse)
  })
}

const UNKNOWN = 'application/octet-stream'

const notFound = plain('404 Not Found')
const forbidden = plain('403 Forbidden')
const notAllowed = plain('405 Method Not Allowed', [['Allow', 'GET, HEAD']])

/** Relative links in an index page count from the folder. */
const toFolder: Application = (environ, startResponse) => {
  const path = escapePath(`${environ.SCRIPT_NAME}${environ.PATH_INFO}/`).replace(/^\/+/, '/')
  const query = environ.QUERY_STRING && `?${environ.QUERY_STRING}`
  return plain('301 Moved Permanently', [['Location', path + query]])(environ, startResponse)
}

function realFolder(root: string): string {
  if (!root) throw new ConfigurationError('staticFiles: it needs the path of a folder')
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory()) {
    throw new ConfigurationError(`staticFiles: ${root} is no folder`)
  }
  return realpathSync(root)
}

/** '' for a file that has gone meanwhile. */
function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return ''
  }
}

function isHidden(segment: string): boolean {
  return segment.startsWith('.') && segment !== '.well-known'
}

/**
 * Asks sirv which file a path means, and what its headers are. Conditions and ranges are kept from
 * it: sirv 3.0.2 reads `bytes=-5`, `bytes=0-0` and a list of tags wrong, and throws at `bytes=5-2`.
 */
function lookUp(
  find: ReturnType<typeof sirv>,
  path: string,
  acceptEncoding = '',
): { file: ReadStream; headers: Headers } | undefined {
  // sirv decodes what it is given, and takes a slash at the end of a file's name for nothing.
  const url = encodeURI(path.endsWith('/') ? `${path}index` : path)
  const request = { url, headers: { 'accept-encoding': acceptEncoding } }
  const answer = new Answer()
  try {
    find(request as unknown as IncomingMessage, answer as unknown as ServerResponse, () => {})
  } catch (error) {
    if (error !== IRREGULAR) throw error
  }
  answer.file?.unpipe()
  return answer.file && { file: answer.file, headers: answer.headers }
}

const IRREGULAR = new Error('no regular file')

/** Called before a file is opened: a FIFO would hold a thread of Node's few until somebody writes. */
function refuseUnlessRegular(_response: ServerResponse, _path: string, stats: Stats): void {
  if (!stats.isFile()) throw IRREGULAR
}

/** As much of a ServerResponse as sirv needs: it keeps the file that is piped into it. */
class Answer extends EventEmitter {
  readonly headers = new Headers()
  /** So that the file is not read on its way here. */
  readonly writableNeedDrain = true
  file: ReadStream | undefined

  constructor() {
    super()
    this.once('pipe', (file: ReadStream) => {
      // One that is gone before it could be opened: whoever reads it is told by its iterator.
      this.file = file.on('error', () => {})
    })
  }

  getHeader(name: string): string | undefined {
    return this.headers.get(name) ?? undefined
  }

  setHeader(name: string, value: string): void {
    this.headers.set(name, value)
  }

  writeHead(_status: number, values: Readonly<Record<string, string | number>>): void {
    for (const [name, value] of Object.entries(values)) {
      // sirv knows no type of some files, and sends an empty one.
      this.headers.set(name, value === '' ? UNKNOWN : String(value))
    }
  }
}

/** The answer with a file, or without it. */
function send(file: ReadStream, headers: Headers): Application {
  return (environ, startResponse) => {
    headers.set('Accept-Ranges', 'bytes')
    if (isFresh(environ, headers)) {
      file.destroy()
      deleteDescription(headers)
      startResponse('304 Not Modified', headers.items())
      return []
    }
    if (environ.REQUEST_METHOD === 'HEAD') {
      file.destroy()
      startResponse('200 OK', headers.items())
      return []
    }
    startResponse('200 OK', headers.items())
    return new FileWrapper(file)
  }
}
