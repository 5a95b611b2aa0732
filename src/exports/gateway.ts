/** `portico/gateway`: what a gateway of your own is built from; `examples/uwsgi.ts` is one. */
export { BaseHandler, type HandlerOptions, type MaybePromise } from '../../handlers/base.ts'
export { BaseCGIHandler, SimpleHandler, type SimpleOptions } from '../../handlers/simple.ts'
export {
  type NamedApplication,
  type Runnable,
  toApplication,
} from '../application/to-application.ts'
export { contentLength, copyEnviron, createEnviron, setVariable } from '../environ/environ.ts'
export type { PathOptions } from '../environ/path.ts'
export { ApplicationError, ConfigurationError, PeerError, type PeerFault } from '../errors.ts'
export { type BodyOwner, BodyQueue, queueFromStream } from '../request/body-queue.ts'
export { ErrorLog } from '../request/error-log.ts'
export { bytesSource, type ByteSource, emptySource, Input, streamSource } from '../request/input.ts'
export { Headers } from '../response/headers.ts'
export { closeAfterResponse } from '../server/closing.ts'
export type { Connection } from '../server/connection.ts'
export { coarseTime } from '../server/deadlines.ts'
export {
  GatewayServer,
  type OtherGateway,
  type ServerOptions,
  type ServerPolicy,
} from '../server/gateway-server.ts'
export type { Address } from '../server/listen.ts'
export { drained } from '../server/socket-writer.ts'
export type {
  Application,
  Body,
  Chunk,
  Environ,
  ErrorStream,
  Gateway,
  HeaderList,
  HeaderPairs,
  InputStream,
  StartResponse,
  Write,
} from '../types.ts'
