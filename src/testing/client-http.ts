/** A client for HTTP: for HTTPHandler, and for any web server. */
import { PeerError } from '../errors.ts'
import { Collector, mountedTarget, type Client, type ClientOptions } from './client.ts'
import { openHttp } from './raw-http-client.ts'
import type { ConnectTarget } from './server-address.ts'

/** Opens a connection for each request. */
export function httpClient(address: ConnectTarget, options: ClientOptions = {}): Client {
  return {
    async request({ method, target, headers = [], body }) {
      const connection = await openHttp(
        address,
        options.timeout === undefined ? {} : { timeout: options.timeout },
      )
      try {
        const { status, reason, chunks, ...head } = await connection.stream({
          target: mountedTarget(target, options.mount),
          headers: [...headers],
          ...(method === undefined ? {} : { method }),
          ...(body === undefined ? {} : { body }),
        })
        const collector = new Collector()
        let broken = false
        try {
          for await (const chunk of chunks()) collector.add(chunk)
        } catch (error) {
          if (!(error instanceof PeerError) || error.code === 'PORTICO_TOO_LARGE') throw error
          broken = true
        }
        return {
          status: `${status} ${reason}`,
          headers: head.headers,
          body: collector.bytes(),
          broken,
        }
      } finally {
        connection.close()
      }
    },
    close: () => Promise.resolve(),
  }
}
