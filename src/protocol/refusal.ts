/** The CGI response (RFC 3875, section 6) to a request that no application sees. */

/** RFC 6585, section 5. */
export const HEADERS_TOO_LARGE = '431 Request Header Fields Too Large'

export function refusalText(status: string): string {
  const body = `${status.slice(4)}\n`
  return `Status: ${status}\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`
}
