/**
 * The rules of the environ for every gateway: which CGI variables it takes, which it always has,
 * and which values it refuses.
 */
import { Buffer } from 'node:buffer'
import type { Environ } from '../types.ts'
import { PeerError } from '../errors.ts'
import { LENGTH, TOKEN } from '../text.ts'
import type { LazyAbortController } from './lazy-abort-controller.ts'
import { repairPath, type PathOptions } from './path.ts'
import { repairVariables } from './quirks.ts'
import { unwrapInput } from './wrapped-input.ts'

/**
 * An object whose prototype has no prototype: `__proto__`, `toString` and the like are ordinary
 * keys. V8 turns `Object.create(null)` into a dictionary, which takes four times as long to fill,
 * and an own accessor would do the same. So `portico.signal`, which is created on first use, is an
 * accessor of the prototype.
 */
const EnvironRecord = function () {} as unknown as { new (): Environ; prototype: object }
EnvironRecord.prototype = Object.create(null, {
  'portico.signal': {
    get(this: { readonly 'portico.abort'?: LazyAbortController }): AbortSignal | undefined {
      return this['portico.abort']?.signal
    },
    enumerable: true,
  },
})

/** Creates an empty environ. */
export function createEnviron(): Environ {
  return new EnvironRecord()
}

/** The prototype of every environ. */
export const ENVIRON_PROTOTYPE: object = EnvironRecord.prototype

/**
 * A shallow copy, for middleware that changes variables for the application it wraps.
 * `{ ...environ }` would lose `portico.signal`, which is inherited.
 */
export function copyEnviron(environ: Environ): Environ {
  return Object.assign(createEnviron(), environ)
}

/**
 * Sets a variable that a peer has sent, by these rules:
 *
 * - HTTP_PROXY is dropped (CVE-2016-5385, "httpoxy"), and so are HTTP_CONTENT_TYPE and
 *   HTTP_CONTENT_LENGTH, duplicates of CONTENT_TYPE and CONTENT_LENGTH (PEP 3333, "environ
 *   Variables");
 * - CONTENT_TYPE and CONTENT_LENGTH are absent if empty, as nginx and Caddy send them on a GET;
 * - names with a dot are dropped: those keys belong to the gateway;
 * - if a variable is sent twice, the last value counts, because the web server's configuration has
 *   repeated it (docs/server-quirks.md); an empty CONTENT_LENGTH removes an earlier one;
 * - the values of a header that the client may repeat are joined with ', ', those of Cookie with
 *   '; ' (RFC 9110, section 5.3; RFC 6265, section 5.4): nginx before 1.23 sends one variable for
 *   each line.
 *
 * Names and values are byte strings.
 */
export function setVariable(environ: Environ, name: string, value: string): void {
  putVariable(environ, name, ruleFor(name), value)
}

/**
 * When a variable is set. The values of a repeated 'header' are joined; for any other variable the
 * last one counts. Only 'always' allows a line break.
 */
export type Rule = 'always' | 'line' | 'header' | 'single header' | 'never' | 'not empty'

/**
 * Headers with one value (RFC 9110, section 7.2, for Host). A second value comes from the web
 * server's configuration, such as `fastcgi_param HTTP_HOST` after `include fastcgi_params`.
 */
const SINGLE_HEADERS = new Set([
  'HTTP_HOST',
  'HTTP_X_FORWARDED_HOST',
  'HTTP_X_FORWARDED_PORT',
  'HTTP_X_FORWARDED_PROTO',
  'HTTP_X_REAL_IP',
])

/**
 * Variables other than headers that an application may copy into a header or a log, and whose grammar
 * has no line break. The numbers are sections of RFC 3875.
 *
 * Not here, so that they may have one:
 * - SCRIPT_NAME, PATH_INFO, PATH_TRANSLATED, SCRIPT_FILENAME and DOCUMENT_URI, which are decoded
 *   (4.1.5). `completeEnviron` refuses a NUL in the first two;
 * - REQUEST_URI and QUERY_STRING, which busybox httpd and some rewrite rules of nginx decode;
 * - certificates in SSL_*, and SERVER_SIGNATURE, which Apache ends with a line feed;
 * - what the administrator sets, such as PHP_VALUE.
 */
