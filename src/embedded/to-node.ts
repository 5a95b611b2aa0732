/**
 * `toNode`: an application as a listener of node:http: `http.createServer(toNode(app))`, or mounted
 * in Express with `app.use('/path', toNode(app))`.
 */
import diagnostics from 'node:diagnostics_channel'
import type { IncomingMessage, OutgoingHttpHeader, ServerResponse } from 'node:http'
import { applicationOf, linkApplication, nodeOriginOf } from '../application/adapted.ts'
import { asApplication } from '../application/detect.ts'
import { validatedOnDemand } from '../application/to-application.ts'
import { checkCommonOptions } from '../options/common.ts'
import type { OptionsOf } from '../options/table.ts'
import type { NodeListener } from '../bridge/from-node.ts'
import { ApplicationError } from '../errors.ts'
import { Input, type ByteSource } from '../request/input.ts'
import { addVary } from '../middleware/vary.ts'
import { Headers } from '../response/headers.ts'
import { decodePath } from '../environ/decode-path.ts'
import type { Application, ApplicationClass, Environ, HeaderList, InputStream } from '../types.ts'
import type { HandlerOptions } from '../../handlers/base.ts'
import { publishRequests } from '../request/trace.ts'
import { HTTPRequestHandler } from '../../handlers/http.ts'

publishRequests(diagnostics)

/**
 * Creates a listener. Express's `req.baseUrl` becomes SCRIPT_NAME. Below `fromNode` the environ also
 * has the variables of the outer gateway. `toNode(fromNode(listener))` is the listener.
 *
 * A body cannot be read twice: mount the application before `express.json()` and other body
 * parsers, or `wsgi.input` throws an ApplicationError. A server of node:http2 is not supported.
 *
 * @throws {ConfigurationError} if `application` is not an application, or the options cannot work.
 */
export function toNode(
  application: Application | ApplicationClass,
  options: OptionsOf<'cgi'> = {},
): NodeListener {
  checkCommonOptions('toNode()', options)
  const run = applicationOf(application) ?? asApplication(application)
  const origin = nodeOriginOf(run)
  if (origin !== undefined) return origin.listener
  const served = options.validate ? validatedOnDemand(run) : run
  const listener: NodeListener = (request, response) => {
    const handler = new MountedHandler(request, response, options)
    response.on('close', () => {
      if (!response.writableFinished) handler.abort()
    })
    handler.start(served)
  }
  linkApplication(listener, run)
  return listener
}

/** A request with the properties that a framework or `fromNode` has added. */
interface Mounted {
  readonly baseUrl?: string
  readonly environ?: Environ
  readonly originalUrl?: string
}

class MountedHandler extends HTTPRequestHandler {
  constructor(request: IncomingMessage, response: ServerResponse, options: HandlerOptions) {
    // The server that the listener is used in decides on the Server header.
    super(request, response, { ...options, serverSoftware: null })
  }

  override addCgiVars(): void {
    super.addCgiVars()
    const environ = this.environ!
    const { baseUrl = '', environ: outer, originalUrl } = this.request as Mounted
    if (originalUrl !== undefined) environ['REQUEST_URI'] = originalUrl
    environ.SCRIPT_NAME = decodePath(baseUrl)
    // Express passes '/' for the mount point itself, without a slash at the end.
    if (baseUrl !== '' && decodePath(originalUrl ?? '') === environ.SCRIPT_NAME) {
      environ.PATH_INFO = ''
    }
    if (outer !== undefined) inherit(environ, outer)
  }

  override getStdin(): InputStream {
    return this.request.readableDidRead && hasBody(this.request)
      ? new Input(spent)
      : super.getStdin()
  }

  /**
   * Headers that the framework has set stay, unless the application sets them as well. Cookies of
   * both are sent (RFC 6265, section 3), and Vary has the names of both (RFC 9110, section 12.5.5).
   */
  override _setHead(code: number, reason: string, headers: HeaderList): void {
    const { response } = this
    const vary = response.getHeader('Vary')
    for (const [name] of headers) if (!/^set-cookie$/i.test(name)) response.removeHeader(name)
    // One by one: writeHead() (Node 20) keeps only the last of several with one name.
    for (const [name, value] of headers) response.appendHeader(name, value)
    const own = response.getHeader('Vary')
    if (vary !== undefined && own !== undefined) response.setHeader('Vary', union(vary, own))
    response.writeHead(code, reason)
  }
}

/** Copies the variables of the outer gateway: REMOTE_USER, HTTPS, SERVER_NAME … */
function inherit(environ: Environ, outer: Environ): void {
  for (const name of ['SERVER_NAME', 'SERVER_PORT', 'SERVER_PROTOCOL'] as const) {
    environ[name] = outer[name]
  }
  for (const name in outer) {
    const value = outer[name]
    // Not the headers: a framework may have changed them in the request.
    if (typeof value !== 'string' || name.startsWith('HTTP_') || name.includes('.')) continue
    if (name !== 'CONTENT_TYPE' && name !== 'CONTENT_LENGTH' && !(name in environ)) {
      environ[name] = value
    }
  }
}

/** Two values of Vary as one, without repetitions. */
function union(first: OutgoingHttpHeader, second: OutgoingHttpHeader): string {
  const headers = new Headers([['Vary', String(first)]])
  for (const name of String(second).split(',')) addVary(headers, name.trim())
  return headers.get('Vary')!
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

const spent: ByteSource = {
  read() {
    throw new ApplicationError(
      'The body of this request has been read already: toNode() has to come before body parsers',
      'PORTICO_BODY_ALREADY_READ',
    )
  },
}
