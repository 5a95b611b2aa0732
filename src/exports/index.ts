/** The public list of `portico`: everything here is kept stable, nothing else is. */
export type {
  Application,
  ApplicationClass,
  Body,
  Chunk,
  Environ,
  ErrorStream,
  Gateway,
  HeaderList,
  InputStream,
  StartResponse,
  Write,
} from '../types.ts'
export type { FrameworkApplication, Runnable } from '../application/to-application.ts'
export { ApplicationError, ConfigurationError, PeerError, PorticoError } from '../errors.ts'
export { demoApp } from '../wsgiref/demo-app.ts'
export { copyEnviron, decodeText, encodeText } from '../environ/environ.ts'
export { Headers } from '../response/headers.ts'
export {
  applicationUri,
  FileWrapper,
  guessScheme,
  isHopByHop,
  requestUri,
  setupTestingDefaults,
  shiftPathInfo,
} from '../wsgiref/util.ts'
export { validator } from '../validate/validator.ts'
export { GatewayServer } from '../server/gateway-server.ts'
export { BaseHandler } from '../../handlers/base.ts'
export { BaseCGIHandler, SimpleHandler } from '../../handlers/simple.ts'
export { CGIHandler, IISCGIHandler } from '../../handlers/cgi.ts'
export { FastCGIHandler } from '../../handlers/fastcgi.ts'
export { SCGIHandler } from '../../handlers/scgi.ts'
export { HTTPHandler, HTTPRequestHandler, makeServer, ServerHandler, WSGIServer } from './http.ts'
export { run } from '../../handlers/auto.ts'
