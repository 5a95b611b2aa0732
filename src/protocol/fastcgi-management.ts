/** An application's replies to management records (section 4): GET_VALUES and unknown types. */
import { Buffer } from 'node:buffer'
import {
  encodeRecord,
  FCGI_GET_VALUES,
  FCGI_GET_VALUES_RESULT,
  FCGI_MAX_CONNS,
  FCGI_MAX_REQS,
  FCGI_MPXS_CONNS,
  FCGI_NULL_REQUEST_ID,
  FCGI_UNKNOWN_TYPE,
  MAX_CONTENT,
} from './fastcgi.ts'
import { decodePairs, encodePairs } from './fastcgi-pairs.ts'

/** What a web server can ask for with GET_VALUES; a value that is not set is left out. */
export interface ManagementValues {
  readonly maxConns?: number | undefined
  readonly maxReqs?: number | undefined
  readonly multiplex: boolean
}

/** The reply to a management record; null for malformed GET_VALUES. */
export function replyToManagement(
  type: number,
  content: Buffer,
  values: ManagementValues,
): Buffer | null {
  // Any other type, even BEGIN_REQUEST: with id 0 it is not an application record (section 3.3).
  if (type !== FCGI_GET_VALUES) return unknownType(type)
  const asked = decodePairs(content, MAX_CONTENT)
  if (typeof asked === 'string') return null
  // Each name once, however often it was requested, so that the reply fits into one record.
  const result = new Map<string, string>()
  for (let i = 0; i < asked.length; i += 2) {
    const value = valueOf(asked[i]!, values)
    if (value !== undefined) result.set(asked[i]!, String(value))
  }
  return encodeRecord(FCGI_GET_VALUES_RESULT, FCGI_NULL_REQUEST_ID, encodePairs(result))
}

function valueOf(name: string, values: ManagementValues): number | undefined {
  switch (name) {
    case FCGI_MAX_CONNS:
      return values.maxConns
    case FCGI_MAX_REQS:
      return values.maxReqs
    case FCGI_MPXS_CONNS:
      return values.multiplex ? 1 : 0
    default:
      return undefined
  }
}

/** FCGI_UNKNOWN_TYPE (section 4.2). */
export function unknownType(type: number): Buffer {
  const content = Buffer.alloc(8)
  content[0] = type
  return encodeRecord(FCGI_UNKNOWN_TYPE, FCGI_NULL_REQUEST_ID, content)
}
