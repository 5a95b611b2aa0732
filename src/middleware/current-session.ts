/** The session of one request: what has changed, and what is saved when. */
import type { MaybePromise } from '../types.ts'
import { ApplicationError } from '../errors.ts'
import { chain } from './maybe-promise.ts'
import type { Keeper } from './session-keepers.ts'
import type { Signed } from './signed-cookie.ts'

/**
 * The data of an application's sessions: anything that JSON can represent. Add the types of your data:
 * `declare module 'portico/middleware' { interface SessionData { user?: string } }`.
 */
export interface SessionData {
  [name: string]: unknown
}

/** `environ['portico.session']`. */
export interface Session<Data extends object = SessionData> {
  /** The data. It is saved, if it has changed, before the head of the response is sent. */
  readonly data: Data
  /**
   * Gives the session another id and ends the old one: call it when a user signs in.
   *
   * @throws {ApplicationError} after the head of the response, with its cookie, has been sent.
   */
  regenerate(): void
  /** Ends the session, on the server and with the client. */
  destroy(): void
}

/** Milliseconds: browsers drop a cookie after 400 days, whatever its Max-Age (RFC 6265bis, section 5.5). */
const MAX_COOKIE_AGE = 400 * 24 * 60 * 60 * 1000

const EMPTY = '{}'
const ENDED = 'the session was ended while this request was running; what it changed was dropped'

export class CurrentSession implements Session {
  #data: SessionData = Object.create(null)
  readonly #keeper: Keeper
  readonly #lifetime: number
  readonly #log: (line: string) => void
  /** The token that the client has; undefined if it has none, or if its session has ended. */
  #token: string | undefined
  #saved = EMPTY
  #renew = false
  #replaced: 'regenerated' | 'destroyed' | undefined
  #committed = false
  #used = false

  /** @param saved the JSON that was loaded for the token in the cookie. */
  constructor(
    keeper: Keeper,
    lifetime: number,
    signed: Signed | undefined,
    saved: string | undefined,
    log: (line: string) => void,
  ) {
    this.#keeper = keeper
    this.#lifetime = lifetime
    this.#log = log
    const data = signed && saved !== undefined ? parseJson(saved) : undefined
    if (signed === undefined || saved === undefined || data === undefined) return
    this.#token = signed.value
    this.#saved = saved
    const age = lifetime - (signed.expires - Date.now())
    this.#renew = signed.old || age > Math.min(lifetime / 2, MAX_COOKIE_AGE / 2)
    Object.assign(this.#data, data)
  }

  /** Whether the response depends on the session. */
  get used(): boolean {
    return this.#used
  }

  get data(): SessionData {
    this.#used = true
    return this.#data
  }

  regenerate(): void {
    if (this.#committed) {
      throw new ApplicationError(
        'session: regenerate() was called after the head of the response had been sent, ' +
          'so that the client cannot get another cookie',
      )
    }
    this.#used = true
    this.#replaced ??= 'regenerated'
  }

  destroy(): void {
    this.#used = true
    this.#data = Object.create(null)
    this.#replaced = 'destroyed'
  }

  /** Returns the token that the client is to have: null for none, undefined to leave it as it is. */
  commit(): MaybePromise<string | null | undefined> {
    this.#committed = true
    const text = JSON.stringify(this.#data)
    const token = this.#token
    const replaced = this.#replaced
    this.#replaced = undefined
    if (text === EMPTY) {
      if (token === undefined) return undefined
      this.#forget()
      // A cookie is deleted by name: the request that ended the session has set another under it.
      return chain(this.#keeper.remove?.(token), (removed) =>
        removed === false && replaced !== 'destroyed' ? this.#ended() : null,
      )
    }
    if (token === undefined) return this.#create(text)
    if (replaced === undefined) {
      return text === this.#saved && !this.#renew ? undefined : this.#update(token, text)
    }
    this.#token = undefined
    return chain(this.#keeper.remove?.(token), (removed) => {
      // Data from an ended session must not live on under another id; data set after destroy() may.
      if (removed === false && replaced === 'regenerated') return this.#ended()
      return this.#create(text)
    })
  }

  /** Saves what has changed since the head was sent, if that needs no new cookie. */
  saveLate(): MaybePromise<unknown> {
    const text = JSON.stringify(this.#data)
    const ends = this.#replaced === 'destroyed'
    if (!this.#committed || (text === this.#saved && !ends)) return
    const token = this.#token
    const canSave = this.#keeper.remove !== undefined && token !== undefined
    if (text !== EMPTY && (ends || !canSave)) {
      this.#log('what changed after the first chunk of the body was lost')
    }
    if (!canSave) return
    return ends || text === EMPTY ? this.#keeper.remove?.(token) : this.#update(token, text)
  }

  #create(text: string): MaybePromise<string> {
    return chain(this.#keeper.create(text, Date.now() + this.#lifetime), (token) => {
      this.#saved = text
      return (this.#token = token)
    })
  }

  #update(token: string, text: string): MaybePromise<string | undefined> {
    const changed = text !== this.#saved
    const updated = this.#keeper.update(token, text, Date.now() + this.#lifetime)
    return chain(updated, (kept) => {
      if (kept === undefined) return this.#ended(changed)
      this.#saved = text
      return (this.#token = kept)
    })
  }

  /** Leaves the client's cookie alone: the request that ended the session has replaced it. */
  #ended(changed = true): undefined {
    if (changed) this.#log(ENDED)
    this.#forget()
    this.#saved = JSON.stringify(this.#data)
  }

  #forget(): void {
    this.#token = undefined
    this.#saved = EMPTY
  }
}

/**
 * Undefined for anything but the JSON of an object, such as a file that a crash has emptied, or an id
 * from a time when the data was in a store. Throwing would give the client errors until it expires.
 */
function parseJson(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}
