/** The public list of `portico/http`: the HTTP handler, and the server of wsgiref around it. */
export { HTTPHandler, ServerHandler, type HTTPOptions } from '../handlers/http.ts'
export { makeServer, WSGIServer } from '../handlers/simple-server.ts'
