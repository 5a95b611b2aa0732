/**
 * The names that web servers send, so that those of a request need not be made anew: from the side
 * of who has them as bytes.
 *
 * A name from here is one shared, interned string: no allocation, no hashing when it becomes a key
 * of the environ, and it is known whether it gets in.
 */
import { Buffer } from 'node:buffer'
import { ruleFor, type Rule } from '../environ.ts'

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
`

export interface KnownName {
  readonly name: string
  readonly rule: Rule
  /** The name's bytes, four at a time; the last four overlap where its length is no multiple. */
  readonly words: Int32Array
  /** Another one with the same hash. */
  readonly next: KnownName | null
}

/** The shortest name in the list, and the least that can be compared in words. */
const SHORTEST = 4

const BUCKETS = 256

/** Length, last and middle byte: with these factors at most three names share a bucket. */
function bucketOf(length: number, last: number, middle: number): number {
  return (length * 6 + last * 23 + middle * 34) & (BUCKETS - 1)
}

const buckets: (KnownName | null)[] = Array.from({ length: BUCKETS }, () => null)
for (const word of NAMES.trim().split(/\s+/)) {
  const view = new DataView(Uint8Array.from(Buffer.from(word, 'latin1')).buffer)
  const { byteLength: length } = view
  const words = new Int32Array(Math.ceil(length / 4))
  for (let i = 0; i < words.length; i++) {
    words[i] = view.getInt32(Math.min(4 * i, length - 4), true)
  }
  const bucket = bucketOf(length, view.getUint8(length - 1), view.getUint8(length >> 1))
  // A key that was used once is the interned string that V8 compares by address.
  const name = Object.keys({ [word]: 0 })[0]!
  buckets[bucket] = { name, rule: ruleFor(name), words, next: buckets[bucket]! }
}

/** The name whose bytes are the `length` at `start`, which must lie inside; null for any other. */
export function knownName(bytes: DataView, start: number, length: number): KnownName | null {
  if (length < SHORTEST) return null
  const last = bytes.getUint8(start + length - 1)
  const middle = bytes.getUint8(start + (length >> 1))
  const tail = start + length - 4
  let known = buckets[bucketOf(length, last, middle)]!
  candidates: for (; known !== null; known = known.next!) {
    const { name, words } = known
    if (name.length !== length) continue
    const whole = words.length - 1
    for (let i = 0; i < whole; i++) {
      if (bytes.getInt32(start + 4 * i, true) !== words[i]) continue candidates
    }
    if (bytes.getInt32(tail, true) === words[whole]) break
  }
  return known
}