const LINES = new Set([
  'REQUEST_METHOD', // A token (4.1.12), which completeEnviron() checks for every gateway.
  'SERVER_PROTOCOL', // A name and a version (4.1.16).
  'REQUEST_SCHEME', // A scheme (RFC 3986, 3.1), from nginx and Apache.
  'HTTPS', // 'on', from nearly all web servers.
  'GATEWAY_INTERFACE', // A name and a version (4.1.4).
  'SERVER_NAME', // A host (4.1.14). Many web servers copy it from Host.
  'SERVER_PORT', // Digits (4.1.15).
  'SERVER_ADDR', // An address.
  'SERVER_SOFTWARE', // Products and comments (4.1.17).
  'REMOTE_ADDR', // An address (4.1.8).
  'REMOTE_HOST', // A host (4.1.9).
  'REMOTE_PORT', // Digits.
  'REMOTE_IDENT', // Printable text (4.1.10).
  'REMOTE_USER', // Printable text (4.1.11). nginx's $remote_user is what the client has encoded.
  'AUTH_TYPE', // A token (4.1.1).
  // These three become HTTP_AUTHORIZATION (quirks.ts).
  'REDIRECT_HTTP_AUTHORIZATION',
  'REDIRECT_REDIRECT_HTTP_AUTHORIZATION',
  'REDIRECT_REDIRECT_REDIRECT_HTTP_AUTHORIZATION',
])

/** Whether the value must be one line without a NUL. */
export function isLine(rule: Rule): boolean {
  return rule !== 'always' && rule !== 'never'
}

/** The rule that `setVariable` applies to a name. */
export function ruleFor(name: string): Rule {
  switch (name) {
    case '':
    case 'HTTP_PROXY':
    case 'HTTP_CONTENT_TYPE':
    case 'HTTP_CONTENT_LENGTH':
      return 'never'
    case 'CONTENT_TYPE':
    case 'CONTENT_LENGTH':
      return 'not empty'
  }
  if (name.includes('.')) return 'never'
  if (!name.startsWith('HTTP_')) return LINES.has(name) ? 'line' : 'always'
  return SINGLE_HEADERS.has(name) ? 'single header' : 'header'
}

/** `setVariable` for a name whose rule is already known. */
export function putVariable(environ: Environ, name: string, rule: Rule, value: string): void {
  if (rule === 'never') return
  const variables = environ as unknown as Record<string, string | undefined>
  if (rule === 'not empty' && value === '') {
    if (variables[name] !== undefined) delete variables[name]
    return
  }
  const earlier = rule === 'header' ? variables[name] : undefined
  variables[name] =
    earlier === undefined ? value : `${earlier}${name === 'HTTP_COOKIE' ? '; ' : ', '}${value}`
}

/**
 * Refuses a request if a header, or one of `LINES`, contains a line break or a NUL, which could become
 * two headers in what an application sends on (RFC 9110, section 5.5). `src/server/from-params.ts`
 * checks the bytes of FastCGI and SCGI, and Node's parser those of HTTP.
 *
 * @throws {PeerError} 400.
 */
export function refuseLineBreaks(environ: Environ): void {
  const variables = environ as unknown as Record<string, unknown>
  for (const name of Object.keys(environ)) {
    if (isLine(ruleFor(name)) && hasLineBreak(name + String(variables[name]))) {
      throw lineFault(name)
    }
  }
}

/** Without a regular expression, which a CGI script would compile at each request. */
function hasLineBreak(text: string): boolean {
  return text.includes('\n') || text.includes('\r') || text.includes('\0')
}

export function lineFault(name: string): PeerError {
  const shown = JSON.stringify(name.slice(0, MAX_SHOWN))
  return new PeerError(
    'PORTICO_BAD_REQUEST',
    `The variable ${shown} contains a line break or a NUL`,
  )
}

