/** `portico`: what applications and the programs that serve them need. */
export { run, type RunOptions } from '../../handlers/auto.ts'
export type { HandlerOptions } from '../../handlers/base.ts'
export { CGIHandler, IISCGIHandler } from '../../handlers/cgi.ts'
export { FastCGIHandler, type FastCGIOptions } from '../../handlers/fastcgi.ts'
export { HTTPHandler, type HTTPOptions } from '../../handlers/http.ts'
export { makeServer } from '../../handlers/make-server.ts'
export { SCGIHandler, type SCGIOptions } from '../../handlers/scgi.ts'
export type { FrameworkApplication, Runnable } from '../application/to-application.ts'
export { copyEnviron, decodeText, encodeText } from '../environ/environ.ts'
export {
  ApplicationError,
  ConfigurationError,
  PeerError,
  type PeerFault,
  PorticoError,
} from '../errors.ts'
// The second name is for programs that also use the Fetch API's `Headers`.
export { Headers, Headers as ResponseHeaders } from '../response/headers.ts'
export { GatewayServer } from '../server/gateway-server.ts'
export type {
  Application,
  ApplicationClass,
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
export { validator } from '../validate/validator.ts'
export { applicationUri, FileWrapper, requestUri, shiftPathInfo } from '../wsgiref/util.ts'
