/**
 * Catches `listen()` of http.Server, as Passenger does: a file that starts its own HTTP server runs
 * behind any gateway. A caught server looks as if it were listening.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { Server } from '../node-http.ts'
import type { AddressInfo } from 'node:net'

/** A call of `listen()` that has not been carried out. */
export interface CaughtListen {
  readonly server: Server
  /** The port that was asked for; 0 if it is a path or any port. */
  readonly port: number
  /** Carries the call out after all. */
  bind(): void
  /** Makes the server look as if it were listening, and emits 'listening'. */
  pretend(address: AddressInfo | string | undefined): void
}

const uncaught = new AsyncLocalStorage<true>()

/** Runs `listen`, whose servers really listen: they are Portico's own. */
export function withoutCatching<T>(listen: () => T): T {
  return uncaught.run(true, listen)
}

/**
 * From now on `decide` is asked about every call, except for descriptors: those were opened for this
 * very program. If it returns false, the server listens by itself.
 */
export function catchListen(decide: (caught: CaughtListen) => boolean): void {
  const listen: unknown = Reflect.get(Server.prototype, 'listen')
  Server.prototype.listen = function caughtListen(this: Server, ...args: unknown[]): Server {
    const bind = (): void => void Reflect.apply(listen as () => Server, this, args)
    const caught: CaughtListen = {
      server: this,
      port: portOf(args),
      bind,
      pretend: (address) => pretend(this, args, address),
    }
    if (hasDescriptor(args) || uncaught.getStore() === true || !decide(caught)) bind()
    return this
  }
}

function hasDescriptor([first]: readonly unknown[]): boolean {
  return typeof first === 'object' && first !== null && ('fd' in first || '_handle' in first)
}

function portOf([first]: readonly unknown[]): number {
  const port = typeof first === 'object' && first !== null && 'port' in first ? first.port : first
  return (typeof port === 'number' || typeof port === 'string') && Number(port) > 0
    ? Number(port)
    : 0
}

function pretend(
  server: Server,
  args: readonly unknown[],
  address: AddressInfo | string | undefined,
): void {
  let listening = true
  const close = (callback?: (error?: Error) => void): Server => {
    if (callback) server.once('close', callback)
    // As Node does, also for a server that is closed twice.
    if (listening) process.nextTick(() => server.emit('close'))
    listening = false
    return server
  }
  const port = portOf(args)
  const asked: AddressInfo = { address: '127.0.0.1', family: 'IPv4', port }
  Object.defineProperties(server, {
    listening: { configurable: true, get: () => listening },
    address: { configurable: true, writable: true, value: () => address ?? asked },
    close: { configurable: true, writable: true, value: close },
  })
  const callback = args.findLast((each) => typeof each === 'function')
  if (callback) server.once('listening', callback as () => void)
  process.nextTick(() => server.emit('listening'))
}
