/** What an application remembers of a client from one request to the next. */
import { randomBytes } from 'node:crypto'
import { asApplication } from '../application/detect.ts'
import { ApplicationError, ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass, Environ, ErrorStream } from '../types.ts'
import { chain, hook, type MaybePromise } from './body-hooks.ts'
import { escapePath } from './escape-path.ts'
import { intercept } from './response.ts'
import type { SessionStore } from './session-stores.ts'
import { cookieValues, type Signed, Signer } from './signed-cookie.ts'

/** What `session` can be told. */
export interface SessionOptions {
  /** Signs the cookie: 32 characters at least. Of several the first signs, all are believed. */
  readonly secret: string | readonly string[]
  /**
   * Where the data is kept. Without one it is in the cookie itself: signed, so that the client cannot
   * change it, but there to be read, and not to be taken back before it expires.
   */
  readonly store?: SessionStore | undefined
  /** The cookie's name. Default: 'session'. */
  readonly name?: string | undefined
  /** Seconds until a session ends that is not used. Default: 14 days, as in Django. */
  readonly maxAge?: number | undefined
  /** The cookie's Path. Default: where the application is mounted. */
  readonly path?: string | undefined
  /** The cookie's Domain. Default: none, so that it goes to the host alone. */
  readonly domain?: string | undefined
  /** The cookie's SameSite. Default: 'Lax'. */
  readonly sameSite?: 'Strict' | 'Lax' | undefined
}

/** `environ['portico.session']`. */
export interface Session {
  /** The data: whatever JSON can hold. Saved if it has changed when the head of the answer goes. */
  readonly data: Record<string, unknown>
  /** Gives the session another id, so that the one before is worth nothing: at every sign-in. */
  regenerate(): void
  /** Forgets the data, here and with the client. */
  destroy(): void
}

const TWO_WEEKS = 14 * 24 * 60 * 60

/** What every browser keeps of a cookie, with its name and attributes (RFC 6265, section 6.1). */
const MAX_COOKIE = 4096

/**
 * Keeps data between the requests of a client, as `environ['portico.session'].data`.
 *
 * @param app the application. It changes `data` before the first chunk of its body is sent; with a
 *   store, what it changes later is saved as well if the client has the cookie.
 * @param options `secret` is needed; `store`, `name`, `maxAge`, `path`, `domain`, `sameSite`.
 * @returns the application. The cookie is HttpOnly, and Secure where the request came by https. It is
 *   set only if the data changed, or half of its time is over. Of two requests at the same time the
 *   one that is saved last counts. The head waits until the store has saved.
 * @throws {ConfigurationError} for a secret that is too short, or what no cookie can hold.
 * @example
 * import { MemoryStore, session } from 'portico/middleware'
 *
 * const application = session(
 *   (environ, startResponse) => {
 *     const { data } = environ['portico.session']
 *     data.visits = (data.visits ?? 0) + 1
 *     startResponse('200 OK', [['Content-Type', 'text/plain']])
 *     return [`Visit ${data.visits}`]
 *   },
 *   { secret: 'a secret of 32 characters at least', store: new MemoryStore() },
 * )
 * // GET / → 200 Visit 1
 */
export function session(app: Application | ApplicationClass, options: SessionOptions): Application {
  const application = asApplication(app)
  const { store, secret, name = 'session', maxAge = TWO_WEEKS } = options ?? {}
  const signer = new Signer(name, typeof secret === 'string' ? [secret] : secret)
  const keeper = store ? storeKeeper(store) : cookieKeeper
  const lifetime = maxAge * 1000
  checkAttributes(name, maxAge, options)

  return (environ, startResponse) => {
    const attributes = attributesFor(environ, options)
    const signed = signer.readFirst(cookieValues(environ['HTTP_COOKIE'] ?? '', name))
    const text = signed && keeper.load(signed.value)
    return chain(text, (saved) => {
      const current = new Current(keeper, lifetime, signed, saved)
      const result = intercept(
        application,
        Object.assign(environ, { 'portico.session': current }),
        startResponse,
        ({ headers }) =>
          chain(current.commit(), (token) => {
            if (token === undefined) return
            const value = token === null ? '' : signer.sign(token, Date.now() + lifetime)
            const cookie = `${name}=${value}${attributes(token === null ? 0 : maxAge)}`
            if (cookie.length > MAX_COOKIE) {
              throw new ApplicationError(
                `session: the cookie has ${cookie.length} bytes, of which browsers keep ` +
                  `${MAX_COOKIE}; keep the data in a store`,
              )
            }
            headers.append('Set-Cookie', cookie)
          }),
        store !== undefined,
      )
      return chain(result, (body) =>
        hook(body, { closed: () => current.saveLate(environ['wsgi.errors']) }),
      )
    })
  }
}

