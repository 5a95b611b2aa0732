/** Checks of the environ that a gateway, or middleware, passes to an application. */
import { types } from 'node:util'
import { isHost } from '../environ/host.ts'
import { LENGTH, TOKEN } from '../text.ts'
import type { Environ } from '../types.ts'
import { checkCharacters, describe, fail, type Warn } from './report.ts'

/// ## The environ

/** Throws ApplicationError for an environ that breaks the contract. */
export function checkEnviron(environ: unknown): asserts environ is Environ {
  checkObject(environ)
  checkKeys(environ)
  checkVariables(environ)
  checkWsgiKeys(environ)
  checkServer(environ)
  checkPaths(environ)
  checkBodyVariables(environ)
}

type Variables = Record<string, unknown>

/// - The environ is an object whose keys are strings. It is not a Proxy. Each request has its own
///   environ. *(not checked: middleware may call an application again)*
/// - Applications and middleware may change it: it is neither frozen nor sealed.
/// - It inherits nothing except keys with a dot. So `environ[name]` finds what the request brought
///   and nothing else, whatever the name is.
function checkObject(environ: unknown): asserts environ is Variables {
  if (typeof environ !== 'object' || environ === null || Array.isArray(environ)) {
    fail(`environ: must be an object with a null prototype, not ${describe(environ)}`)
  }
  let prototype: unknown = Object.getPrototypeOf(environ)
  while (typeof prototype === 'object' && prototype !== null) {
    const member = Reflect.ownKeys(prototype).find((key) => !String(key).includes('.'))
    if (member !== undefined) {
      fail(
        `environ: must be an object with a null prototype, but ${describe(environ)} inherits ` +
          `${String(member)}, which a program could take for a variable; make it with ` +
          "createEnviron() from 'portico/gateway'",
      )
    }
    prototype = Object.getPrototypeOf(prototype)
  }
  if (types.isProxy(environ)) fail('environ: must be a plain object, not a Proxy of one')
  if (!Object.isExtensible(environ)) {
    fail('environ: must not be frozen, sealed or non-extensible; middleware adds keys to it')
  }
  const [symbol] = Object.getOwnPropertySymbols(environ)
  if (symbol) fail(`environ: every key must be a string, not ${describe(symbol)}`)
}

/// - These keys are always present: `REQUEST_METHOD`, `SCRIPT_NAME`, `PATH_INFO`, `QUERY_STRING`, `SERVER_NAME`,
///   `SERVER_PORT`, `SERVER_PROTOCOL`, `wsgi.version`, `wsgi.url_scheme`, `wsgi.input`,
///   `wsgi.errors`, `wsgi.multithread`, `wsgi.multiprocess`, `wsgi.run_once`,
///   `wsgi.input_terminated`, `portico.signal`, `portico.gateway`.
const REQUIRED = [
  'REQUEST_METHOD',
  'SCRIPT_NAME',
  'PATH_INFO',
  'QUERY_STRING',
  'SERVER_NAME',
  'SERVER_PORT',
  'SERVER_PROTOCOL',
  'wsgi.version',
  'wsgi.url_scheme',
  'wsgi.input',
  'wsgi.errors',
  'wsgi.multithread',
  'wsgi.multiprocess',
  'wsgi.run_once',
  'wsgi.input_terminated',
  'portico.signal',
  'portico.gateway',
]

/// - These keys are never present: `HTTP_CONTENT_TYPE` and `HTTP_CONTENT_LENGTH` (the names are
///   `CONTENT_TYPE` and `CONTENT_LENGTH`), and `HTTP_PROXY`, which programs take for the proxy that
///   they should use (CVE-2016-5385, "httpoxy").
const FORBIDDEN = {
  HTTP_CONTENT_TYPE: 'use CONTENT_TYPE instead',
  HTTP_CONTENT_LENGTH: 'use CONTENT_LENGTH instead',
  HTTP_PROXY: 'a client could set the proxy that child processes use',
}

function checkKeys(environ: Variables): void {
  for (const key of REQUIRED) {
    if (!(key in environ)) fail(`environ: ${key} is missing; every environ must have it`)
  }
  for (const [key, reason] of Object.entries(FORBIDDEN)) {
    if (key in environ) fail(`environ: ${key} is not allowed; ${reason}`)
  }
}

/// - A key without a dot is a CGI variable (RFC 3875, section 4.1) or a variable of the deployment.
///   Its value is a byte string: one character, U+0001 to U+00FF, for each byte. An unknown
///   variable has no key.
function checkVariables(environ: Variables): void {
  for (const key of Object.keys(environ)) {
    // Reading a key with a dot could create its value.
    if (key.includes('.')) continue
    // Names come from clients, and some servers pass on any character.
    const where = `environ: ${/^\w{1,80}$/.test(key) ? key : describe(key)}`
    const text = environ[key]
    if (typeof text !== 'string') fail(`${where} must be a string, not ${describe(text)}`)
    // oxlint-disable-next-line no-control-regex -- NUL is what a variable cannot contain
    checkCharacters(where, text, /[\0\u0100-\uffff]/, 'bytes other than NUL')
  }
}

