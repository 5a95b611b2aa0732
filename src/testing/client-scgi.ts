/** A client for SCGI applications: it opens a connection for each request. */
import type { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { connect } from 'node:net'
import { PeerError } from '../errors.ts'
import { encodeRequest } from '../protocol/scgi.ts'
import { isTruncated, parseCgiResponse } from './cgi-response.ts'
import { cgiVariables, type CgiServer } from './cgi-variables.ts'
import {
  bodyBytes,
  Collector,
  DEFAULT_TIMEOUT,
  type Client,
  type ClientOptions,
  type TestRequest,
  type TestResponse,
} from './client.ts'
import { parseAddress, type ConnectTarget } from './server-address.ts'
import { disconnected, within } from './socket-reader.ts'

export interface ScgiClientOptions extends ClientOptions, CgiServer {
  /** More variables, as with `scgi_param`. */
  readonly variables?: Readonly<Record<string, string>> | undefined
}

/** @param address where the application listens: TCP or a Unix socket. */
export function scgiClient(address: ConnectTarget, options: ScgiClientOptions = {}): Client {
  return {
    request: (request) => requestScgi(address, request, options),
    close: () => Promise.resolve(),
  }
}

async function requestScgi(
  address: ConnectTarget,
  request: TestRequest,
  options: ScgiClientOptions,
): Promise<TestResponse> {
  const timeout = options.timeout ?? DEFAULT_TIMEOUT
  const body = bodyBytes(request.body)
  const variables = [...cgiVariables(request, options), ...Object.entries(options.variables ?? {})]
  // The encoder adds CONTENT_LENGTH, which always comes first.
  const others = variables.filter(([name]) => name !== 'CONTENT_LENGTH')
  const socket = connect(parseAddress(address))
  try {
    await within(timeout, 'No connection', once(socket, 'connect'))
    const collector = new Collector()
    let reset = false
    const closed = new Promise<void>((resolve) => socket.once('close', resolve))
    socket.on('data', (chunk: Buffer) => collector.add(chunk))
    // SCGI has no other signal for an aborted response.
    socket.on('error', () => (reset = true))
    socket.write(encodeRequest(others.flat(), body.length))
    // An empty write could fail, because the application may already have closed the connection.
    if (body.length > 0) socket.write(body)
    await within(timeout, 'The response did not end', closed)
    const bytes = collector.bytes()
    if (reset && bytes.length === 0) {
      throw new PeerError('PORTICO_DISCONNECTED', 'The connection was reset before a response')
    }
    const response = parseCgiResponse(bytes)
    return {
      status: response.status,
      headers: response.headers,
      body: response.body,
      broken: reset || isTruncated(response, request.method),
    }
  } catch (error) {
    throw disconnected(error)
  } finally {
    socket.destroy()
  }
}
