/** Ends a request that does not read its body, and so holds up the others on its connection. */
import { PeerError } from '../../errors.ts'
import { coarseTime } from '../deadlines.ts'
import type { FastCGIRequest } from './fastcgi-request.ts'

/** How long, in ms, a request with an unread body may hold up the others. */
const MAX_STALL = 10_000

/** Ends the request with the most unread bytes if it has not read for long and holds up others. */
export function endStalled(requests: readonly FastCGIRequest[]): void {
  const [most, second] = requests.toSorted((a, b) => b.input.queued - a.input.queued)
  if (!most || !second || coarseTime() - most.input.lastRead < MAX_STALL) return
  const message = `The body was not read for ${MAX_STALL} ms and held up other requests`
  const error = new PeerError('PORTICO_TIMEOUT', message, '503 Service Unavailable')
  void most.fail(error)
  most.disconnected(error)
}
