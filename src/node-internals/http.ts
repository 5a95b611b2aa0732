/** What `HTTPHandler` needs of node:http and Node does not document. README.md has a row for each. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Lets a client close its half of the connection and still read (RFC 9112, section 9.6). */
export function allowHalfOpen(server: Server): void {
  Object.assign(server, { httpAllowHalfOpen: true })
}

/** How many chunks a request's stream holds; 0 where that is not known. */
export function bufferedChunks(request: IncomingMessage): number {
  interface State {
    readonly buffer?: { readonly length: number }
    readonly bufferIndex?: number
  }
  const state = (request as { _readableState?: State })._readableState
  return (state?.buffer?.length ?? 0) - (state?.bufferIndex ?? 0)
}

/** Reads more of the socket, although the request's stream has enough. */
export function readMore(request: IncomingMessage): void {
  request._read(0)
}

/**
 * Sends a head without a body. `flushHeaders()` does the same in UTF-8, but header values are
 * bytes.
 */
export function flushHead(
  response: ServerResponse & { _send?(data: string, encoding: string): void },
): void {
  if (response._send && response.headersSent) response._send('', 'latin1')
  else response.flushHeaders()
}

/** Calls `close` instead of `socket.destroySoon()`, which Node calls after the last response. */
export function onLastResponse(socket: Socket, close: () => void): void {
  socket.destroySoon = close
}
