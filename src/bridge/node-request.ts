/** `createNodeRequest`: an environ as the `http.IncomingMessage` that a framework expects. */
import { IncomingMessage } from '../node-http.ts'
import { addHeaderLines, readFrom } from '../node-internals/incoming-message.ts'
import type { Environ } from '../types.ts'
import type { GatewaySocket } from './gateway-socket.ts'
import type { RequestBody } from './request-body.ts'
import { headerLines } from './request-headers.ts'
import { targetOf } from '../environ/request-target.ts'

/** `import 'portico/node'` adds these to the requests of every framework that uses node:http. */
declare module 'http' {
  interface IncomingMessage {
    /** All variables of the gateway: REMOTE_USER, AUTH_TYPE, `portico.signal` … */
    environ: Environ
    /** SCRIPT_NAME, percent-encoded. Express appends the mount points of its routers. */
    baseUrl: string
    /** The target with the mount point, which `url` does not have. Express and Connect set it. */
    originalUrl?: string | undefined
  }
}

/** A request as applications inside `fromNode` see it. */
export interface NodeRequest extends IncomingMessage {
  originalUrl: string
}

/** Creates the request. Express replaces its prototype, so what it needs is in the instance. */
export function createNodeRequest(
  environ: Environ,
  socket: GatewaySocket,
  body: RequestBody,
): NodeRequest {
  const request = new GatewayRequest(socket as never) as NodeRequest
  const { chunks } = body
  const { base, url, original } = targetOf(environ)
  request.method = environ.REQUEST_METHOD
  request.url = url
  request.baseUrl = base
  if (base !== '') defineOriginalUrl(request, original)
  request.environ = environ
  setVersion(request, environ.SERVER_PROTOCOL)
  addHeaderLines(request, headerLines(environ, body))
  if (chunks === null) {
    request.complete = true
    request.push(null)
  } else {
    readFrom(request, chunks, socket)
  }
  return request
}

/**
 * Without a mount point, `originalUrl` is `url`. It must not be in the instance then: where it is
 * not, Express and parseurl take the `url` that a listener before them may have rewritten.
 */
class GatewayRequest extends IncomingMessage {}

// TypeScript does not allow a class to override a property with an accessor.
const members: PropertyDescriptorMap & ThisType<IncomingMessage> = {
  // `request.constructor` is Node's class, as for any other request.
  constructor: { value: IncomingMessage },
  originalUrl: {
    configurable: true,
    get() {
      return this.url
    },
    set(url: string) {
      defineOriginalUrl(this, url)
    },
  },
}
Object.defineProperties(GatewayRequest.prototype, members)

function defineOriginalUrl(request: IncomingMessage, value: string): void {
  Object.defineProperty(request, 'originalUrl', {
    configurable: true,
    enumerable: true,
    writable: true,
    value,
  })
}

/**
 * HTTP/2 and 3 are shown as 1.1: this is a message of node:http. Frameworks take a request with
 * version 2 for one of node:http2, which has no reason phrase and refuses some headers.
 */
function setVersion(request: IncomingMessage, protocol: string): void {
  request.httpVersionMajor = 1
  request.httpVersionMinor = protocol === 'HTTP/1.0' ? 0 : 1
  request.httpVersion = `1.${request.httpVersionMinor}`
}