/// - `wsgi.version` is the array `[1, 0]`.
/// - `wsgi.url_scheme` is `'http'` or `'https'`.
/// - `wsgi.multithread`, `wsgi.multiprocess`, `wsgi.run_once` and `wsgi.input_terminated` are
///   booleans. `run_once` is true only if the process ends after one request: if
///   `portico.gateway` is `'cgi'`.
/// - `wsgi.file_wrapper`, if present, is a constructor of bodies:
///   `new environ['wsgi.file_wrapper'](file, { start, length })`.
/// - `portico.gateway` is the gateway's name: `'cgi'`, `'fastcgi'`, `'scgi'` or `'http'`. A gateway
///   outside Portico has a name of its own: lower-case letters, digits and hyphens.
/// - `portico.signal` is an AbortSignal. It is aborted when the client disconnects or the gateway
///   gives up. It may be created on first use. *(not checked: the validator uses it)*
/// - Other keys of gateways, middleware and frameworks have a dot: `author.name`. Keys that begin
///   with `portico.` belong to Portico. *(not checked)*
function checkWsgiKeys(environ: Variables): void {
  const version = environ['wsgi.version']
  if (!Array.isArray(version) || version.length !== 2) {
    fail(`environ: wsgi.version must be the array [1, 0], not ${describe(version)}`)
  }
  if (version[0] !== 1 || version[1] !== 0) {
    fail(
      `environ: wsgi.version must be the array [1, 0], not [${version.map(describe).join(', ')}]`,
    )
  }
  oneOf(environ, 'wsgi.url_scheme', ['http', 'https'])
  for (const flag of ['multithread', 'multiprocess', 'run_once', 'input_terminated']) {
    oneOf(environ, `wsgi.${flag}`, [true, false])
  }
  const { 'portico.gateway': gateway, 'portico.signal': signal } = environ
  if (typeof gateway !== 'string' || !/^[a-z][a-z\d]*(?:-[a-z\d]+)*$/.test(gateway)) {
    fail(`environ: portico.gateway must be a name such as "fastcgi", not ${describe(gateway)}`)
  }
  if (environ['wsgi.run_once'] === true && gateway !== 'cgi') {
    fail(
      `environ: wsgi.run_once must be false if portico.gateway is ${describe(gateway)}, not true`,
    )
  }
  // By its tag: a signal of another realm (node:vm) is accepted.
  if (Object.prototype.toString.call(signal) !== '[object AbortSignal]') {
    fail(`environ: portico.signal must be an AbortSignal, not ${describe(signal)}`)
  }
  const wrapper = environ['wsgi.file_wrapper']
  if (wrapper !== undefined && !isConstructor(wrapper)) {
    fail(`environ: wsgi.file_wrapper must be a constructor, not ${describe(wrapper)}`)
  }
  hasMethods(environ, 'wsgi.input', [
    'read',
    'readline',
    'readlines',
    'chunks',
    'stream',
    Symbol.asyncIterator,
  ])
  hasMethods(environ, 'wsgi.errors', ['write', 'writelines', 'flush'])
}

function isConstructor(value: unknown): boolean {
  try {
    Reflect.construct(Object, [], value as typeof Object) // Does not call it.
    return true
  } catch {
    return false
  }
}

function oneOf(environ: Variables, key: string, values: readonly unknown[]): void {
  if (values.includes(environ[key])) return
  fail(
    `environ: ${key} must be one of ${values.map(describe).join(', ')}, not ${describe(environ[key])}`,
  )
}

function hasMethods(environ: Variables, key: string, methods: readonly PropertyKey[]): void {
  const value = environ[key]
  if (typeof value !== 'object' || value === null) {
    fail(`environ: ${key} must be an object, not ${describe(value)}`)
  }
  for (const method of methods) {
    const found: unknown = Reflect.get(value, method)
    if (typeof found !== 'function') {
      fail(`environ: ${key} must have a method ${String(method)}, not ${describe(found)}`)
    }
  }
}

/**
 * A name or an IPv4 address (RFC 3986, section 3.2.2; nginx sends the `*.example.com` of its
 * `server_name`), or an IPv6 address with or without brackets. Each character can be matched in
 * one way only, so that a long name does not take quadratic time.
 */
