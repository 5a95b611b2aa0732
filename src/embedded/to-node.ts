/**
 * `toNode`: an application of ours as a listener of node:http, from the side of somebody else's
 * server: `http.createServer(toNode(app))`, or mounted in Express by `app.use('/path', toNode(app))`.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { applicationOf, linkApplication, nodeOriginOf } from '../application/adapted.ts'
import { asApplication } from '../application/detect.ts'
import type { NodeListener, NodeRequest } from '../bridge/from-node.ts'
import { ApplicationError } from '../errors.ts'
import { Input, type ByteSource } from '../request/input.ts'
import { decodePath } from '../environ/decode-path.ts'
import type { Application, ApplicationClass, Environ, HeaderList, InputStream } from '../types.ts'
import type { HandlerOptions } from '../../handlers/base.ts'
import { HTTPRequestHandler } from '../../handlers/http.ts'

/**
 * Makes a listener. Express's `req.baseUrl` is SCRIPT_NAME; behind `fromNode` the variables of the
 * gateway in front are there as well. What came out of `fromNode` is given back as it was.
 *
 * A body that somebody has read already cannot be read again: mount the application before
 * `express.json()` and its like, or `wsgi.input` throws an ApplicationError.
 *
 * @throws {ConfigurationError} if `application` is none.
 */
export function toNode(
  application: Application | ApplicationClass,
  options: HandlerOptions = {},
): NodeListener {
  const run = applicationOf(application) ?? asApplication(application)
  const origin = nodeOriginOf(run)
  if (origin !== undefined) return origin.listener
  const listener: NodeListener = (request, response) => {
    new MountedHandler(request, response, options).start(run)
  }
  linkApplication(listener, run)
  return listener
}

/** What a framework or `fromNode` has put into a request. */
type Mounted = IncomingMessage & Partial<Pick<NodeRequest, 'baseUrl' | 'environ' | 'originalUrl'>>

class MountedHandler extends HTTPRequestHandler {
  constructor(request: IncomingMessage, response: ServerResponse, options: HandlerOptions) {
    // Whose Server header there is is the server's affair.
    super(request, response, { ...options, serverSoftware: null })
  }

  override addCgiVars(): void {
    super.addCgiVars()
    const environ = this.environ!
    const { baseUrl = '', environ: outer, originalUrl }: Mounted = this.request
    if (originalUrl !== undefined) environ['REQUEST_URI'] = originalUrl
    environ.SCRIPT_NAME = decodePath(baseUrl)
    // A router adds the slash that the path of its own mount point has not.
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

  /** What the framework has set stays, unless the application sets it, too. */
  override _setHead(code: number, reason: string, headers: HeaderList): void {
    const { response } = this
    for (const [name] of headers) response.removeHeader(name)
    // One by one: writeHead() (Node 20) keeps only the last of several with one name.
    for (const [name, value] of headers) response.appendHeader(name, value)
    response.writeHead(code, reason)
  }
}

/** What a gateway has said stays true below a framework: REMOTE_USER, HTTPS, SERVER_NAME … */
function inherit(environ: Environ, outer: Environ): void {
  for (const name of ['SERVER_NAME', 'SERVER_PORT', 'SERVER_PROTOCOL'] as const) {
    environ[name] = outer[name]
  }
  for (const name in outer) {
    const value = outer[name]
    // The headers are the request's, which a framework may have changed.
    if (typeof value !== 'string' || name.startsWith('HTTP_') || name.includes('.')) continue
    if (name !== 'CONTENT_TYPE' && name !== 'CONTENT_LENGTH' && !(name in environ)) {
      environ[name] = value
    }
  }
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

const spent: ByteSource = {
  read() {
    throw new ApplicationError(
      'The body of this request has been read already: toNode() has to come before body parsers',
    )
  },
}
