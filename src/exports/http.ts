/** `portico/http`: the HTTP server, and wsgiref's `makeServer` on top of it. */
export {
  HTTPHandler,
  HTTPRequestHandler,
  HTTPRequestHandler as ServerHandler,
  type HTTPOptions,
} from '../../handlers/http.ts'
export { makeServer, WSGIServer } from '../../handlers/make-server.ts'