const HOST = /^(?:\[[\da-f:.]+\]|[\da-f.]*:[\da-f:.]*|[\w.~%!$&'()*+,;=-]+)$/i
const AUTHORITY = /^(?:\[[\da-f:.]+\]|[\w.~%-]+)(?::\d{1,5})?$/i

/// - `REQUEST_METHOD` is a token (RFC 9110, section 5.6.2). *Warning:* a method other than GET,
///   HEAD, POST, PUT, DELETE, PATCH, OPTIONS and TRACE.
/// - `SERVER_NAME` is a host name or an address, never empty. `SERVER_PORT` is 1 to 5 digits.
/// - `SERVER_PROTOCOL` is `HTTP/` with a version, whose numbers may have several digits, or `INCLUDED`
///   (RFC 3875, section 4.1.16).
function checkServer(environ: Variables): void {
  const { REQUEST_METHOD, SERVER_NAME, SERVER_PORT, SERVER_PROTOCOL } = environ
  matches('REQUEST_METHOD', REQUEST_METHOD, TOKEN, 'an HTTP token')
  matches('SERVER_NAME', SERVER_NAME, HOST, 'a host name or an address')
  matches('SERVER_PORT', SERVER_PORT, /^\d{1,5}$/, 'a port number')
  matches(
    'SERVER_PROTOCOL',
    SERVER_PROTOCOL,
    /^(?:HTTP\/\d+(?:\.\d+)?|INCLUDED)$/,
    'like HTTP/1.1, or INCLUDED',
  )
}

function matches(key: string, value: unknown, pattern: RegExp, expected: string): void {
  if (!pattern.test(String(value)))
    fail(`environ: ${key} must be ${expected}, not ${describe(value)}`)
}

/// - `SCRIPT_NAME` is the path at which the application is mounted: `''` or `/…`, never `/`.
/// - `PATH_INFO` is the rest of the path: `''` or `/…`, whatever form the request target had. For
///   OPTIONS it may be `*`. `SCRIPT_NAME` and `PATH_INFO` are not both empty.
/// - Both are percent-decoded once, and repeated slashes are kept. *(not checked)*
/// - `REQUEST_URI`, if the gateway knows it, is the request target as the client sent it, query
///   included: a path, an absolute URI, `*` for OPTIONS, or `host:port` for CONNECT, which has no
///   other form. *Warning:* another form, or a space or a `#`, which no request target may contain.
function checkPaths(environ: Variables): void {
  const { SCRIPT_NAME, PATH_INFO, REQUEST_METHOD } = environ
  if (SCRIPT_NAME === '/') {
    fail('environ: SCRIPT_NAME must be "", not "/"; PATH_INFO should be "/" instead')
  }
  matches('SCRIPT_NAME', SCRIPT_NAME, /^(?:\/|$)/, 'empty or begin with /')
  if (!(PATH_INFO === '*' && REQUEST_METHOD === 'OPTIONS')) {
    matches('PATH_INFO', PATH_INFO, /^(?:\/|$)/, 'empty or begin with / (or be * for OPTIONS)')
  }
  if (SCRIPT_NAME === '' && PATH_INFO === '') {
    fail('environ: SCRIPT_NAME and PATH_INFO must not both be ""; the PATH_INFO of the root is "/"')
  }
}

/// - `CONTENT_LENGTH` is 1 to 15 digits. `CONTENT_LENGTH` and `CONTENT_TYPE` have no key if empty.
function checkBodyVariables(environ: Variables): void {
  const { CONTENT_LENGTH, CONTENT_TYPE } = environ
  if (CONTENT_LENGTH !== undefined) {
    matches('CONTENT_LENGTH', CONTENT_LENGTH, LENGTH, '1 to 15 digits, or have no key')
  }
  if (CONTENT_TYPE === '') fail('environ: CONTENT_TYPE must have no key if it is empty, not ""')
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE']

/// - *Warning:* an `HTTP_HOST` that is not `host` or `host:port`, of which the port may be empty. The
///   client chooses it.

/** Warns of what only the client can have caused, and what may be intended. */
export function warnOfClient(environ: Environ, warn: Warn): void {
  const { REQUEST_METHOD, REQUEST_URI, HTTP_HOST } = environ
  if (!METHODS.includes(REQUEST_METHOD)) {
    warn(
      `environ: REQUEST_METHOD is usually one of ${METHODS.join(', ')}, not ${describe(REQUEST_METHOD)}`,
    )
  }
  if (REQUEST_URI !== undefined) warnOfTarget(REQUEST_METHOD, REQUEST_URI, warn)
  if (HTTP_HOST !== undefined && !isHost(HTTP_HOST)) {
    warn(`environ: HTTP_HOST should be host or host:port, not ${describe(HTTP_HOST)}`)
  }
}

const ABSOLUTE_OR_PATH = /^(?:\/|[a-z][a-z\d+.-]*:\/\/)/i

/** Caddy passes on `*` for GET, Apache `?a`, and nginx makes `?a` of `http://host?a`. */
function warnOfTarget(method: string, target: string, warn: Warn): void {
  const shown = `not ${describe(target)}`
  if (/[ #]/.test(target)) {
    warn(`environ: REQUEST_URI should contain neither a space nor "#", ${shown}`)
  }
  if (method === 'CONNECT') {
    if (!AUTHORITY.test(target)) {
      warn(`environ: REQUEST_URI should be host:port for CONNECT, ${shown}`)
    }
  } else if (!ABSOLUTE_OR_PATH.test(target) && !(target === '*' && method === 'OPTIONS')) {
    warn(`environ: REQUEST_URI should be a path or an absolute URI (or * for OPTIONS), ${shown}`)
  }
}
