/** Corrections of Node's HTTP server, which closes too early or reads too late for a gateway. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { INTERNALS_ALLOWED } from './allowed.ts'

/** Makes Node read more of a body that is paused, so that a disconnect after it is noticed. */
export function readMore(request: IncomingMessage): void {
  if (INTERNALS_ALLOWED) request._read(0)
}

/**
 * Replaces what Node calls after the last response on a connection. Node would close the socket while
 * bytes are still arriving, which sends a reset.
 */
export function onLastResponse(socket: Socket, close: () => void): void {
  if (INTERNALS_ALLOWED) socket.destroySoon = close
}

/** Lets a client close its half of the connection and still read (RFC 9112, section 9.6). */
export function allowHalfOpen(server: Server): void {
  Object.assign(server, { httpAllowHalfOpen: true })
}

/** How many chunks a request's stream holds; 0 if that is not known. */
export function bufferedChunks(request: IncomingMessage): number {
  interface State {
    readonly buffer?: { readonly length: number }
    readonly bufferIndex?: number
  }
  if (!INTERNALS_ALLOWED) return 0
  const state = (request as { _readableState?: State })._readableState
  return (state?.buffer?.length ?? 0) - (state?.bufferIndex ?? 0)
}

/**
 * Whether the parser of a connection has the beginning of a message, whose rest has not arrived. Node
 * has a list of these parsers, from which it finds those that are late. A connection on which nothing
 * has arrived is in it as well.
 */
export function insideMessage(socket: Socket): boolean {
  if (!INTERNALS_ALLOWED) return false
  const { parser, server } = socket as { parser?: unknown; server?: object }
  const key = Object.getOwnPropertySymbols(server ?? {}).find(isListOfParsers)
  const list = key && (server as Record<symbol, { active?(): unknown[] }>)[key]
  return list?.active?.().includes(parser) ?? false
}

function isListOfParsers({ description }: symbol): boolean {
  return description === 'http.server.connections'
}

/** Sends the head at once, like `flushHeaders()`, but in latin1, because header values are bytes. */
export function flushHead(
  response: ServerResponse & { _send?(data: string, encoding: string): void },
): void {
  if (response._send && response.headersSent) response._send('', 'latin1')
  else response.flushHeaders()
}
