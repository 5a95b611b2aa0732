/** `createFetchRequest`: an environ as the Request that a handler of the Fetch API gets. */
import { PeerError } from '../errors.ts'
import type { Environ } from '../types.ts'
import { applicationUri } from '../wsgiref/util.ts'
import { LightRequest, pairsOf } from './light-request.ts'
import { realRequest } from './real-request.ts'
import type { RequestBody } from './request-body.ts'
import { headerLines } from './request-headers.ts'
import { targetOf } from '../environ/request-target.ts'

/** Methods that the constructor of Request refuses (Fetch Standard, section 2.2.1). */
const FORBIDDEN_METHOD = /^(?:CONNECT|TRACE|TRACK)$/i

/**
 * Creates a Request: a light one after `installLightFetch()`, else one of Node's own.
 *
 * @throws {PeerError} 501 for a method, 400 for a URL or header that the Fetch API cannot express.
 */
export function createFetchRequest(environ: Environ, body: RequestBody): Request {
  const method = environ.REQUEST_METHOD
  if (FORBIDDEN_METHOD.test(method)) {
    const text = `The Fetch API does not allow the method ${method}`
    throw new PeerError('PORTICO_BAD_REQUEST', text, '501 Not Implemented')
  }
  const { url } = targetOf(environ)
  const path = url === '*' ? '/' : url
  const lines = headerLines(environ, body)
  try {
    const { uri, isNormal } = originOf(environ)
    if (!LightRequest.isInstalled || !LightRequest.fits(method, lines)) {
      return realRequest(environ, body, uri + path, pairsOf(lines))
    }
    const whole = isNormal && NORMAL_PATH.test(path) ? uri + path : new URL(uri + path).href
    return new LightRequest(environ, body, whole, lines) as unknown as Request
  } catch (error) {
    const text = `The Fetch API cannot express this request: ${String(error)}`
    throw new PeerError('PORTICO_BAD_REQUEST', text)
  }
}

/** A path and query that URL does not change: nothing to encode, no segment of dots. */
const NORMAL_PATH = /^(?:[\w~!$&()*+,;=:@?/-]|(?<!\/)\.)*$/

/** Scheme and host of a request, and the variables that they came from. */
interface Origin {
  readonly host: string | undefined
  readonly name: string
  readonly port: string
  readonly scheme: string
  readonly uri: string
  /** Whether URL leaves `uri` unchanged. */
  readonly isNormal: boolean
}

/** The origin of the last request. Most processes have only one. */
let lastOrigin: Origin | undefined

/** The origin of a request. SERVER_NAME is used if HTTP_HOST is not a valid host. */
function originOf(environ: Environ): Origin {
  const { SERVER_NAME: name, SERVER_PORT: port, HTTP_HOST: host } = environ
  const scheme = environ['wsgi.url_scheme']
  if (
    lastOrigin?.host !== host ||
    lastOrigin?.name !== name ||
    lastOrigin.port !== port ||
    lastOrigin.scheme !== scheme
  ) {
    const parts = { SERVER_NAME: name, SERVER_PORT: port, HTTP_HOST: host }
    const uri = applicationUri({ ...parts, 'wsgi.url_scheme': scheme }).slice(0, -1)
    lastOrigin = { host, name, port, scheme, uri, isNormal: new URL(uri).href === `${uri}/` }
  }
  return lastOrigin
}
