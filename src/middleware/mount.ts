/** Applications below paths and hosts, as one application (Plack::App::URLMap). */
import { asApplication } from '../application/detect.ts'
import { encodeText } from '../environ/environ.ts'
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass, Environ } from '../types.ts'
import { chain, guard, hook } from './body-hooks.ts'
import { plain } from './response.ts'

/**
 * Gives each request to the application that is mounted at the longest prefix of its path.
 *
 * @param map applications by where they are: `'/path'`, or `'http://host/path'` for a single host.
 *   A host without a port stands for every port; hosts are looked at first. Schemes do not matter.
 * @returns an application; it answers 404 where nothing is mounted. What it runs sees its prefix at
 *   the end of SCRIPT_NAME and the rest as PATH_INFO; both are put back when the body is closed,
 *   and everything else that it sets stays for the layers outside to see.
 * @throws {ConfigurationError} for a place that is neither, or no map.
 * @example
 * import { mount } from 'portico/middleware'
 *
 * const where = (environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [`${environ.SCRIPT_NAME} and ${environ.PATH_INFO}`]
 * }
 * const application = mount({ '/shop': where, '/shop/admin': where })
 * // GET /shop/cart → 200 /shop and /cart
 * // GET /shop/admin → 200 /shop/admin and
 * // GET /shopping → 404 Not Found
 */
export function mount(map: Readonly<Record<string, Application | ApplicationClass>>): Application {
  if (typeof map !== 'object' || map === null) {
    throw new ConfigurationError("mount: it takes applications by their places, { '/shop': shop }")
  }
  const places = Object.entries(map)
    .map(([place, application]) => parsePlace(place, asApplication(application)))
    .toSorted((a, b) => b.host.length - a.host.length || b.path.length - a.path.length)
  return (environ, startResponse) => {
    const { SCRIPT_NAME, PATH_INFO } = environ
    const hosts = hostsOf(environ)
    const found = places.find(
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
    return chain(result, (body) => hook(body, { closed: restore }))
  }
}

const NOT_FOUND = plain('404 Not Found')

/** An empty host stands for every one. */
interface Place {
  readonly host: string
  readonly path: string
  readonly run: Application
}

function parsePlace(place: string, run: Application): Place {
  const [, host = '', path] = /^(?:https?:\/\/([^/?#@\s]+))?(|\/[^?#]*)$/i.exec(place) ?? []
  if (path === undefined || place === '') {
    throw new ConfigurationError(
      `mount: ${JSON.stringify(place)} is neither a path ('/shop') nor a URL ('http://host/shop')`,
    )
  }
  // The slash at the end says nothing: '/shop/' is where '/shop' is.
  return { host: host.toLowerCase(), path: encodeText(path.replace(/\/$/, '')), run }
}

/** What a request's host may be called: with its port and without, and the server's own name. */
function hostsOf(environ: Environ): string[] {
  const host = (environ['HTTP_HOST'] ?? '').toLowerCase()
  return [host, host.replace(/:\d*$/, ''), environ.SERVER_NAME.toLowerCase()]
}
