/** Failures of a request that need more than a code: `portico request` has an exit code for each. */
import { PeerError } from '../errors.ts'

/** The response ended before its first byte. */
export class EmptyResponse extends PeerError {}

/** A FastCGI application refused the request: protocolStatus is not REQUEST_COMPLETE. */
export class RefusedRequest extends PeerError {}

/** Whether the peer closed the connection while this side still sent, or waited for a response. */
export function isReset({ cause }: PeerError): boolean {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code
  return code === 'ECONNRESET' || code === 'EPIPE'
}
