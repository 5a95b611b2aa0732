/** The rest of a request body over HTTP that the application does not read. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { bufferedChunks, onLastResponse, readMore } from '../../node-internals/http-server.ts'
import { MAX_PROBE_FACTOR } from '../deadlines.ts'
import { linger } from '../linger.ts'

/** How many chunks of an unread body Node may hold before reading ahead stops. */
const MAX_BUFFERED_CHUNKS = 1_024

/** Reads a bit of a body that the application does not read, up to some `highWaterMark`s. */
export function readAhead(request: IncomingMessage, highWaterMark: number): void {
  if (request.complete || request.readableFlowing) return
  // Each chunk costs some 200 bytes more than its size, and a client may send chunks of one byte.
  if (bufferedChunks(request) > MAX_BUFFERED_CHUNKS) return
  if (request.readableLength < MAX_PROBE_FACTOR * highWaterMark) readMore(request)
}

/** Discards the rest of a body whose response is complete, while the client still sends it. */
export function discardBody(request: IncomingMessage, response: ServerResponse): void {
  const { socket } = request
  let isLast = false
  // Node would close the connection on bytes that are still arriving.
  onLastResponse(socket, () => {
    isLast = true
    socket.end()
  })
  request.removeAllListeners('data').resume()
  // Waits for the end of the response: a slow client may read all of it before it sends the rest.
  response.once('finish', () => {
    if (request.complete && !isLast) return
    const stop = linger(socket)
    request.once('close', () => {
      if (!isLast) stop()
    })
  })
}
