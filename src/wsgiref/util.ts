/**
 * `wsgiref.util` for applications and handlers: a file as a body, URIs from an environ, the path
 * shifted segment by segment, an environ for tests, and hop-by-hop headers.
 *
 * All functions take any object that has the keys they read.
 */
import { ErrorLog } from '../request/error-log.ts'
import { ApplicationError } from '../errors.ts'
import { emptySource, Input } from '../request/input.ts'
import { FileWrapper } from '../response/file-wrapper.ts'
import { percentEncode } from '../text.ts'
import type { Environ } from '../types.ts'

export { DEFAULT_BLOCK_SIZE, FileWrapper, isFileWrapper } from '../response/file-wrapper.ts'
export { isHopByHop } from '../response/head.ts'
export type { FileLike, FileSource, FileWrapperOptions } from '../types.ts'

/** 'https' if the web server set HTTPS to on, yes or 1 (IIS and Apache differ in case). */
export function guessScheme(environ: Partial<Environ>): 'http' | 'https' {
  const https = environ['HTTPS']
  return https && /^(?:on|yes|1)$/i.test(https) ? 'https' : 'http'
}

/**
 * The application's base URI, without PATH_INFO and query (PEP 3333, "URL Reconstruction").
 *
 * The client chooses HTTP_HOST; one that is no `host[:port]` is passed over for SERVER_NAME.
 * Throws ApplicationError if SCRIPT_NAME is not a byte string.
 */
export function applicationUri(environ: Partial<Environ>): string {
  const scheme = environ['wsgi.url_scheme'] ?? guessScheme(environ)
  return `${scheme}://${authority(environ, scheme)}${quote('SCRIPT_NAME', environ.SCRIPT_NAME || '/')}`
}

/** The request's URI, with its query unless `includeQuery` is false. Throws as applicationUri. */
export function requestUri(environ: Partial<Environ>, includeQuery = true): string {
  const path = quote('PATH_INFO', environ.PATH_INFO ?? '')
  const query = includeQuery && environ.QUERY_STRING ? `?${environ.QUERY_STRING}` : ''
  // Without SCRIPT_NAME the base already ends in the slash that PATH_INFO begins with.
  return applicationUri(environ) + (environ.SCRIPT_NAME ? path : path.replace(/^\//, '')) + query
}

const HOST = /^(?:\[[\da-f:.]+\]|[\w.~%-]+)(?::\d{1,5})?$/i

function authority(environ: Partial<Environ>, scheme: string): string {
  const host = environ['HTTP_HOST']
  if (host && HOST.test(host)) return host
  const name = environ.SERVER_NAME || 'localhost'
  const port = environ.SERVER_PORT
  // nginx's $server_addr and others give an IPv6 address without the brackets of RFC 3875.
  const bracketed = name.includes(':') && !name.startsWith('[') ? `[${name}]` : name
  const usual = !port || port === (scheme === 'https' ? '443' : '80')
  return usual ? bracketed : `${bracketed}:${port}`
}

/** Percent-encodes a byte string, save what a path may hold as it is. */
function quote(name: string, path: string): string {
  // oxlint-disable-next-line no-control-regex
  const [character] = /[^\x00-\xff]/.exec(path) ?? []
  if (character)
    throw new ApplicationError(
      `${name} must hold bytes, not "${character}"`,
      'PORTICO_INVALID_ARGUMENT',
    )
  return percentEncode(path, /[^\w.~/;=,-]/g)
}

/**
 * Moves one segment from PATH_INFO to the end of SCRIPT_NAME, in place, and returns it: null when
 * there is none left. Empty and '.' segments are passed over, '..' takes one away from SCRIPT_NAME.
 *
 * The last slash of a path is a segment '' of its own, and leaves SCRIPT_NAME with a slash at its
 * end, so that '/x' and '/x/' can be told apart.
 */
export function shiftPathInfo(environ: Partial<Environ>): string | null {
  if (!environ.PATH_INFO) return null
  const segments = environ.PATH_INFO.replace(/^\//, '').split('/')
  // The last one counts even if it is empty.
  const kept = segments.filter(
    (part, i) => i === segments.length - 1 || (part !== '' && part !== '.'),
  )
  const [name = '', ...rest] = kept
  const script: string[] = []
  for (const part of [...(environ.SCRIPT_NAME ?? '').split('/'), name]) {
    if (part === '..') script.pop()
    else if (part && part !== '.') script.push(part)
  }
  environ.SCRIPT_NAME = script.map((part) => `/${part}`).join('') + (name === '' ? '/' : '')
  environ.PATH_INFO = rest.map((part) => `/${part}`).join('')
  return name === '.' ? null : name
}

/**
 * Fills in what a request has at least, in place, and returns the environ. Keys that are there stay.
 * For tests only: the data is made up. `String(environ['wsgi.errors'])` is what was written there.
 */
export function setupTestingDefaults(environ: Partial<Environ>): Environ {
  const mounted = 'SCRIPT_NAME' in environ
  const defaults = (values: Partial<Environ>) => {
    for (const key in values) if (!(key in environ)) environ[key] = values[key]
  }
  defaults({ SERVER_NAME: '127.0.0.1', 'wsgi.url_scheme': guessScheme(environ) })
  defaults({
    REQUEST_METHOD: 'GET',
    SCRIPT_NAME: '',
    PATH_INFO: mounted ? '' : '/',
    QUERY_STRING: '',
    SERVER_PORT: environ['wsgi.url_scheme'] === 'https' ? '443' : '80',
    SERVER_PROTOCOL: 'HTTP/1.0',
    HTTP_HOST: environ.SERVER_NAME,
    'wsgi.version': [1, 0],
    'wsgi.input': new Input(emptySource),
    'wsgi.errors': new MemoryErrors(),
    'wsgi.multithread': false,
    'wsgi.multiprocess': false,
    'wsgi.run_once': false,
    'wsgi.input_terminated': true,
    'wsgi.file_wrapper': FileWrapper,
    'portico.signal': new AbortController().signal,
    'portico.gateway': 'http',
  })
  return environ as Environ
}

/** An error stream that keeps what it is given. */
class MemoryErrors extends ErrorLog {
  #text = ''

  constructor() {
    super((text) => {
      this.#text += text
    })
  }

  override toString(): string {
    return this.#text
  }
}
