/** A client for HTTP: for HTTPHandler, and for any web server. */
import type { Buffer } from 'node:buffer'
import { checkClientOptions, CLIENT } from './check-options.ts'
import { PeerError } from '../errors.ts'
import { mountedTarget, type Client, type ClientOptions } from './client.ts'
import { collect, type Exchange } from './exchange.ts'
import { openHttp } from './raw-http-client.ts'
import type { ConnectTarget } from './server-address.ts'
import { watch } from './socket-reader.ts'

/**
 * Opens a connection for each request.
 *
 * @throws {ConfigurationError} for an unknown option, or a value of the wrong kind.
 */
export function httpClient(address: ConnectTarget, options: ClientOptions = {}): Client {
  checkClientOptions('httpClient', options, CLIENT)
  const exchange = httpExchange(address, options)
  return {
    request: (request) => collect(exchange, request, false),
    close: () => Promise.resolve(),
  }
}

/** Sends each request over a connection of its own. */
export function httpExchange(address: ConnectTarget, options: ClientOptions = {}): Exchange {
  const { mount, timeout } = options
  return async ({ method, target, headers = [], body }, receiver, signal) => {
    const connection = await openHttp(address, timeout === undefined ? {} : { timeout }, signal)
    const ended = watch({ destroy: () => connection.close() }, signal)
    try {
      receiver.connected?.()
      const { status, reason, chunks, ...head } = await connection.stream({
        target: mountedTarget(target, mount),
        headers: [...headers],
        ...(method === undefined ? {} : { method }),
        ...(body === undefined ? {} : { body }),
      })
      receiver.head({ status: `${status} ${reason}`, headers: head.headers })
      const broken = await passOn(chunks(), receiver)
      signal?.throwIfAborted()
      return broken
    } catch (error) {
      throw ended(error)
    } finally {
      ended()
      connection.close()
    }
  }
}

/** Resolves to the reason why the body is incomplete. */
async function passOn(
  chunks: AsyncGenerator<Buffer>,
  receiver: { body(chunk: Buffer): unknown },
): Promise<string | undefined> {
  for (;;) {
    let next: IteratorResult<Buffer, void>
    try {
      next = await chunks.next()
    } catch (error) {
      if (error instanceof PeerError) return error.message
      throw error
    }
    if (next.done) return undefined
    await receiver.body(next.value)
  }
}
