/** The two ways to keep a session's data: in the cookie, and in a store. */
import { ApplicationError } from '../errors.ts'
import { briefly } from '../options/values.ts'
import type { MaybePromise } from '../types.ts'
import { randomBytes } from 'node:crypto'
import { chain } from './maybe-promise.ts'
import type { SessionStore } from './session-store.ts'

/** Keeps data under a token that the client has: either the data itself, or an id in the store. */
export interface Keeper {
  load(token: string): MaybePromise<string | undefined>
  /** Returns a new token for new data. */
  create(text: string, expires: number): MaybePromise<string>
  /** Returns the token from now on; undefined if the session has been ended in the meantime. */
  update(token: string, text: string, expires: number): MaybePromise<string | undefined>
  /** Returns false if the session had ended already. Absent if data cannot be revoked. */
  remove?(token: string): MaybePromise<boolean>
}

const toToken = (text: string): string => Buffer.from(text).toString('base64url')

export const cookieKeeper: Keeper = {
  load: (token) => Buffer.from(token, 'base64url').toString(),
  create: toToken,
  update: (_token, text) => toToken(text),
}

function wrong(method: string, expected: string, value: unknown): ApplicationError {
  return new ApplicationError(
    `session: ${method}() of the store must return ${expected} (got ${briefly(value)})`,
  )
}

export function storeKeeper(store: SessionStore): Keeper {
  // null and 0 are what databases return; in JavaScript no type keeps a store from passing them on.
  const load = (token: string) =>
    chain(store.load(token), (found: unknown) => {
      if (typeof found === 'string') return found
      if (found === undefined || found === null) return undefined
      // Otherwise each request would begin a new session.
      throw wrong('load', 'the text that was saved, or undefined', found)
    })
  return {
    load,
    create(text, expires) {
      const token = randomBytes(24).toString('base64url')
      return chain(store.save(token, text, expires), () => token)
    },
    update(token, text, expires) {
      const kept = (alive: unknown) => {
        // Otherwise the changes of a request would be dropped, as if the session had ended.
        if (alive === undefined) throw wrong('update', 'true or false', alive)
        return alive ? token : undefined
      }
      if (store.update) return chain(store.update(token, text, expires), kept)
      return chain(load(token), (found) =>
        found === undefined ? undefined : chain(store.save(token, text, expires), () => token),
      )
    },
    remove: (token) =>
      chain(store.remove(token), (removed: unknown) => removed === undefined || Boolean(removed)),
  }
}
