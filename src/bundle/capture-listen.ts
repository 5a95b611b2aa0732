/**
 * Catches the first `listen()` of an HTTP server, so that a program that calls `app.listen(3000)`
 * runs unchanged under CGI. Loaded before the program, and only if one of its files calls `listen`.
 */
import { Server } from '../node-http.ts'

let found: (server: Server) => void
/** The first server that was to listen. */
export const listening = new Promise<Server>((resolve) => {
  found = resolve
})

// Node's class inherits it; that of Bun (1.4) has its own.
const own = Object.getOwnPropertyDescriptor(Server.prototype, 'listen')

Object.defineProperty(Server.prototype, 'listen', {
  configurable: true,
  value(this: Server, ...args: unknown[]) {
    // Other servers listen as always.
    if (own) Object.defineProperty(Server.prototype, 'listen', own)
    else delete (Server.prototype as Partial<Server>).listen
    const ready = args.find((value) => typeof value === 'function') as (() => void) | undefined
    if (ready) this.once('listening', ready)
    Object.defineProperties(this, {
      listening: { configurable: true, value: true },
      // Programs print the port.
      address: {
        configurable: true,
        value: () => ({ address: '127.0.0.1', family: 'IPv4', port: 0 }),
      },
    })
    process.nextTick(() => this.emit('listening'))
    found(this)
    return this
  },
})
