/** Sessions: data of a client that an application keeps from one request to the next. */
import { asApplication } from '../application/detect.ts'
import { checkNames } from '../options/names.ts'
import { isInteger, refuse } from '../options/values.ts'
import { ApplicationError, ConfigurationError } from '../errors.ts'
import { TOKEN } from '../text.ts'
import type { Application, ApplicationClass, Environ, MaybePromise } from '../types.ts'
import { hookBody } from './body-hooks.ts'
import { cookiePath } from './escape-path.ts'
import { intercept } from './intercept.ts'
import { chain } from './maybe-promise.ts'
import { CurrentSession, type Session } from './current-session.ts'
import { cookieKeeper, type Keeper, storeKeeper } from './session-keepers.ts'
import type { SessionStore } from './session-store.ts'
import { cookieValues, type Signed, Signer } from './signed-cookie.ts'
import { addVary } from './vary.ts'

export interface SessionOptions {
  /** Signs the cookie: at least 32 characters. Of several, the first signs and all are accepted. */
  readonly secret: string | readonly string[]
  /**
   * Where the data is kept. Without a store it is in the cookie: signed, so that the client cannot
   * change it, but the client can read it, and an old copy is valid until it expires.
   */
  readonly store?: SessionStore | undefined
  /** The cookie's name. Default: 'session'. */
  readonly name?: string | undefined
  /**
   * Seconds until an unused session ends. Default: 14 days. Browsers keep a cookie for 400 days at
   * most (RFC 6265bis, section 5.5).
   */
  readonly maxAge?: number | undefined
  /** The cookie's Path. Default: the mount point of the application. */
  readonly path?: string | undefined
  /** The cookie's Domain. Default: none, so that only this host gets the cookie. */
  readonly domain?: string | undefined
  /** The cookie's SameSite. `'None'`, for use in other sites' frames, implies `secure`. Default: 'Lax'. */
  readonly sameSite?: SameSite | undefined
  /**
   * Whether the cookie is sent over https only. Default: true if the request came over https. Set it
   * if TLS ends at a proxy that the web server does not know about.
   */
  readonly secure?: boolean | undefined
}

const SAME_SITE = ['Strict', 'Lax', 'None'] as const
type SameSite = (typeof SAME_SITE)[number]

declare module '../types.ts' {
  interface Environ {
    /** The session, below the middleware `session`. */
    'portico.session': Session
  }
}

const TWO_WEEKS = 14 * 24 * 60 * 60

/** 100 years: a time that every store can represent. Most likely, the caller means milliseconds. */
const MAX_AGE = 100 * 365 * 24 * 60 * 60

/** Bytes of a cookie, name and attributes included, that every browser stores (RFC 6265, section 6.1). */
const MAX_COOKIE = 4096

/**
 * Keeps data between the requests of a client, as `environ['portico.session'].data`.
 *
 * With a store, a session that has been ended by `destroy()` or `regenerate()` stays ended, whatever
 * requests with its old id are still running: their changes are dropped. Without a store the server
 * cannot know that a session has been ended.
 *
 * @param app the application. It changes `data` before the first chunk of its body is sent. With a
 *   store, later changes are saved as well if the client already has the cookie.
 * @param options `secret` is required; `store`, `name`, `maxAge`, `path`, `domain`, `sameSite`, `secure`.
 * @returns the application. The cookie is HttpOnly. It is set only if the data has changed, or after
 *   half of `maxAge`, or 200 days. Of two requests at the same time, the one that is saved last counts. The head
 *   is sent after the store has saved. A response has `Vary: Cookie` if the session was used.
 * @throws {ConfigurationError} for a secret that is too short, for a value that a cookie cannot hold
 *   or that browsers reject, or for an unknown option.
 * @example
 * import { MemoryStore, session } from 'portico/middleware'
 *
 * // TypeScript: what the data of this application's sessions is
 * declare module 'portico/middleware' {
 *   interface SessionData {
 *     visits?: number
 *   }
 * }
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
  checkNames('session', options ?? {}, NAMES)
  const { store, secret, name = 'session', maxAge = TWO_WEEKS } = options ?? {}
  const signer = new Signer(name, typeof secret === 'string' ? [secret] : secret)
  checkOptions(name, maxAge, options)
  const keeper = store ? storeKeeper(store) : cookieKeeper
  const lifetime = maxAge * 1000

  return (environ, startResponse) => {
    const attributes = attributesFor(environ, name, options)
    const cookies = signer.readAll(cookieValues(environ['HTTP_COOKIE'] ?? '', name))
    return chain(loadFirst(keeper, cookies), ({ signed, saved }) => {
      const log = (line: string) => environ['wsgi.errors'].write(`session: ${line}\n`)
      const current = new CurrentSession(keeper, lifetime, signed, saved, log)
      environ['portico.session'] = current
      const intercepted = intercept(application, {
        onResponse: ({ headers }) =>
          chain(current.commit(), (token) => {
            if (current.used || token !== undefined) addVary(headers, 'Cookie')
            if (token === undefined) return
            const value = token === null ? '' : signer.sign(token, Date.now() + lifetime)
            const cookie = `${name}=${value}${attributes(token === null ? 0 : maxAge)}`
            if (cookie.length > MAX_COOKIE) {
              throw new ApplicationError(
                `session: the cookie has ${cookie.length} bytes, but browsers keep only ` +
                  `${MAX_COOKIE}; pass a store for more data`,
              )
            }
            headers.append('Set-Cookie', cookie)
          }),
      })
      return chain(intercepted(environ, startResponse), (body) =>
        hookBody(body, { onClose: () => current.saveLate() }),
      )
    })
  }
}

interface Loaded {
  readonly signed?: Signed
  readonly saved?: string
}

/** The first session that exists: a cookie may have outlived its own, and hide that of another. */
function loadFirst(keeper: Keeper, [signed, ...others]: readonly Signed[]): MaybePromise<Loaded> {
  if (signed === undefined) return {}
  return chain(keeper.load(signed.value), (saved) =>
    saved === undefined ? loadFirst(keeper, others) : { signed, saved },
  )
}

