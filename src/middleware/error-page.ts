/** What went wrong, shown to whoever develops (Rack::ShowExceptions). */
import { inspect } from 'node:util'
import { asApplication } from '../application/detect.ts'
import { decodeText } from '../environ/environ.ts'
import { asLogEntry, escapeControl } from '../text.ts'
import { PeerError } from '../errors.ts'
import { escapeHtml } from '../forms/escape.ts'
import type { Application, ApplicationClass, Chunk, Environ } from '../types.ts'
import { isPromise } from '../response/body.ts'
import { chain, hook } from './body-hooks.ts'

/** What `errorPage` can be told. */
export interface ErrorPageOptions {
  /** Whether there are such pages at all. Default: if NODE_ENV is 'development'. */
  readonly development?: boolean | undefined
}

/**
 * Answers an application's error with a page that shows it, in development and to this machine only.
 *
 * @param app the application.
 * @param options `development`.
 * @returns the application. Elsewhere than in development, for a client that is not on this machine
 *   or came through a proxy, and for errors of the peer, the error goes on to the handler, which
 *   tells the client nothing of it. HTML is sent only to clients that accept it. The error is
 *   written to `wsgi.errors` in any case.
 * @example
 * import { errorPage } from 'portico/middleware'
 *
 * const application = errorPage(
 *   () => {
 *     throw new Error('So that is how it looks')
 *   },
 *   { development: false },
 * )
 * // GET / → 500 A server error occurred.  Please contact the administrator.
 */
export function errorPage(
  app: Application | ApplicationClass,
  options: ErrorPageOptions = {},
): Application {
  const application = asApplication(app)
  if (!(options.development ?? process.env['NODE_ENV'] === 'development')) return application
  return (environ, startResponse) => {
    if (!isLocal(environ)) return application(environ, startResponse)
    function failed(error: unknown): Chunk {
      if (error instanceof PeerError) throw error
      const [type, page] = describe(error, environ)
      // Throws the error again if the head has gone.
      startResponse(
        '500 Internal Server Error',
        [
          ['Content-Type', `${type}; charset=utf-8`],
          ['Cache-Control', 'no-store'],
          ['Content-Security-Policy', "default-src 'none'; style-src 'unsafe-inline'"],
          ['X-Content-Type-Options', 'nosniff'],
        ],
        error ?? new Error(`The application threw ${String(error)}`),
      )
      environ['wsgi.errors'].write(asLogEntry(inspect(error)))
      return page
    }
    try {
      const result = application(environ, startResponse)
      const caught = isPromise(result) ? result.catch((error: unknown) => [failed(error)]) : result
      return chain(caught, (body) => hook(body, { failed }))
    } catch (error) {
      return [failed(error)]
    }
  }
}

/** A proxy on this machine is the peer of everybody. */
function isLocal(environ: Environ): boolean {
  const address = environ['REMOTE_ADDR'] ?? ''
  const loopback = /^(?:::ffff:)?127\.\d+\.\d+\.\d+$|^::1$/.test(address)
  return loopback && !PROXIED.some((name) => name in environ)
}

const PROXIED = ['HTTP_FORWARDED', 'HTTP_VIA', 'HTTP_X_FORWARDED_FOR', 'HTTP_X_REAL_IP'] as const

function describe(error: unknown, environ: Environ): [type: string, page: string] {
  const text = escapeControl(inspect(error, { depth: 4 }))
  const title = text.split('\n', 1)[0] ?? ''
  if (!acceptsHtml(environ['HTTP_ACCEPT'])) return ['text/plain', `${text}\n`]
  const request = `${environ.REQUEST_METHOD} ${environ.SCRIPT_NAME}${environ.PATH_INFO}`
  const rows = Object.entries(environ)
    .filter(([name, value]) => typeof value === 'string' && !SECRET.test(name))
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `<tr><th>${show(name)}</th><td>${show(String(value))}</td></tr>\n`)
  return [
    'text/html',
    `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>${escapeHtml(title)}</title>
<style>body { font-family: sans-serif } pre { overflow: auto } th { text-align: left }</style>
<h1>${escapeHtml(title)}</h1>
<p>${show(request)}</p>
<pre>${escapeHtml(text)}</pre>
<table>
${rows.join('')}</table>
</html>
`,
  ]
}

/** The page is likely to be shown to others. */
const SECRET = /AUTHORIZATION|COOKIE|KEY|PASSWORD|SECRET|TOKEN/i

function show(bytes: string): string {
  return escapeHtml(escapeControl(decodeText(bytes)))
}

/** Whether text/html is asked for by name (RFC 9110, section 12.5.1): curl accepts anything. */
function acceptsHtml(accept = ''): boolean {
  return accept.split(',').some((range) => {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase())
    return type === 'text/html' && !parameters.some((it) => /^q=0(?:\.0*)?$/.test(it))
  })
}
