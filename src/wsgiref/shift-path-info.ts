/** Routing by the segments of a path (wsgiref.util). */
import type { Environ } from '../types.ts'

/**
 * Moves the first segment of PATH_INFO to the end of SCRIPT_NAME, in place. Returns the segment, or
 * null if PATH_INFO has no segment. Skips empty segments and '.'; '..' removes the last segment of SCRIPT_NAME.
 *
 * A final slash counts as a segment ''. It leaves SCRIPT_NAME with a slash at its end, so that '/x'
 * and '/x/' stay different.
 */
export function shiftPathInfo(environ: Partial<Environ>): string | null {
  if (!environ.PATH_INFO) return null
  const segments = environ.PATH_INFO.replace(/^\//, '').split('/')
  // The last segment counts even if it is empty.
  const kept = segments.filter(
    (part, i) => i === segments.length - 1 || (part !== '' && part !== '.'),
  )
  const [name = '', ...rest] = kept
  const script: string[] = []
  for (const part of [...(environ.SCRIPT_NAME ?? '').split('/'), name]) {
    if (part === '..') script.pop()
    else if (part && part !== '.') script.push(part)
  }
  environ.SCRIPT_NAME = script.map((part) => `/${part}`).join('') + (name === '' ? '/' : '')
  environ.PATH_INFO = rest.map((part) => `/${part}`).join('')
  return name === '.' ? null : name
}
