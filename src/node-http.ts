/**
 * What Portico uses of node:http.
 *
 * `import 'node:http'` would read all that the module exports. From Node 22 on that loads undici and
 * http2 as well, which takes eight times as long and another 3 MiB.
 */
import type * as http from 'node:http'

export const {
  createServer,
  IncomingMessage,
  request,
  Server,
  ServerResponse,
  STATUS_CODES,
  validateHeaderName,
  validateHeaderValue,
} = process.getBuiltinModule('node:http')

export type IncomingMessage = http.IncomingMessage
export type Server = http.Server
export type ServerResponse = http.ServerResponse
