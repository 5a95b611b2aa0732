/** The headers of a request as they came from the client, made from the environ again. */
import type { Environ } from '../types.ts'

/**
 * Names and values in turns, as in `rawHeaders`: HTTP_X_FORWARDED_FOR is X-Forwarded-For.
 *
 * @param hasBody whether there is a body, which one of two headers has to say (RFC 9112,
 *   section 6.3): frameworks read nothing without.
 */
export function headerLines(environ: Environ, hasBody: boolean): string[] {
  const lines: string[] = []
  for (const name in environ) {
    if (!name.startsWith('HTTP_') || name === 'HTTP_TRANSFER_ENCODING') continue
    lines.push(headerName(name), String(environ[name]))
  }
  const { CONTENT_TYPE, CONTENT_LENGTH } = environ as Readonly<Record<string, unknown>>
  if (typeof CONTENT_TYPE === 'string') lines.push('Content-Type', CONTENT_TYPE)
  if (typeof CONTENT_LENGTH === 'string') lines.push('Content-Length', CONTENT_LENGTH)
  else if (hasBody) lines.push('Transfer-Encoding', 'chunked')
  return lines
}

/** Each name is made once. Clients choose names, so no more are kept than ordinary ones are. */
const names = new Map<string, string>()
const MAX_NAMES = 1_000

function headerName(variable: string): string {
  const known = names.get(variable)
  if (known !== undefined) return known
  const name = variable
    .slice('HTTP_'.length)
    .split('_')
    .map((word) => word.slice(0, 1).toUpperCase() + word.slice(1).toLowerCase())
    .join('-')
  if (names.size < MAX_NAMES) names.set(variable, name)
  return name
}
