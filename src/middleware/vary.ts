/** Vary: the request headers that a response depends on (RFC 9110, section 12.5.5). */
import type { Headers } from '../response/headers.ts'

/** Adds the name of a request header to Vary, unless it is there. */
export function addVary(headers: Headers, name: string): void {
  const fields = headers
    .getAll('Vary')
    .flatMap((value) => value.split(','))
    .map((field) => field.trim())
    .filter((field) => field !== '')
  const lower = name.toLowerCase()
  if (fields.some((field) => field === '*' || field.toLowerCase() === lower)) return
  headers.set('Vary', [...fields, name].join(', '))
}
