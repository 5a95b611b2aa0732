/** The `http.Server` of `HTTPHandler`. */
import { createServer, type Server } from '../node-http.ts'
import type { Socket } from 'node:net'
import { OPTIONS, type OptionsOf } from '../options/table.ts'
import { connectionOf } from './connections/http.ts'
import { HEADERS_TIMEOUT, IDLE_TIMEOUT, SWEEP_TIME } from './deadlines.ts'

/** Only proxies implement CONNECT (RFC 9110, section 9.3.6). */
const CONNECT_RESPONSE = 'HTTP/1.1 501 Not Implemented\r\nConnection: close\r\n\r\n'

/** Creates the server, with Node's limits set as `options` say; it does not listen yet. */
export function createHTTPServer(options: OptionsOf<'http'>): Server {
  const server = createServer({
    maxHeaderSize: options.maxHeaderBytes ?? OPTIONS.maxHeaderBytes.default.http,
    headersTimeout: zeroIfNone(options.headersTimeout ?? HEADERS_TIMEOUT),
    connectionsCheckingInterval: SWEEP_TIME,
    keepAliveTimeout: zeroIfNone(options.idleTimeout ?? IDLE_TIMEOUT),
    requestTimeout: 0, // Uploads have no total time limit; `bodyTimeout` limits their pauses.
    noDelay: true,
    insecureHTTPParser: false,
  })
  const { maxRequestsPerConnection } = options
  if (maxRequestsPerConnection) server.maxRequestsPerSocket = maxRequestsPerConnection
  server.maxHeadersCount = 0 // Node would drop further headers; `addHeaders` refuses them.
  // `GatewayServer.close()` closes them later: a request may be on its way.
  server.closeIdleConnections = () => {}
  // Node would close the connection without a response.
  server.on('connect', (_, socket) => socket.end(CONNECT_RESPONSE))
  server.on('clientError', (error, socket) => connectionOf(socket as Socket)?.refuse(error))
  return server
}

/** Node's timeouts use 0 for 'no limit' and do not accept Infinity. */
function zeroIfNone(time: number): number {
  return time === Infinity ? 0 : time
}
