/**
 * What the records of a web server may do to a request (sections 5 and 6), from the application's
 * side of a connection.
 *
 * An id is active from BEGIN_REQUEST until our END_REQUEST. Each active request is in one state:
 *
 *   params    PARAMS are coming; the application has not heard of the request.
 *   stdin     PARAMS are complete ('request' was given out); the body is coming.
 *   received  The body is complete; only the answer is missing.
 *   aborted   The web server no longer wants the answer, or can send no more: ABORT_REQUEST, the end
 *             of the connection, or a fault. What it still sends for this id is ignored.
 *
 * The application may answer in any state but the first (section 6.2), and its `end()` makes the id
 * inactive in any of them. Records for inactive ids are ignored, save BEGIN_REQUEST (section 3.3).
 * What is not in the table is an error of the peer, after which nothing it sends can be trusted.
 */
import type { Buffer } from 'node:buffer'
import { Gathered } from './fastcgi-records.ts'

const STATES = ['params', 'stdin', 'received', 'aborted'] as const
export const [IN_PARAMS, IN_STDIN, RECEIVED, ABORTED] = [0, 1, 2, 3] as const

/** What a record does to a request: part of a stream, its end (an empty record), or an abort. */
const STEPS = ['PARAMS', 'end of PARAMS', 'STDIN', 'end of STDIN', 'ABORT_REQUEST'] as const
export const [PARAMS, END_OF_PARAMS, STDIN, END_OF_STDIN, ABORT] = [0, 1, 2, 3, 4] as const

/** No such transition. Numbers, for there is one to look up for every record. */
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

/** A request between its BEGIN_REQUEST and our END_REQUEST. */
export class ActiveRequest {
  readonly id: number
  readonly role: number
  readonly keepConn: boolean
  state: number = IN_PARAMS
  /** Where the PARAMS came, if all so far are in one chunk: between `start` and `end`. */
  chunk: Buffer | null = null
  start = 0
  end = 0
  /** Where they are put together otherwise. */
  gathered: Gathered | null = null
  paramsBytes = 0
  wantsInput = true
  usedStderr = false

  constructor(id: number, role: number, keepConn: boolean) {
    this.id = id
    this.role = role
    this.keepConn = keepConn
  }

  /** Takes a step in the table; returns what is wrong if there is none. */
  advance(step: number): string | null {
    const state = TRANSITIONS[this.state]![step]!
    if (state === NONE) {
      return `${STEPS[step]} for request ${this.id}, which is in the state '${STATES[this.state]}'`
    }
    this.state = state
    return null
  }

  /** Copies the PARAMS that are where they came. */
  saveParams(): void {
    this.gathered = new Gathered()
    this.gathered.append(this.chunk!, this.start, this.end)
    this.chunk = null
  }
}
