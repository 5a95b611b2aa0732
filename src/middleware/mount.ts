/** Several applications at their paths and hosts (Plack::App::URLMap). */
import { asApplication } from '../application/detect.ts'
import { encodeText } from '../environ/environ.ts'
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass, Environ } from '../types.ts'
import { hookBody } from './body-hooks.ts'
import { chain, guard } from './maybe-promise.ts'
import { plain } from './plain-response.ts'

/**
 * Gives each request to the application that is mounted at the longest prefix of its path.
 *
 * @param map an object of paths to applications: `'/path'`, or `'http://host/path'` for one host. A
 *   host without a port stands for every port. Entries with a host are tried first. The scheme only
 *   decides which port a URL without one means.
 * @returns an application. Host decides, and SERVER_NAME only if the request has no Host (RFC 9110,
 *   section 7.2). If nothing is mounted at a path, the response is a 404. A mounted application finds
 *   its prefix at the end of SCRIPT_NAME and the rest in PATH_INFO. Both are restored when the body is
 *   closed; its other changes to the environ remain.
 * @throws {ConfigurationError} for a key that is neither a path nor a URL, and for anything but an
 *   object.
 * @example
 * import type { Application } from 'portico'
 * import { mount } from 'portico/middleware'
 *
 * const where: Application = (environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [`${environ.SCRIPT_NAME} and ${environ.PATH_INFO}`]
 * }
 * const application = mount({ '/shop': where, '/shop/admin': where })
 * // GET /shop/cart → 200 /shop and /cart
 * // GET /shop/admin → 200 /shop/admin and
 * // GET /shopping → 404 Not Found
 */
export function mount(map: Readonly<Record<string, Application | ApplicationClass>>): Application {
  // A Map would have no entries.
  if (typeof map !== 'object' || map === null || Symbol.iterator in map) {
    throw new ConfigurationError(
      "mount: the argument must be an object of paths to applications, { '/shop': shop }",
    )
  }
  const points = Object.entries(map)
    .map(([key, application]) => parseKey(key, asApplication(application)))
    .toSorted((a, b) => b.host.length - a.host.length || b.path.length - a.path.length)
  return (environ, startResponse) => {
    const { SCRIPT_NAME, PATH_INFO } = environ
    const hosts = hostsOf(environ)
    const found = points.find(
      ({ host, path }) =>
        (host === '' || hosts.includes(host)) &&
        PATH_INFO.startsWith(path) &&
        (PATH_INFO.length === path.length || PATH_INFO[path.length] === '/'),
    )
    if (!found) return NOT_FOUND(environ, startResponse)
    function restore(): void {
      environ.SCRIPT_NAME = SCRIPT_NAME
      environ.PATH_INFO = PATH_INFO
    }
    environ.SCRIPT_NAME = SCRIPT_NAME + found.path
    environ.PATH_INFO = PATH_INFO.slice(found.path.length)
    const result = guard(() => found.run(environ, startResponse), restore)
    return chain(result, (body) => hookBody(body, { onClose: restore }))
  }
}

const NOT_FOUND = plain('404 Not Found')

interface MountPoint {
  /** '' for every host. */
  readonly host: string
  readonly path: string
  readonly run: Application
}

function parseKey(key: string, run: Application): MountPoint {
  const [, host = '', path] = /^(?:https?:\/\/([^/?#@\s]+))?(|\/[^?#]*)$/i.exec(key) ?? []
  const known = normalHost(asciiHost(host))
  if (path === undefined || key === '' || (known === '' && host !== '')) {
    throw new ConfigurationError(
      `mount: ${JSON.stringify(key)} is neither a path ('/shop') nor a URL ('http://host/shop')`,
    )
  }
  // '/shop/' is the same mount point as '/shop'.
  return { host: known, path: encodeText(path.replace(/\/$/, '')), run }
}

/** A host as clients send it in Host: 'bücher.example' is 'xn--bcher-kva.example'. '' if it is invalid. */
function asciiHost(host: string): string {
  if (PLAIN_HOST.test(host)) return host
  const [port = ''] = PORT.exec(host) ?? []
  try {
    return new URL(`http://${host.slice(0, host.length - port.length)}`).hostname + port
  } catch {
    return ''
  }
}

const PLAIN_HOST = /^[\w.:-]*$/

/** The keys that match a request's host: its name with the port, and without. */
function hostsOf(environ: Environ): string[] {
  const host = normalHost(environ['HTTP_HOST'] || `${environ.SERVER_NAME}:${environ.SERVER_PORT}`)
  const name = host.replace(PORT, '')
  if (name !== host) return [host, name]
  return [name, `${name}:${environ['wsgi.url_scheme'] === 'https' ? '443' : '80'}`]
}

/**
 * Host names are compared without case, without the root's trailing dot and without the colon of an
 * empty port (RFC 3986, section 6.2.3).
 */
function normalHost(host: string): string {
  return host.toLowerCase().replace(/\.?:?$|\.(?=:\d+$)/, '')
}

const PORT = /:\d+$/