const NAMES = ['secret', 'store', 'name', 'maxAge', 'path', 'domain', 'sameSite', 'secure']

function checkOptions(name: string, maxAge: number, options: SessionOptions): void {
  const { path = '/', domain = 'localhost', sameSite = 'Lax', secure, store } = options
  const wrong = (option: keyof SessionOptions, expected: string) =>
    refuse('session', option, options[option], expected)
  if (typeof name !== 'string' || !TOKEN.test(name)) {
    wrong('name', 'a token of letters, digits and some marks')
  }
  if (!isInteger(maxAge, 1, MAX_AGE)) {
    wrong('maxAge', `a whole number of seconds, from 1 to ${MAX_AGE} (100 years)`)
  }
  if (typeof path !== 'string' || !/^\/[\x21-\x3a\x3c-\x7e]*$/.test(path)) {
    wrong('path', "a path that starts with '/', without ';' and spaces")
  }
  if (typeof domain !== 'string' || !HOST_NAME.test(domain)) wrong('domain', 'a host name')
  if (!SAME_SITE.includes(sameSite)) wrong('sameSite', "'Strict', 'Lax' or 'None'")
  if (secure !== undefined && typeof secure !== 'boolean') wrong('secure', 'true or false')
  if (store !== undefined && !isStore(store)) {
    wrong('store', 'an object with the methods load, save and remove')
  }
  if (secure === false && (sameSite === 'None' || PREFIXED.test(name))) {
    throw new ConfigurationError(
      "session: browsers reject a cookie with sameSite 'None' or the prefix __Host- or __Secure- " +
        'that is not secure; leave secure: false out',
    )
  }
  if (HOST_PREFIX.test(name) && (path !== '/' || options.domain !== undefined)) {
    throw new ConfigurationError(
      `session: browsers reject the cookie ${name} unless its path is '/' and it has no domain`,
    )
  }
}

/** Browsers ignore a dot before the labels, and drop a cookie with an empty label. */
const HOST_NAME = /^\.?[a-z\d-]+(?:\.[a-z\d-]+)*$/i

/** Names with a meaning for browsers (RFC 6265bis, section 4.1.3). */
const HOST_PREFIX = /^__Host-/i
const PREFIXED = /^__(?:Host|Secure)-/i

function isStore(store: unknown): boolean {
  const methods = Object(store) as Record<string, unknown>
  return ['load', 'save', 'remove'].every((name) => typeof methods[name] === 'function')
}

/** Called before the application runs, because a `mount` below shifts SCRIPT_NAME. */
function attributesFor(
  environ: Environ,
  name: string,
  options: SessionOptions,
): (maxAge: number) => string {
  const { domain, sameSite = 'Lax' } = options
  const {
    path = HOST_PREFIX.test(name) ? '/' : cookiePath(environ),
    secure = sameSite === 'None' || PREFIXED.test(name) || environ['wsgi.url_scheme'] === 'https',
  } = options
  const host = domain === undefined ? '' : `; Domain=${domain}`
  const end = `; HttpOnly; SameSite=${sameSite}${secure ? '; Secure' : ''}`
  return (maxAge) => `; Path=${path}${host}; Max-Age=${maxAge}${end}`
}
