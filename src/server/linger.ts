/** Lingering close: keeps reading after the last response, so that the client receives it. */
import type { Socket } from 'node:net'

/**
 * How long, in ms, a client may keep sending after the last response, and how long it may be silent
 * (nginx's lingering_time and lingering_timeout). Closing with unread bytes would send a reset, which
 * can destroy the response on its way (RFC 9112, section 9.6).
 */
export const LINGER_TIME = 30_000
export const LINGER_SILENCE = 5_000

/**
 * Destroys the socket when the client has been silent, or has kept sending, for too long. Stops when
 * the socket closes or the returned function is called.
 */
export function linger(socket: Socket): () => void {
  let left = LINGER_TIME
  let read = socket.bytesRead
  const timer = setInterval(() => {
    left -= LINGER_SILENCE
    if (left <= 0 || socket.bytesRead === read) socket.destroy()
    read = socket.bytesRead
  }, LINGER_SILENCE)
  const stop = () => {
    clearInterval(timer)
    socket.off('close', stop)
  }
  socket.once('close', stop)
  return stop
}
