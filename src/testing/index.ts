/**
 * The conformance suite as data, and a client for every gateway: what `portico/testing` has without
 * a gateway of its own. It needs no test runner and starts no server.
 */
export { closedAgain, runRow, suite, suiteApplication, type RunOptions } from './suite.ts'
export { complaints, REPORT, type Expectation, type Place, type Row } from './row.ts'
export type { Client, ClientOptions, TestRequest, TestResponse } from './client.ts'
export { cgiClient, type CgiClientOptions } from './client-cgi.ts'
export { fastcgiClient, type FastcgiClientOptions } from './client-fastcgi.ts'
export { httpClient } from './client-http.ts'
export { scgiClient, type ScgiClientOptions } from './client-scgi.ts'
export { parseCgiResponse, type CgiAnswer } from './cgi-response.ts'
export { cgiVariables, type CgiPlace } from './cgi-variables.ts'
export {
  httpRequest,
  openHttp,
  HttpConnection,
  type HttpHead,
  type HttpOptions,
  type HttpPlace,
  type HttpRequest,
  type HttpResponse,
  type HttpStream,
} from './raw-http-client.ts'
export { TestSession, type TestSessionOptions } from './test-session.ts'
export { type Check, type Sendable, type TestResult, TestCall } from './test-request.ts'
