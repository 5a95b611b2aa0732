/**
 * The names that web servers send in PARAMS, so that those of a request need not be made anew.
 *
 * A name from here is one shared, interned string: no allocation, and no hashing when it becomes a
 * key of the environ. Measured with nginx's 25 names, decoding plus filling an environ: 1.0 µs with
 * this table; 1.4 with `substring()` alone; 1.6 with `substring()` and a Map; 1.3 where the names
 * are compared in the decoded string instead of the bytes.
 */
import { Buffer } from 'node:buffer'

/** Any other name works as well, only slower. */
const NAMES = `
  AUTH_TYPE CONTENT_LENGTH CONTENT_TYPE GATEWAY_INTERFACE PATH_INFO PATH_TRANSLATED QUERY_STRING
  REMOTE_ADDR REMOTE_HOST REMOTE_IDENT REMOTE_PORT REMOTE_USER REQUEST_METHOD REQUEST_SCHEME
  REQUEST_URI SCRIPT_FILENAME SCRIPT_NAME SERVER_ADDR SERVER_ADMIN SERVER_NAME SERVER_PORT
  SERVER_PROTOCOL SERVER_SIGNATURE SERVER_SOFTWARE HTTPS PATH

  CONTEXT_DOCUMENT_ROOT CONTEXT_PREFIX DOCUMENT_ROOT DOCUMENT_URI FCGI_ROLE H2PUSH HTTP2 UNIQUE_ID
  REDIRECT_STATUS REDIRECT_URI REDIRECT_URL SSL_CIPHER SSL_PROTOCOL SSL_TLS_SNI

  HTTP_ACCEPT HTTP_ACCEPT_CHARSET HTTP_ACCEPT_ENCODING HTTP_ACCEPT_LANGUAGE HTTP_AUTHORIZATION
  HTTP_CACHE_CONTROL HTTP_CONNECTION HTTP_CONTENT_LENGTH HTTP_CONTENT_TYPE HTTP_COOKIE HTTP_DEPTH
  HTTP_DESTINATION HTTP_DNT HTTP_EXPECT HTTP_FORWARDED HTTP_FROM HTTP_HOST HTTP_IF_MATCH
  HTTP_IF_MODIFIED_SINCE HTTP_IF_NONE_MATCH HTTP_IF_RANGE HTTP_IF_UNMODIFIED_SINCE HTTP_KEEP_ALIVE
  HTTP_ORIGIN HTTP_PRAGMA HTTP_PRIORITY HTTP_PROXY HTTP_RANGE HTTP_REFERER HTTP_SAVE_DATA
  HTTP_SEC_CH_UA HTTP_SEC_CH_UA_MOBILE HTTP_SEC_CH_UA_PLATFORM HTTP_SEC_FETCH_DEST
  HTTP_SEC_FETCH_MODE HTTP_SEC_FETCH_SITE HTTP_SEC_FETCH_USER HTTP_TE HTTP_TRANSFER_ENCODING
  HTTP_UPGRADE HTTP_UPGRADE_INSECURE_REQUESTS HTTP_USER_AGENT HTTP_VIA HTTP_X_FORWARDED_FOR
  HTTP_X_FORWARDED_HOST HTTP_X_FORWARDED_PORT HTTP_X_FORWARDED_PROTO HTTP_X_REAL_IP
  HTTP_X_REQUESTED_WITH HTTP_X_REQUEST_ID

  FCGI_MAX_CONNS FCGI_MAX_REQS FCGI_MPXS_CONNS
`

interface KnownName {
  readonly name: string
  readonly bytes: Uint8Array
}

const BUCKETS = 256

/** Length, last and middle byte: with these factors at most three names share a bucket. */
function bucketOf(length: number, last: number, middle: number): number {
  return (length * 6 + last * 23 + middle * 34) & (BUCKETS - 1)
}

const buckets: KnownName[][] = Array.from({ length: BUCKETS }, () => [])
for (const word of NAMES.trim().split(/\s+/)) {
  const bytes = Uint8Array.from(Buffer.from(word, 'latin1'))
  const { length } = bytes
  // A key that was used once is the interned string that V8 compares by address.
  const name = Object.keys({ [word]: 0 })[0]!
  buckets[bucketOf(length, bytes[length - 1]!, bytes[length >> 1]!)]!.push({ name, bytes })
}

/** The shared string for the name at `block[start … start + length]`, which must lie inside. */
export function knownName(block: Buffer, start: number, length: number): string | undefined {
  if (length === 0) return undefined
  const bucket =
    buckets[bucketOf(length, block[start + length - 1]!, block[start + (length >> 1)]!)]!
  candidates: for (let i = 0; i < bucket.length; i++) {
    const { name, bytes } = bucket[i]!
    if (bytes.length !== length) continue
    for (let at = 0; at < length; at++) {
      if (bytes[at] !== block[start + at]) continue candidates
    }
    return name
  }
  return undefined
}
