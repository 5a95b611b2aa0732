/** The rest of a request body over HTTP that the application does not read. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { bufferedChunks, onLastResponse, readMore } from '../../node-internals/http-server.ts'
import type { Input } from '../../request/input.ts'
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

/**
 * Receives the rest of a body whose response is complete, while the client still sends it. As in
 * node:http, an application that is reading it goes on. What nothing reads is discarded.
 */
export function receiveRest(
  request: IncomingMessage,
  response: ServerResponse,
  input: Input | null,
): void {
  const { socket } = request
  let isLast = false
  let isSent = false
  let isLimited = false
  const stopped = input?.readsOn() ?? null
  let isRead = stopped !== null

  /** Waits for the end of the response: a slow client may read all of it before it sends the rest. */
  function limit(): void {
    const needless = request.complete || isRead
    if (isLimited || !isSent || (needless && !isLast)) return
    isLimited = true
    const stop = linger(socket)
    request.once('close', () => {
      if (!isLast) stop()
    })
  }

  function discard(): void {
    isRead = false
    if (request.complete) return
    input?.discard()
    request.removeAllListeners('data').resume()
    limit()
  }

  // Node would close the connection on bytes that are still arriving.
  onLastResponse(socket, () => {
    isLast = true
    socket.end()
  })
  if (stopped === null) {
    discard()
  } else {
    void stopped.then(discard)
    // Node does not abort a request whose response is complete.
    socket.once('end', discard).once('close', discard)
    request.once('close', () => socket.off('end', discard).off('close', discard))
  }
  response.once('finish', () => {
    isSent = true
    limit()
  })
}
