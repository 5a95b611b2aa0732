/** Closing a connection so that the peer receives what was written. */
import type { Socket } from 'node:net'

/**
 * How long, in ms, what the web server still sends is read and dropped after the last response. To
 * close while bytes are unread would send a reset, which can destroy the response on its way.
 */
const LINGER = 2_000

/**
 * Closes the connection after what has been written, however long a slow peer takes to read it.
 *
 * @param exhausted true if the peer has nothing more to send, so that nothing is left unread
 */
export function closeAfterResponse(socket: Socket, exhausted: boolean): void {
  if (exhausted) {
    // If the kernel has everything, this is cheaper than to shut down one half first.
    if (socket.writableLength === 0) socket.destroy()
    else socket.destroySoon()
    return
  }
  boundLinger(socket)
  socket.end()
  socket.resume()
}

/** Closes the connection some time after our half has ended, unless the peer does so earlier. */
export function boundLinger(socket: Socket): void {
  socket.once('finish', () => {
    const timer = setTimeout(() => socket.destroy(), LINGER)
    socket.once('close', () => clearTimeout(timer))
  })
}

/**
 * Closes now, and lets the peer know that the response is incomplete, where only the end of the
 * connection ends a response. A Unix socket has no reset: there Content-Length says so, or nothing.
 */
export function abortConnection(socket: Socket): void {
  if (socket.remoteAddress === undefined) socket.destroySoon()
  else socket.resetAndDestroy()
}
