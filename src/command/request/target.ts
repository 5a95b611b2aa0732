/** The target of `portico request`: a gateway's URL, a CGI script, or a file with an application. */
import { accessSync, constants, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { suggestion } from '../../options/names.ts'
import { quote } from '../../text.ts'
import { noSuchFile, UsageError } from '../usage-error.ts'

/** Where a server listens. */
export type SocketAddress =
  | { readonly host: string; readonly port: number }
  | { readonly path: string }

export type RequestedTarget =
  | {
      readonly kind: 'fastcgi' | 'http' | 'scgi'
      readonly address: SocketAddress
      /** The value of the Host header, unless there is one. */
      readonly host: string
      /** The request target: path and query. */
      readonly path: string
    }
  | {
      readonly kind: 'app' | 'cgi'
      /** An absolute path. */
      readonly file: string
      readonly host: string
      readonly path: string
    }

const SCHEMES = ['fastcgi', 'scgi', 'http', 'cgi'] as const

const APPLICATION = /\.[cm]?[jt]s$/

const FORMS =
  'a target is fastcgi://HOST:PORT/path, fastcgi://unix:SOCKET:/path, scgi://…, http://…, ' +
  'cgi:SCRIPT/path or FILE.js/path'

/**
 * Reads a target. The fragment of a URL is removed, as a browser does.
 *
 * @throws {UsageError} if it is not a target.
 */
export function parseTarget(given: string): RequestedTarget {
  const text = given.replace(/#.*$/s, '')
  if (/\s/.test(text)) throw new UsageError(`${quote(given)} contains a space; write it as %20`)
  const [, scheme, rest = ''] = /^([a-z][a-z0-9+.-]*):(?!\d)(.*)$/is.exec(text) ?? []
  if (scheme === undefined) return withoutScheme(text)
  switch (scheme.toLowerCase()) {
    case 'fastcgi':
    case 'scgi':
    case 'http':
      if (!rest.startsWith('//')) throw new UsageError(`${quote(text)}: ${FORMS}`)
      return overSocket(scheme.toLowerCase() as 'fastcgi' | 'http' | 'scgi', rest.slice(2))
    case 'cgi':
      return script(rest)
    case 'https':
      throw new UsageError(
        'https:// is not supported: use curl, or http:// to the application itself',
      )
    default:
      throw new UsageError(`unknown scheme ${quote(scheme)}. ${suggestion(scheme, SCHEMES)}`)
  }
}

/** A file with an application, or a host as curl accepts it: 'localhost:8000/path'. */
function withoutScheme(text: string): RequestedTarget {
  const [before, query] = splitQuery(text)
  const found = filePrefix(before)
  if (found !== undefined) {
    if (!APPLICATION.test(found.file)) {
      throw new UsageError(
        `${quote(found.file)} is neither .js nor .ts; a CGI script is cgi:${found.file}`,
      )
    }
    return { kind: 'app', file: resolve(found.file), host: 'localhost', path: found.path + query }
  }
  if (/^\.{0,2}\//.test(text) || APPLICATION.test(before)) {
    throw noSuchFile(`no such file: ${before}`)
  }
  if (!/^[^/?]+(?::\d+|\.[^/?]+)?(?:[/?]|$)/.test(text))
    throw new UsageError(`${quote(text)}: ${FORMS}`)
  return overSocket('http', text)
}

function overSocket(kind: 'fastcgi' | 'http' | 'scgi', text: string): RequestedTarget {
  if (text.startsWith('unix:')) return overUnixSocket(kind, text.slice('unix:'.length))
  const [, user, host = '', port, path = ''] =
    /^([^/?@]*@)?(\[[^\]/?]+\]|[^:/?]*)(?::(\d{1,5}))?([/?].*)?$/s.exec(text) ?? []
  if (user !== undefined)
    throw new UsageError('a user in a URL is not supported; use -u USER:PASSWORD')
  if (host === '') throw new UsageError(`${kind}://${text} has no host; ${FORMS}`)
  if (port === undefined && kind !== 'http') {
    throw new UsageError(`${kind}://${host} needs a port: ${kind}://${host}:9000/`)
  }
  const number = Number(port ?? 80)
  if (number > 65_535) throw new UsageError(`${port} is not a port: at most 65535`)
  return {
    kind,
    address: { host: host.replace(/^\[(.*)\]$/, '$1'), port: number },
    host: kind === 'http' ? `${host}${port === undefined ? '' : `:${port}`}` : 'localhost',
    path: asPath(path),
  }
}

/** As in nginx 'SOCKET:/path'; without the colon, the path of the socket is what exists. */
function overUnixSocket(kind: 'fastcgi' | 'http' | 'scgi', text: string): RequestedTarget {
  const [before, query] = splitQuery(text)
  const colon = before.indexOf(':/')
  const found =
    colon >= 0
      ? { file: before.slice(0, colon), path: before.slice(colon + 1) }
      : (filePrefix(before, (path) => statSync(path).isSocket()) ?? { file: before, path: '' })
  if (found.file === '') throw new UsageError(`${kind}://unix:${text} names no socket; ${FORMS}`)
  return {
    kind,
    address: { path: found.file },
    host: 'localhost',
    path: asPath(found.path + query),
  }
}

function script(text: string): RequestedTarget {
  const [before, query] = splitQuery(text)
  const found = filePrefix(before)
  if (found === undefined) throw noSuchFile(`no such CGI script: ${before}`)
  const file = resolve(found.file)
  try {
    accessSync(file, constants.X_OK)
  } catch {
    throw new UsageError(`${found.file} is not executable: chmod +x ${found.file}`)
  }
  return { kind: 'cgi', file, host: 'localhost', path: found.path + query }
}

function splitQuery(text: string): [path: string, query: string] {
  const mark = text.indexOf('?')
  return mark < 0 ? [text, ''] : [text.slice(0, mark), text.slice(mark)]
}

/** The shortest beginning of the path that is a file, and the rest, which is '' or begins with '/'. */
function filePrefix(
  text: string,
  accepts = (path: string) => statSync(path).isFile(),
): { file: string; path: string } | undefined {
  for (let end = text.indexOf('/', 1); ; end = text.indexOf('/', end + 1)) {
    const file = end < 0 ? text : text.slice(0, end)
    try {
      if (file !== '' && accepts(file)) return { file, path: end < 0 ? '' : text.slice(end) }
    } catch {
      // Not there: a longer beginning may be.
    }
    if (end < 0) return undefined
  }
}

function asPath(path: string): string {
  return path.startsWith('/') ? path : `/${path}`
}
