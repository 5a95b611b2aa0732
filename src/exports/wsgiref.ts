/** `portico/wsgiref`: the names of Python's wsgiref, in camelCase where they are functions. */
export { BaseHandler } from '../../handlers/base.ts'
export { CGIHandler, IISCGIHandler } from '../../handlers/cgi.ts'
export { HTTPRequestHandler as ServerHandler } from '../../handlers/http.ts'
export { makeServer, WSGIServer } from '../../handlers/make-server.ts'
export { BaseCGIHandler, SimpleHandler } from '../../handlers/simple.ts'
export { Headers } from '../response/headers.ts'
export { validator } from '../validate/validator.ts'
export { demoApp } from '../wsgiref/demo-app.ts'
export {
  applicationUri,
  FileWrapper,
  guessScheme,
  isHopByHop,
  requestUri,
  setupTestingDefaults,
  shiftPathInfo,
} from '../wsgiref/util.ts'
