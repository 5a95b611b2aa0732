/** The headers of a request as they came from the client, made from the environ again. */
import type { Environ } from '../types.ts'
import type { RequestBody } from './request-body.ts'

/** Names and values alternately, as in `rawHeaders`: HTTP_X_FORWARDED_FOR is X-Forwarded-For. */
export function headerLines(environ: Environ, { framing }: RequestBody): string[] {
  const lines: string[] = []
  // Not for…in, which would look up each key in the prototypes as well.
  for (const name of Object.keys(environ)) {
    if (!name.startsWith('HTTP_') || name === 'HTTP_TRANSFER_ENCODING') continue
    lines.push(headerName(name), String(environ[name]))
  }
  const type = environ['CONTENT_TYPE']
  if (type !== undefined) lines.push('Content-Type', type)
  if (framing !== null) lines.push(...framing)
  return lines
}

/** A cache. Clients choose the names, so it keeps no more than ordinary requests need. */
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
