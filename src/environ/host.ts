/** The header Host, which the client chooses. */

/**
 * A host, and perhaps a port (RFC 9110, section 7.2; RFC 3986, section 3.2.2). Empty if the client's
 * URI has no host.
 */
const HOST = /^(?:\[[\da-f:.]+\]|(?:[\w.~!$&'()*+,;=-]|%[\da-f]{2})*)(?::\d*)?$/i

/** The latest valid one: most requests of a server have the same. */
let latestHost = ''

export function isHost(value: string): boolean {
  if (value === latestHost) return true
  if (!HOST.test(value)) return false
  latestHost = value
  return true
}
