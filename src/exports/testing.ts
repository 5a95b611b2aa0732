/** `portico/testing`: `TestApp`, a client for each gateway, and the conformance suite. */
export { inProcessClient, type InProcessOptions } from '../embedded/in-process.ts'
export { TestApp } from '../embedded/test-app.ts'
export { closedAgain, runRow, suite, suiteApplication, type RowOptions } from '../testing/suite.ts'
export { complaints, REPORT, type Expectation, type MountPoint, type Row } from '../testing/row.ts'
export type { Client, ClientOptions, TestRequest, TestResponse } from '../testing/client.ts'
export { cgiClient, type CgiClientOptions } from '../testing/client-cgi.ts'
export { fastcgiClient, type FastcgiClientOptions } from '../testing/client-fastcgi.ts'
export { httpClient } from '../testing/client-http.ts'
export { scgiClient, type ScgiClientOptions } from '../testing/client-scgi.ts'
export { parseCgiResponse, type CgiResponse } from '../response/cgi-response.ts'
export { cgiVariables, type CgiServer } from '../testing/cgi-variables.ts'
export {
  type AllGatewaysOptions,
  type Passed,
  throughAllGateways,
} from '../comparison/all-gateways.ts'
export { compareGateways, type ComparedRow, type Comparison } from '../comparison/differences.ts'
export type { VariableOptions } from '../testing/variables.ts'
export type { ServerName } from '../testing/web-servers/servers.ts'
export {
  httpRequest,
  HttpConnection,
  type HttpOptions,
  openHttp,
} from '../testing/raw-http-client.ts'
export type { HttpHead, HttpRequest, HttpResponse, HttpStream } from '../testing/http-message.ts'
export type { ConnectTarget, ServerAddress } from '../testing/server-address.ts'
export { TestSession, type TestSessionOptions } from '../testing/test-session.ts'
export { type Check, type Sendable, type TestResult, TestCall } from '../testing/test-request.ts'
