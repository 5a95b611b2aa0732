/** Closes connections so that the peer receives everything that was written. */
import type { Socket } from 'node:net'
import { linger } from './linger.ts'

/** How long, in ms, a peer that has sent all it wants to send may keep its half of a connection open. */
const LINGER = 2_000

/**
 * Closes the connection when the peer has read everything that was written, however slow it is. What
 * the peer still sends is read and discarded, as long as `linger` says.
 *
 * @param exhausted true if the peer has nothing more to send, so that nothing is left unread
 */
export function closeAfterResponse(socket: Socket, exhausted: boolean): void {
  if (exhausted) {
    // If the kernel has everything, this is cheaper than shutting down one half first.
    if (socket.writableLength === 0) socket.destroy()
    else socket.destroySoon()
    return
  }
  socket.once('finish', () => linger(socket))
  socket.end()
  socket.resume()
}

/** Closes the connection `LINGER` ms after this side has ended, unless the peer closes it earlier. */
export function boundLinger(socket: Socket): void {
  socket.once('finish', () => {
    const timer = setTimeout(() => socket.destroy(), LINGER)
    socket.once('close', () => clearTimeout(timer))
  })
}

/**
 * Closes the connection at once. For protocols in which the end of the connection ends a response: a
 * reset shows the peer that this response is incomplete. A Unix socket has no reset; there only a
 * Content-Length can show it.
 */
export function abortConnection(socket: Socket): void {
  if (socket.remoteAddress === undefined) socket.destroySoon()
  else socket.resetAndDestroy()
}