/**
 * How data is kept. A token stands for it with the client: the data itself, or an id of the store.
 */
interface Keeper {
  load(token: string): MaybePromise<string | undefined>
  /** Resolves to the token, which is a new one if none is given. */
  save(token: string | undefined, text: string, expires: number): MaybePromise<string>
  /** Undefined where it cannot be taken back. */
  remove?(token: string): MaybePromise
}

const cookieKeeper: Keeper = {
  load: (token) => Buffer.from(token, 'base64url').toString(),
  save: (_token, text) => Buffer.from(text).toString('base64url'),
}

function storeKeeper(store: SessionStore): Keeper {
  return {
    load: (token) => store.load(token),
    save(token = randomBytes(24).toString('base64url'), text, expires) {
      return chain(store.save(token, text, expires), () => token)
    },
    remove: (token) => store.remove(token),
  }
}

const EMPTY = '{}'

/**
 * Undefined for what is no JSON: a file that a crash has emptied, or the id of a session from before
 * the data was kept in cookies. The client would get nothing but errors until it expires.
 */
function readJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The session of one request. */
class Current implements Session {
  data: Record<string, unknown> = Object.create(null)
  readonly #keeper: Keeper
  readonly #lifetime: number
  /** What the client has; undefined if that is nothing, or nothing that we know of. */
  #token: string | undefined
  #saved = EMPTY
  #renew = false
  #regenerate = false
  #committed = false

  constructor(
    keeper: Keeper,
    lifetime: number,
    signed: Signed | undefined,
    saved: string | undefined,
  ) {
    this.#keeper = keeper
    this.#lifetime = lifetime
    if (signed === undefined || saved === undefined) return
    const data = readJson(saved)
    if (data === undefined) return
    this.#token = signed.value
    this.#saved = saved
    this.#renew = signed.old || signed.expires - Date.now() < lifetime / 2
    Object.assign(this.data, data)
  }

  regenerate(): void {
    this.#regenerate = true
  }

  destroy(): void {
    this.data = Object.create(null)
    this.#regenerate = true
  }

  /** The token that the client is to have: null for none, undefined to leave it as it is. */
  commit(): MaybePromise<string | null | undefined> {
    this.#committed = true
    const text = JSON.stringify(this.data)
    const token = this.#token
    if (text === EMPTY) {
      if (token === undefined) return undefined
      this.#token = undefined
      this.#saved = EMPTY
      return chain(this.#keeper.remove?.(token), () => null)
    }
    if (text === this.#saved && !this.#renew && !this.#regenerate) return undefined
    if (!this.#regenerate || token === undefined) return this.#save(token, text)
    this.#token = undefined
    return chain(this.#keeper.remove?.(token), () => this.#save(undefined, text))
  }

  /** Saves what has changed since the head went, if that needs no new cookie. */
  saveLate(errors: ErrorStream): MaybePromise {
    const text = JSON.stringify(this.data)
    if (!this.#committed || text === this.#saved) return
    const keeper = this.#keeper
    if (!keeper.remove || this.#token === undefined) {
      errors.write('session: what changed after the first chunk of the body was lost\n')
      return
    }
    return text === EMPTY ? keeper.remove(this.#token) : this.#save(this.#token, text)
  }

  #save(token: string | undefined, text: string): MaybePromise<string> {
    const saved = this.#keeper.save(token, text, Date.now() + this.#lifetime)
    return chain(saved, (kept) => {
      this.#saved = text
      return (this.#token = kept)
    })
  }
}

function checkAttributes(name: string, maxAge: number, options: SessionOptions): void {
  const { path = '/', domain = 'localhost' } = options
  if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name)) refuse('name', name)
  if (!Number.isSafeInteger(maxAge) || maxAge < 1) refuse('maxAge', maxAge)
  if (!/^\/[\x21-\x3a\x3c-\x7e]*$/.test(path)) refuse('path', path)
  if (!/^[a-z\d.-]+$/i.test(domain)) refuse('domain', domain)
}

function refuse(option: string, value: unknown): never {
  throw new ConfigurationError(`session: ${option} cannot be ${JSON.stringify(value)}`)
}

/** Asked at once: below, a `mount` shifts the path. */
function attributesFor(environ: Environ, options: SessionOptions): (maxAge: number) => string {
  const { path = escapePath(environ.SCRIPT_NAME) || '/', domain, sameSite = 'Lax' } = options
  const secure = environ['wsgi.url_scheme'] === 'https' ? '; Secure' : ''
  const host = domain === undefined ? '' : `; Domain=${domain}`
  return (maxAge) =>
    `; Path=${path}${host}; Max-Age=${maxAge}; HttpOnly; SameSite=${sameSite}${secure}`
}
