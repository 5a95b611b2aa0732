/** `portico/testing`: `TestApp`, a client for each gateway, and the conformance suite. */
export { inProcessClient, type InProcessOptions } from '../embedded/in-process.ts'
export { TestApp } from '../embedded/test-app.ts'
export { closedAgain, runRow, suite, suiteApplication, type RunOptions } from '../testing/suite.ts'
export { complaints, REPORT, type Expectation, type Place, type Row } from '../testing/row.ts'
export type { Client, ClientOptions, TestRequest, TestResponse } from '../testing/client.ts'
export { cgiClient, type CgiClientOptions } from '../testing/client-cgi.ts'
export { fastcgiClient, type FastcgiClientOptions } from '../testing/client-fastcgi.ts'
export { httpClient } from '../testing/client-http.ts'
export { scgiClient, type ScgiClientOptions } from '../testing/client-scgi.ts'
export { parseCgiResponse, type CgiAnswer } from '../testing/cgi-response.ts'
export { cgiVariables, type CgiPlace } from '../testing/cgi-variables.ts'
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
} from '../testing/raw-http-client.ts'
export { TestSession, type TestSessionOptions } from '../testing/test-session.ts'
export { type Check, type Sendable, type TestResult, TestCall } from '../testing/test-request.ts'
