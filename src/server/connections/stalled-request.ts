/**
 * Ends requests whose bodies will not come: the peer does not send, has aborted or has gone, or no one
 * reads them. Discards bodies that come after the response.
 */
import { PeerError } from '../../errors.ts'
import { logEntry } from '../../log.ts'
import type { AbortCause } from '../../protocol/fastcgi-events.ts'
import type { BodyQueue } from '../../request/body-queue.ts'
import { show } from '../../text.ts'
import type { Environ } from '../../types.ts'
import { coarseTime } from '../deadlines.ts'

/**
 * The high-water mark while several requests share a connection. Pausing it for one request that does
 * not read its body stops the others as well, so more bytes are held before that.
 */
const MULTIPLEXED_HIGH_WATER_MARK = 16 * 1024 * 1024

/** The part of a FastCGI or SCGI request that ends it. */
interface Endable {
  readonly input: BodyQueue | null
  abort(): void
  disconnected(reason?: Error): void
  fail(error: Error): Promise<void>
}

/** How long, in ms, a request with an unread body may hold up the others. */
const MAX_STALL = 10_000

/** Aborts a request, and a read of its body that waits, because its connection is closed. */
export function endClosed(request: Endable): void {
  request.input?.fail(new PeerError('PORTICO_DISCONNECTED', 'The web server closed the connection'))
  request.abort()
}

/** Ends a FastCGI request that was aborted, and a read of its body that waits. */
export function endAborted(request: Endable & { refused: boolean }, cause: AbortCause): void {
  const message = `The request was aborted (${cause})`
  request.input?.fail(new PeerError('PORTICO_DISCONNECTED', message))
  // A web server that closed its half may still read; one that sends ABORT_REQUEST does not.
  request.refused = cause !== 'disconnected'
  if (request.refused) request.abort()
  else request.disconnected()
}

/** Ends the request with the most unread bytes if it has not read for long and holds up others. */
export function endUnread(requests: readonly (Endable & { input: BodyQueue })[]): void {
  const [most, second] = requests.toSorted((a, b) => b.input.queued - a.input.queued)
  if (!most || !second || coarseTime() - most.input.lastRead < MAX_STALL) return
  const message = `The body was not read for ${MAX_STALL} ms and held up other requests`
  const error = new PeerError('PORTICO_TIMEOUT', message, '503 Service Unavailable')
  endWith(most, error)
}

/** Ends the requests whose bodies are incomplete. */
export function endUnsent(requests: readonly Endable[], error: PeerError): void {
  for (const request of requests.filter(({ input }) => input?.expected)) {
    request.input?.fail(error)
    endWith(request, error)
  }
}

function endWith(request: Endable, error: PeerError): void {
  // Rejects only if the application's own `errorOutput` fails.
  request.fail(error).catch((second: unknown) => logEntry(show(second)))
  request.disconnected(error)
}

/** The bytes of request bodies that the application has not read. */
export function unreadBytes(requests: readonly { readonly input: BodyQueue }[]): number {
  let unread = 0
  for (const { input } of requests) unread += input.queued
  return unread
}

/** The high-water mark of a connection with several requests, if that of one request is `mark`. */
export function multiplexedMark(mark: number): number {
  return Math.max(mark, MULTIPLEXED_HIGH_WATER_MARK)
}

/**
 * For the end of a complete response: resolves when the web server has sent the whole body, if
 * END_REQUEST must not come before that. What the application does not read is discarded. HAProxy
 * (2.6) stops in the middle of a body at END_REQUEST, and the client's connection hangs. nginx stops at
 * the response, and waits for END_REQUEST.
 */
export function restOfBody(request: {
  readonly input: BodyQueue
  readonly environ: Environ | null
  readsOn(): Promise<void> | null
}): Promise<void> | null {
  const { input } = request
  if (input.ended || input.truncated) return null
  if (!request.environ?.['SERVER_SOFTWARE']?.startsWith('HAProxy')) return null
  return discardRest(input, request.readsOn())
}

async function discardRest(input: BodyQueue, stopped: Promise<void> | null): Promise<void> {
  await stopped
  try {
    while ((await input.read(Infinity)) !== null);
  } catch {
    // The connection has closed.
  }
}
