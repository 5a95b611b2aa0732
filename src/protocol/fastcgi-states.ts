/**
 * What the records of a web server may do to a request (sections 5 and 6), from the application's
 * side of a connection.
 *
 * An id is active from the web server's BEGIN_REQUEST to the application's END_REQUEST. Each active
 * request is in one state:
 *
 *   params    PARAMS are arriving; the application does not know the request yet.
 *   stdin     PARAMS are complete (the event 'request'); the body is arriving.
 *   received  The body is complete; only the response is missing.
 *   aborted   The web server no longer wants the response, or can send no more: ABORT_REQUEST, the
 *             end of the connection, or a fault. What it still sends for this id is ignored.
 *
 * The application may respond in any state except the first (section 6.2), and its `end()` makes the
 * id inactive in any of them, unless the application goes on reading STDIN. Records for inactive ids
 * are ignored, except BEGIN_REQUEST (section 3.3). A step that is not in the table is an error of the
 * peer; nothing it sends after that can be trusted.
 */
import { Buffer } from 'node:buffer'
import { Gathered } from './fastcgi-records.ts'

const STATES = ['params', 'stdin', 'received', 'aborted'] as const
export const [IN_PARAMS, IN_STDIN, RECEIVED, ABORTED] = [0, 1, 2, 3] as const

/** What a record does to a request: part of a stream, its end (an empty record), or an abort. */
const STEPS = ['PARAMS', 'end of PARAMS', 'STDIN', 'end of STDIN', 'ABORT_REQUEST'] as const
export const [PARAMS, END_OF_PARAMS, STDIN, END_OF_STDIN, ABORT] = [0, 1, 2, 3, 4] as const

/** There is no such transition. Steps and states are numbers: every record looks one up. */
const NONE = -1

/** `TRANSITIONS[state][step]` is the next state. */
// oxfmt-ignore
const TRANSITIONS: readonly (readonly number[])[] = [
  // PARAMS   its end    STDIN    its end   ABORT_REQUEST
  [IN_PARAMS, IN_STDIN,  NONE,     NONE,     ABORTED], // params
  [NONE,      NONE,      IN_STDIN, RECEIVED, ABORTED], // stdin
  [NONE,      NONE,      NONE,     NONE,     ABORTED], // received
  [ABORTED,   ABORTED,   ABORTED,  ABORTED,  ABORTED], // aborted
]

const NO_BYTES = Buffer.alloc(0)

/** A request between BEGIN_REQUEST and END_REQUEST. */
export class ActiveRequest {
  readonly id: number
  readonly role: number
  readonly keepConn: boolean
  state: number = IN_PARAMS
  /** The chunk that contains the PARAMS so far, from `start` to `end`; null if they were copied. */
  #chunk: Buffer | null = null
  #start = 0
  #end = 0
  /** The copied PARAMS. */
  #gathered: Gathered | null = null
  paramsBytes = 0
  usedStderr = false
  /** END_REQUEST has been sent, and the application goes on reading STDIN. */
  responded = false

  constructor(id: number, role: number, keepConn: boolean) {
    this.id = id
    this.role = role
    this.keepConn = keepConn
  }

  /** Takes a step in the table; returns an error message if there is no such step. */
  advance(step: number): string | null {
    const state = TRANSITIONS[this.state]![step]!
    if (state === NONE) {
      return `${STEPS[step]} for request ${this.id}, which is in the state '${STATES[this.state]}'`
    }
    this.state = state
    return null
  }

  /**
   * Takes PARAMS: the bytes of `chunk` from `start` to `end`. Returns true if they have not been
   * copied, which is usual: a request's PARAMS are one record. Then `saveParams()` has to copy them
   * before the chunk is released.
   */
  addParams(chunk: Buffer, start: number, end: number): boolean {
    if (this.#chunk === null && this.#gathered === null) {
      this.#chunk = chunk
      this.#start = start
      this.#end = end
      return true
    }
    this.saveParams()
    this.#gathered!.append(chunk, start, end)
    return false
  }

  /** Copies the PARAMS out of their chunk, unless that has been done. */
  saveParams(): void {
    if (this.#chunk === null) return
    this.#gathered = new Gathered()
    this.#gathered.append(this.#chunk, this.#start, this.#end)
    this.#chunk = null
  }

  /** Returns all PARAMS, and forgets them. */
  takeParams(): { block: Buffer; start: number; end: number } {
    const block = this.#chunk ?? this.#gathered?.bytes() ?? NO_BYTES
    const whole = this.#chunk === null
    const params = { block, start: whole ? 0 : this.#start, end: whole ? block.length : this.#end }
    this.#chunk = this.#gathered = null
    return params
  }
}

/** Searching an array is cheaper than a Map: there is usually one request. */
export function findRequest(
  requests: readonly ActiveRequest[],
  id: number,
): ActiveRequest | undefined {
  for (let i = 0; i < requests.length; i++) if (requests[i]!.id === id) return requests[i]
  return undefined
}

export function anyInParams(requests: readonly ActiveRequest[]): boolean {
  for (let i = 0; i < requests.length; i++) if (requests[i]!.state === IN_PARAMS) return true
  return false
}

/** Removes a request from `requests`, and returns it. */
export function takeRequest(requests: ActiveRequest[], id: number): ActiveRequest | null {
  const last = requests[requests.length - 1]
  if (last?.id === id) return requests.pop()!
  const index = requests.findIndex((request) => request.id === id)
  return index < 0 ? null : requests.splice(index, 1)[0]!
}
