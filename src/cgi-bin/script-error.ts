/** The error for a script that cannot run, or whose response is not one. */
import { PeerError } from '../errors.ts'

/** @param message names the script, the reason and what to do. */
export function scriptError(message: string, status = '500 Internal Server Error'): PeerError {
  return new PeerError('PORTICO_SCRIPT', message, status)
}