/** Characters of a name in a message. */
const MAX_SHOWN = 80

/** Sets the variables of a list `[name, value, name, value, …]`. */
export function setVariables(environ: Environ, list: readonly string[]): void {
  for (let i = 0; i + 1 < list.length; i += 2) setVariable(environ, list[i]!, list[i + 1]!)
}

/**
 * Completes the CGI variables: corrects known bugs of web servers and sets every variable that an
 * environ always has.
 *
 * @throws {PeerError} 400 for a method that is not a token (RFC 9110, section 9.1), a CONTENT_LENGTH
 *   that is not one to fifteen digits, or a NUL in the path, which no CGI variable can hold (FastCGI
 *   1.0, section 6.1).
 */
export function completeEnviron(environ: Environ, options: PathOptions, gateway?: string): void {
  environ.REQUEST_METHOD ||= 'GET'
  environ.SERVER_PROTOCOL ||= 'HTTP/1.0'
  environ.SERVER_NAME ||= 'localhost'
  environ.SERVER_PORT ||= '80'
  environ.QUERY_STRING ??= ''
  checkMethod(environ.REQUEST_METHOD)
  repairVariables(environ)
  repairPath(environ, options, gateway)
  if (environ.PATH_INFO.includes('\0') || environ.SCRIPT_NAME.includes('\0')) {
    throw new PeerError('PORTICO_BAD_REQUEST', 'The path contains a NUL')
  }
  const length = environ['CONTENT_LENGTH']
  if (length !== undefined && !LENGTH.test(length)) {
    throw new PeerError('PORTICO_BAD_REQUEST', 'CONTENT_LENGTH is not a number of bytes')
  }
}

function checkMethod(method: string): void {
  // Comparing with these two is a tenth of the cost of the expression.
  if (method === 'GET' || method === 'POST' || TOKEN.test(method)) return
  throw new PeerError('PORTICO_BAD_REQUEST', 'REQUEST_METHOD is not a method')
}

/** CONTENT_LENGTH in bytes; undefined if it is absent. */
export function contentLength(environ: Environ): number | undefined {
  const length = environ['CONTENT_LENGTH']
  return length === undefined ? undefined : Number(length)
}

/** Methods whose requests have a body only if a header announces it. */
const BODILESS = /^(?:GET|HEAD|OPTIONS|TRACE)$/

/**
 * How the request body is announced: by CONTENT_LENGTH, as chunks without a length, or not at all.
 * 'empty': HTTPHandler knows that it does not exist. 'unknown': only a read shows it, because a FastCGI
 * request without CONTENT_LENGTH and Transfer-Encoding may have a body or not.
 */
export function bodyFraming(environ: Environ): 'length' | 'chunked' | 'none' | 'empty' | 'unknown' {
  if (environ['CONTENT_LENGTH'] !== undefined) return 'length'
  if (!environ['wsgi.input_terminated']) return 'none'
  if (environ['HTTP_TRANSFER_ENCODING'] !== undefined) return 'chunked'
  if (environ['portico.gateway'] !== 'http') {
    return BODILESS.test(environ.REQUEST_METHOD) ? 'none' : 'unknown'
  }
  // HTTPHandler hides Transfer-Encoding, since it has decoded the body. Its input has no limit if the
  // body is chunked, and 0 bytes left if it does not exist.
  const input = unwrapInput(environ['wsgi.input'])
  const { unread, didRead } = input as Partial<Record<'unread' | 'didRead', unknown>>
  // There are 0 bytes left of a chunked body, too, after something has read it.
  if (unread === Infinity || didRead === true) return 'chunked'
  return unread === 0 ? 'empty' : 'unknown'
}

/** Decodes a byte string as UTF-8; invalid bytes become U+FFFD. */
export function decodeText(value: string): string {
  return Buffer.from(value, 'latin1').toString('utf8')
}

/** Encodes text as a byte string of UTF-8: the inverse of `decodeText`. */
export function encodeText(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}
