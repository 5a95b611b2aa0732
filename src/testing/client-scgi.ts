/**
 * The client of this folder's common form over SCGI, from the side of the web server: a connection
 * for each request, whose end ends the answer.
 */
import type { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { connect } from 'node:net'
import { PeerError } from '../errors.ts'
import { encodeRequest } from '../protocol/scgi.ts'
import { isCutShort, parseCgiResponse } from './cgi-response.ts'
import { cgiVariables, type CgiPlace } from './cgi-variables.ts'
import {
  bodyBytes,
  Collector,
  DEFAULT_TIMEOUT,
  type Client,
  type ClientOptions,
  type TestRequest,
  type TestResponse,
} from './client.ts'
import { readPlace, type HttpPlace } from './raw-http-client.ts'
import { disconnected, within } from './socket-reader.ts'

export interface ScgiClientOptions extends ClientOptions, CgiPlace {
  /** Further variables, as `scgi_param` adds them. */
  readonly variables?: Readonly<Record<string, string>> | undefined
}

/** `place`: where the application listens, by TCP or on a Unix socket. */
export function scgiClient(place: HttpPlace | string, options: ScgiClientOptions = {}): Client {
  return {
    request: (request) => requestScgi(place, request, options),
    close: () => Promise.resolve(),
  }
}

async function requestScgi(
  place: HttpPlace | string,
  request: TestRequest,
  options: ScgiClientOptions,
): Promise<TestResponse> {
  const timeout = options.timeout ?? DEFAULT_TIMEOUT
  const body = bodyBytes(request.body)
  const variables = [...cgiVariables(request, options), ...Object.entries(options.variables ?? {})]
  // CONTENT_LENGTH is always there, in the first place, where the encoder puts it.
  const others = variables.filter(([name]) => name !== 'CONTENT_LENGTH')
  const socket = connect(readPlace(place))
  try {
    await within(timeout, 'no connection', once(socket, 'connect'))
    const collector = new Collector()
    let reset = false
    const closed = new Promise<void>((resolve) => socket.once('close', resolve))
    socket.on('data', (piece: Buffer) => collector.add(piece))
    // There is no other way to say that an answer is broken off.
    socket.on('error', () => (reset = true))
    socket.write(encodeRequest(others.flat(), body.length))
    // Of no bytes it would fail on a connection that is closed behind the answer already.
    if (body.length > 0) socket.write(body)
    await within(timeout, 'the answer did not end', closed)
    const bytes = collector.bytes()
    if (reset && bytes.length === 0) {
      throw new PeerError('PORTICO_DISCONNECTED', 'the connection was reset without an answer')
    }
    const answer = parseCgiResponse(bytes)
    return {
      status: answer.status,
      headers: answer.headers,
      body: answer.body,
      broken: reset || isCutShort(answer, request.method),
    }
  } catch (error) {
    throw disconnected(error)
  } finally {
    socket.destroy()
  }
}
