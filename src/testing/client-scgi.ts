/** A client for SCGI applications: it opens a connection for each request. */
import type { Buffer } from 'node:buffer'
import { connect } from 'node:net'
import { encodeRequest } from '../protocol/scgi.ts'
import { checkClientOptions, CLIENT, VARIABLES } from './check-options.ts'
import { bodyBytes, DEFAULT_TIMEOUT, type Client, type ClientOptions } from './client.ts'
import { CgiResponseReader, collect, pauseFor, type Exchange } from './exchange.ts'
import { parseAddress, type ConnectTarget } from './server-address.ts'
import { disconnected, opened, watch, within } from './socket-reader.ts'
import { variablesFor, type VariableOptions } from './variables.ts'

export interface ScgiClientOptions extends ClientOptions, VariableOptions {}

/**
 * @param address where the application listens: TCP or a Unix socket.
 * @throws {ConfigurationError} for an unknown option, or a value of the wrong kind.
 */
export function scgiClient(address: ConnectTarget, options: ScgiClientOptions = {}): Client {
  checkClientOptions('scgiClient', options, [...CLIENT, ...VARIABLES])
  const exchange = scgiExchange(address, options)
  return {
    request: (request) => collect(exchange, request, false),
    close: () => Promise.resolve(),
  }
}

/** Sends each request over a connection of its own. */
export function scgiExchange(address: ConnectTarget, options: ScgiClientOptions = {}): Exchange {
  const timeout = options.timeout ?? DEFAULT_TIMEOUT
  return async (request, receiver, signal) => {
    const body = bodyBytes(request.body)
    // The encoder adds CONTENT_LENGTH, which always comes first.
    const variables = variablesFor(request, options, { gateway: 'scgi', address }).filter(
      ([name]) => name !== 'CONTENT_LENGTH',
    )
    const socket = connect(parseAddress(address))
    const ended = watch(socket, signal)
    try {
      await within(timeout, 'No connection', opened(socket))
      receiver.connected?.()
      const reader = new CgiResponseReader(receiver, request.method)
      let failed: Error | undefined
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
      socket.on('data', (chunk: Buffer) => {
        receiver.wire?.('<', chunk)
        pauseFor(socket, reader.add(chunk))
      })
      // SCGI has no other signal for an aborted response.
      socket.on('error', (error) => (failed = error))
      for (const bytes of [encodeRequest(variables.flat(), body.length), body]) {
        // An empty write could fail, because the application may already have closed the connection.
        if (bytes.length === 0) continue
        receiver.wire?.('>', bytes)
        socket.write(bytes)
      }
      await within(timeout, 'The response did not end', closed)
      signal?.throwIfAborted()
      if (failed !== undefined && !reader.started) throw failed
      return reader.end() ?? (failed === undefined ? undefined : 'the connection was reset')
    } catch (error) {
      throw ended(disconnected(error))
    } finally {
      ended()
      socket.destroy()
    }
  }
}
