/** The worker's end of the IPC channel. */
import type { FromWorker, ToWorker } from '../master/messages.ts'
import type { SocketHandle } from '../node-internals/hand-over.ts'

/** The channel to the master. The application may use the same channel for its own messages. */
export interface Channel {
  /** Sends a message. With a handle, `sent` is called when the handle has been sent. */
  send(message: FromWorker, handle?: SocketHandle, sent?: (error: Error | null) => void): void
  /** Calls `take` for each message of the master. */
  receive(take: (message: ToWorker, handle: SocketHandle | undefined) => void): void
  /** Calls `gone` if the master has died. */
  onGone(gone: () => void): void
  /** The process ends when nothing else keeps it alive. */
  close(): void
}

/** The channel that the master has opened for this process; null if no master has started it. */
export function openChannel(): Channel | null {
  if (!process.connected || !process.send) return null
  return {
    send(message, handle, sent = ignore) {
      if (!process.connected) {
        sent(new Error('The master is gone'))
        return
      }
      // Node passes on libuv handles, but its types allow only sockets.
      process.send!(message, handle as never, {}, sent)
    },
    receive(take) {
      process.on('message', (message: ToWorker | null, handle: unknown) => {
        if (message?.portico !== undefined) take(message, handle as SocketHandle | undefined)
      })
    },
    onGone(gone) {
      process.once('disconnect', gone)
    },
    close() {
      if (process.connected) process.disconnect()
    },
  }
}

function ignore(): void {}
