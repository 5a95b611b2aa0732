/** A Request of Node's own, made for a request that came through a gateway. */
import type { Buffer } from 'node:buffer'
import type { Environ } from '../types.ts'
import type { RequestBody } from './request-body.ts'

/** Creates a Request whose `signal` is `portico.signal`. */
export function realRequest(
  environ: Environ,
  { chunks }: RequestBody,
  url: string,
  headers: Headers | [string, string][],
): Request {
  const method = environ.REQUEST_METHOD
  const init: RequestInit = { method, headers }
  // The Fetch API does not allow a body with GET or HEAD.
  if (chunks !== null && !/^(?:GET|HEAD)$/i.test(method)) {
    Object.assign(init, { body: webStream(chunks), duplex: 'half' })
  }
  RequestClass ??= defineRequest()
  return new RequestClass(url, init, environ)
}

/** The key under which a Request has its environ. */
const ENVIRON = Symbol('portico.environ')

/** Defined at the first request: the class it extends takes 19 ms to load. */
let RequestClass: ReturnType<typeof defineRequest> | undefined

/**
 * Following a signal from the start would make a Request four times as expensive, so the signal is
 * looked up when it is used. `new Request(url, request)` uses it.
 */
function defineRequest() {
  class GatewayRequest extends Request {
    readonly [ENVIRON]: Environ

    constructor(url: string, init: RequestInit, environ: Environ) {
      super(url, init)
      this[ENVIRON] = environ
    }
  }
  // TypeScript does not allow a class to override a property with an accessor.
  const overrides: PropertyDescriptorMap & ThisType<GatewayRequest> = {
    constructor: { value: Request },
    signal: {
      enumerable: true,
      get() {
        return this[ENVIRON]['portico.signal']
      },
    },
    clone: {
      enumerable: true,
      value() {
        const copy = Object.setPrototypeOf(clone.call(this), GatewayRequest.prototype) as object
        return Object.assign(copy, { [ENVIRON]: this[ENVIRON] })
      },
    },
  }
  const { clone } = Request.prototype
  Object.defineProperties(GatewayRequest.prototype, overrides)
  return GatewayRequest
}

/** A stream that reads a chunk from the gateway only when the handler asks for one. */
function webStream(chunks: AsyncIterator<Buffer>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await chunks.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
    },
    { highWaterMark: 0 },
  )
}
