/**
 * The names that web servers send, so that those of a request need not be made anew: from the side
 * of who has them as bytes.
 *
 * A name from here is one shared, interned string: no allocation, no hashing when it becomes a key
 * of the environ, and it is known whether it gets in.
 */
import { Buffer } from 'node:buffer'
import { COMMON_NAMES, interned, KnownVariable } from './common-variables.ts'

/**
 * Those beside the common ones. Any other works as well, only slower, and so does one of less than
 * eight characters.
 */
const OTHER_NAMES = `
  AUTH_TYPE CONTENT_LENGTH CONTENT_TYPE PATH_TRANSLATED REMOTE_HOST REMOTE_IDENT REMOTE_USER
  SERVER_ADMIN SERVER_SIGNATURE CONTEXT_DOCUMENT_ROOT CONTEXT_PREFIX FCGI_ROLE UNIQUE_ID
  REDIRECT_URI REDIRECT_URL SSL_CIPHER SSL_PROTOCOL SSL_TLS_SNI HTTP_ACCEPT_CHARSET
  HTTP_AUTHORIZATION HTTP_CACHE_CONTROL HTTP_CONTENT_LENGTH HTTP_CONTENT_TYPE HTTP_DEPTH
  HTTP_DESTINATION HTTP_DNT HTTP_EXPECT HTTP_FORWARDED HTTP_FROM HTTP_IF_MATCH
  HTTP_IF_MODIFIED_SINCE HTTP_IF_NONE_MATCH HTTP_IF_RANGE HTTP_IF_UNMODIFIED_SINCE HTTP_KEEP_ALIVE
  HTTP_ORIGIN HTTP_PRAGMA HTTP_PRIORITY HTTP_PROXY HTTP_RANGE HTTP_SAVE_DATA HTTP_SEC_CH_UA
  HTTP_SEC_CH_UA_MOBILE HTTP_SEC_CH_UA_PLATFORM HTTP_SEC_FETCH_DEST HTTP_SEC_FETCH_MODE
  HTTP_SEC_FETCH_SITE HTTP_SEC_FETCH_USER HTTP_TRANSFER_ENCODING HTTP_UPGRADE
  HTTP_UPGRADE_INSECURE_REQUESTS HTTP_VIA HTTP_X_FORWARDED_FOR HTTP_X_FORWARDED_HOST
  HTTP_X_FORWARDED_PORT HTTP_X_FORWARDED_PROTO HTTP_X_REAL_IP HTTP_X_REQUESTED_WITH
  HTTP_X_REQUEST_ID
`

/** The least that can be compared eight bytes at a time. */
const SHORTEST = 8

export class KnownName extends KnownVariable {
  /**
   * The name's bytes, eight at a time, the last eight overlapping where its length is no multiple.
   * As doubles they are compared at once, and exactly: no name in the list holds a NaN or a zero.
   */
  readonly first: number
  readonly between: readonly number[]
  readonly last: number
  /** Another one with the same hash. */
  readonly next: KnownName | null

  constructor(name: string, bytes: DataView, next: KnownName | null) {
    super(interned(name))
    const between = []
    for (let at = 8; at < name.length - 8; at += 8) between.push(bytes.getFloat64(at, true))
    this.first = bytes.getFloat64(0, true)
    this.between = between
    this.last = bytes.getFloat64(name.length - 8, true)
    this.next = next
  }
}

const BUCKETS = 256

/** Length, last and middle byte: with these factors at most three names share a bucket. */
function bucketOf(length: number, last: number, middle: number): number {
  return (length * 6 + last * 23 + middle * 34) & (BUCKETS - 1)
}

const buckets: (KnownName | null)[] = Array.from({ length: BUCKETS }, () => null)
for (const name of [...COMMON_NAMES, ...OTHER_NAMES.trim().split(/\s+/)]) {
  const bytes = new DataView(Uint8Array.from(Buffer.from(name, 'latin1')).buffer)
  const { byteLength: length } = bytes
  const bucket = bucketOf(length, bytes.getUint8(length - 1), bytes.getUint8(length >> 1))
  buckets[bucket] = new KnownName(name, bytes, buckets[bucket]!)
}

/** The name whose bytes are the `length` at `start`, which must lie inside; null for any other. */
export function knownName(bytes: DataView, start: number, length: number): KnownName | null {
  if (length < SHORTEST) return null
  const last = bytes.getUint8(start + length - 1)
  const middle = bytes.getUint8(start + (length >> 1))
  const tail = start + length - 8
  let known = buckets[bucketOf(length, last, middle)]!
  candidates: for (; known !== null; known = known.next!) {
    if (known.name.length !== length) continue
    if (bytes.getFloat64(start, true) !== known.first) continue
    if (bytes.getFloat64(tail, true) !== known.last) continue
    const { between } = known
    for (let i = 0; i < between.length; i++) {
      if (bytes.getFloat64(start + 8 + 8 * i, true) !== between[i]) continue candidates
    }
    break
  }
  return known
}
