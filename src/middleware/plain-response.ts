/** Responses of one line of text. */
import type { Application } from '../types.ts'

/** An application that responds with `status`, the status's reason as text, and `headers`. */
export function plain(status: string, headers: [string, string][] = []): Application {
  return ({ REQUEST_METHOD }, startResponse) => {
    startResponse(status, [['Content-Type', 'text/plain'], ...headers])
    return REQUEST_METHOD === 'HEAD' ? [] : [`${status.slice(4)}\n`]
  }
}
