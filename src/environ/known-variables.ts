/**
 * The variables that web servers usually send, found by the bytes of their names.
 *
 * A known name is one shared string: it needs no allocation, and no hash when it becomes a key of
 * the environ. That saves a sixth of a small request (docs/performance.md).
 */
import { Buffer } from 'node:buffer'
import type { Environ } from '../types.ts'
import { ENVIRON_PROTOTYPE, isLine, ruleFor, type Rule } from './environ.ts'

/** At least eight characters each. The first are in most requests. Unlisted names work too, but are slower. */
const NAMES = `
  QUERY_STRING REQUEST_METHOD CONTENT_TYPE CONTENT_LENGTH SCRIPT_NAME SCRIPT_FILENAME REQUEST_URI
  DOCUMENT_URI DOCUMENT_ROOT SERVER_PROTOCOL REQUEST_SCHEME GATEWAY_INTERFACE SERVER_SOFTWARE
  REMOTE_ADDR REMOTE_PORT SERVER_ADDR SERVER_PORT SERVER_NAME REDIRECT_STATUS PATH_INFO HTTP_HOST
  HTTP_USER_AGENT HTTP_ACCEPT HTTP_ACCEPT_LANGUAGE HTTP_ACCEPT_ENCODING HTTP_COOKIE HTTP_REFERER
  HTTP_CONNECTION

  AUTH_TYPE PATH_TRANSLATED REMOTE_HOST REMOTE_IDENT REMOTE_USER SERVER_ADMIN SERVER_SIGNATURE
  CONTEXT_DOCUMENT_ROOT CONTEXT_PREFIX FCGI_ROLE UNIQUE_ID REDIRECT_URI REDIRECT_URL SSL_CIPHER
  SSL_PROTOCOL SSL_TLS_SNI HTTP_ACCEPT_CHARSET HTTP_AUTHORIZATION HTTP_CACHE_CONTROL HTTP_CONTENT_LENGTH HTTP_CONTENT_TYPE HTTP_DEPTH
  HTTP_DESTINATION HTTP_DNT HTTP_EXPECT HTTP_FORWARDED HTTP_FROM HTTP_IF_MATCH
  HTTP_IF_MODIFIED_SINCE HTTP_IF_NONE_MATCH HTTP_IF_RANGE HTTP_IF_UNMODIFIED_SINCE HTTP_KEEP_ALIVE
  HTTP_ORIGIN HTTP_PRAGMA HTTP_PRIORITY HTTP_PROXY HTTP_RANGE HTTP_SAVE_DATA HTTP_SEC_CH_UA
  HTTP_SEC_CH_UA_MOBILE HTTP_SEC_CH_UA_PLATFORM HTTP_SEC_FETCH_DEST HTTP_SEC_FETCH_MODE
  HTTP_SEC_FETCH_SITE HTTP_SEC_FETCH_USER HTTP_TRANSFER_ENCODING HTTP_UPGRADE
  HTTP_UPGRADE_INSECURE_REQUESTS HTTP_VIA HTTP_X_FORWARDED_FOR HTTP_X_FORWARDED_HOST
  HTTP_X_FORWARDED_PORT HTTP_X_FORWARDED_PROTO HTTP_X_REAL_IP HTTP_X_REQUESTED_WITH
  HTTP_X_REQUEST_ID
`

/** A variable, and what to do with it (see `putVariable`). */
export interface KnownVariable {
  readonly name: string
  readonly rule: Rule
  readonly isLine: boolean
  /** One of 31 bits. If it is unset in a request, this variable has not occurred yet. */
  readonly bit: number
  /**
   * The bytes of the name, eight at a time: the first eight, the last eight, and those between. As
   * doubles, eight bytes are compared at once, which saves a twentieth of a small request on Node
   * 20. No name here is NaN or 0, so equal doubles mean equal bytes.
   */
  readonly first: number
  readonly last: number
  readonly between: readonly number[]
  /** Another variable in the same bucket. */
  readonly next: KnownVariable | null
}

/** The internalized copy of `name`: V8 compares internalized strings by their addresses. */
export function interned(name: string): string {
  return Object.keys({ [name]: 0 })[0]!
}

const BUCKETS = 256

/** A hash of length, last byte and middle byte. These factors leave few names in each bucket. */
function bucketOf(length: number, last: number, middle: number): number {
  return (length * 6 + last * 23 + middle * 34) & (BUCKETS - 1)
}

const buckets: (KnownVariable | null)[] = Array.from({ length: BUCKETS }, () => null)
for (const [index, name] of NAMES.trim().split(/\s+/).entries()) {
  const { length } = name
  const bytes = new DataView(Uint8Array.from(Buffer.from(name, 'latin1')).buffer)
  const bucket = bucketOf(length, bytes.getUint8(length - 1), bytes.getUint8(length >> 1))
  const between = []
  for (let at = 8; at < length - 8; at += 8) between.push(bytes.getFloat64(at, true))
  buckets[bucket] = {
    name: interned(name),
    rule: ruleFor(name),
    isLine: isLine(ruleFor(name)),
    bit: 1 << Math.min(index, 30),
    first: bytes.getFloat64(0, true),
    last: bytes.getFloat64(length - 8, true),
    between,
    next: buckets[bucket]!,
  }
}

/** A view of the memory that was read last: usually the next bytes are in the same memory. */
let view: DataView = new DataView(new ArrayBuffer(0))

/** A view of the memory of `block`, for `knownVariable`. */
export function memoryOf(block: Buffer): DataView {
  if (view.buffer !== block.buffer) view = new DataView(block.buffer)
  return view
}

/** The variable whose name is the `length` bytes of `memory` at `start`; null for any other name. */
export function knownVariable(
  memory: DataView,
  start: number,
  length: number,
): KnownVariable | null {
  if (length < 8) return null
  const last = memory.getUint8(start + length - 1)
  const middle = memory.getUint8(start + (length >> 1))
  const tail = start + length - 8
  let known = buckets[bucketOf(length, last, middle)]!
  candidates: for (; known !== null; known = known.next!) {
    if (known.name.length !== length) continue
    if (memory.getFloat64(start, true) !== known.first) continue
    if (memory.getFloat64(tail, true) !== known.last) continue
    const { between } = known
    for (let i = 0; i < between.length; i++) {
      if (memory.getFloat64(start + 8 + 8 * i, true) !== between[i]) continue candidates
    }
    break
  }
  return known
}

/**
 * The assignments never run, but V8 counts them and reserves room for as many keys in each instance.
 * Otherwise an environ of more than a dozen keys becomes a dictionary, which takes up to four times
 * as long to fill. (CGI does not use this: compiling it takes longer than one request saves.)
 */
function PreallocatedEnviron(this: Record<string, unknown>, assign = false) {
  if (!assign) return
  this.a = this.b = this.c = this.d = this.e = this.f = this.g = this.h = 0
  this.i = this.j = this.k = this.l = this.m = this.n = this.o = this.p = 0
  this.q = this.r = this.s = this.t = this.u = this.v = this.w = this.x = 0
  this.A = this.B = this.C = this.D = this.E = this.F = this.G = this.H = 0
  this.I = this.J = this.K = this.L = this.M = this.N = this.O = this.P = 0
  this.Q = this.R = this.S = this.T = this.U = this.V = this.W = this.X = 0
}
PreallocatedEnviron.prototype = ENVIRON_PROTOTYPE

/** An empty environ, like that of `createEnviron()`, with room for the keys of a request. */
export function createPreallocatedEnviron(): Environ {
  return new (PreallocatedEnviron as unknown as new () => Environ)()
}
