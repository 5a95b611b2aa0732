/** Errors as a page, for development (Rack::ShowExceptions). */
import { inspect } from 'node:util'
import { asApplication } from '../application/detect.ts'
import { checkNames } from '../options/names.ts'
import { refuse } from '../options/values.ts'
import { decodeText } from '../environ/environ.ts'
import { asLogEntry, escapeControl } from '../text.ts'
import { PeerError } from '../errors.ts'
import { escapeHtml } from '../forms/escape.ts'
import type { Application, ApplicationClass, Chunk, Environ } from '../types.ts'
import { isPromise } from '../response/body.ts'
import { hookBody } from './body-hooks.ts'
import { chain } from './maybe-promise.ts'

export interface ErrorPageOptions {
  /** Whether errors are shown at all. Default: true if NODE_ENV is 'development'. */
  readonly development?: boolean | undefined
}

/**
 * Responds to an error of the application with a page that shows it, on the developer's machine only.
 *
 * The page shows the environ, so it is only for browsers on this machine: REMOTE_ADDR is a loopback
 * address, Host is `localhost` or a loopback address, and nothing in the request shows a proxy. A
 * proxy on this machine that hides all of that cannot be noticed: do not set NODE_ENV to
 * `development` on a server.
 *
 * @param app the application.
 * @param options `development`.
 * @returns the application. In all other cases, and for errors of the peer, the error is passed on to the
 *   handler, which sends no details. HTML is sent only to clients that accept it. The error is
 *   written to `wsgi.errors` in any case.
 * @throws {ConfigurationError} for an unknown option.
 * @example
 * import { errorPage } from 'portico/middleware'
 *
 * const application = errorPage(
 *   () => {
 *     throw new Error('an example')
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
  checkNames('errorPage', options, ['development'])
  const { development = process.env['NODE_ENV'] === 'development' } = options
  if (typeof development !== 'boolean') {
    refuse('errorPage', 'development', development, 'true or false')
  }
  if (!development) return application
  return (environ, startResponse) => {
    if (!isLocal(environ)) return application(environ, startResponse)
    function failed(error: unknown): Chunk {
      if (error instanceof PeerError) throw error
      const [type, page] = describe(error, environ)
      // Throws the error again if the head has been sent.
      startResponse(
        '500 Internal Server Error',
        [
          ['Content-Type', `${type}; charset=utf-8`],
          ['Cache-Control', 'no-store'],
          ['Content-Security-Policy', ERROR_PAGE_POLICY],
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
      return chain(caught, (body) => hookBody(body, { onError: failed }))
    } catch (error) {
      return [failed(error)]
    }
  }
}

/** The page has one style sheet, and nothing else. */
export const ERROR_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

/** Every client of a proxy on this machine has a loopback address, so the address alone proves nothing. */
function isLocal(environ: Environ): boolean {
  const { REMOTE_ADDR: address = '', HTTP_HOST: host = '', SERVER_PROTOCOL: protocol } = environ
  // A public name that resolves to this machine belongs to a proxy, or is an attack (DNS rebinding).
  if (!LOOPBACK.test(address) || !(host === '' || LOCAL_HOST.test(host))) return false
  // Browsers speak HTTP/1.1. nginx before 1.29.7 speaks HTTP/1.0 to its upstream unless configured.
  if (protocol === 'HTTP/1.0') return false
  return !Object.keys(environ).some((name) => PROXIED.test(name))
}

const LOOPBACK = /^(?:::ffff:)?127\.\d+\.\d+\.\d+$|^::1$/
const LOCAL_HOST = /^(?:(?:[\w-]+\.)*localhost\.?|127\.\d+\.\d+\.\d+|\[::1\])(?::\d*)?$/i
const PROXIED =
  /^HTTP_(?:FORWARDED|VIA|X_FORWARDED|X_REAL_IP|X_CLIENT_IP|X_CLUSTER_CLIENT_IP|TRUE_CLIENT_IP|CF_|FASTLY_|CDN_LOOP)/

function describe(error: unknown, environ: Environ): [type: string, page: string] {
  const text = escapeControl(inspect(error, { depth: 4 }))
  const title = text.split('\n', 1)[0] ?? ''
  if (!acceptsHtml(environ['HTTP_ACCEPT'])) return ['text/plain', `${text}\n`]
  const request = `${environ.REQUEST_METHOD} ${environ.SCRIPT_NAME}${environ.PATH_INFO}`
  const rows = Object.entries(environ)
    .filter(([name, value]) => typeof value === 'string' && !SECRET.test(name))
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `<tr><th>${asHtml(name)}</th><td>${asHtml(String(value))}</td></tr>\n`)
  return [
    'text/html',
    `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>${escapeHtml(title)}</title>
<style>body { font-family: sans-serif } pre { overflow: auto } th { text-align: left }</style>
<h1>${escapeHtml(title)}</h1>
<p>${asHtml(request)}</p>
<pre>${escapeHtml(text)}</pre>
<table>
${rows.join('')}</table>
</html>
`,
  ]
}

/** Variables that the page omits, because it may be shown to others. */
const SECRET = /AUTHORIZATION|COOKIE|KEY|PASSWORD|SECRET|TOKEN/i

function asHtml(bytes: string): string {
  return escapeHtml(escapeControl(decodeText(bytes)))
}

/** Whether Accept names text/html (RFC 9110, section 12.5.1). That of curl only accepts anything. */
function acceptsHtml(accept = ''): boolean {
  return accept.split(',').some((range) => {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase())
    return type === 'text/html' && !parameters.some((it) => /^q=0(?:\.0*)?$/.test(it))
  })
}
