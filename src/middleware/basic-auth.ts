/** Basic authentication (RFC 7617), for web servers that do not do it themselves. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { asApplication } from '../application/detect.ts'
import { checkNames } from '../options/names.ts'
import { refuse } from '../options/values.ts'
import { decodeText, encodeText } from '../environ/environ.ts'
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass, Environ, MaybePromise } from '../types.ts'
import { chain } from './maybe-promise.ts'
import { plain } from './plain-response.ts'

/** Either `users` or `verify` is required. */
export interface BasicAuthOptions {
  /** What the browser shows when it asks for the password. Default: 'Restricted'. */
  readonly realm?: string | undefined
  /** Passwords by user name. They are compared in constant time. */
  readonly users?: Readonly<Record<string, string>> | undefined
  /** Called instead of looking at `users`, for example to compare hashes or query a database. */
  readonly verify?:
    | ((user: string, password: string, environ: Environ) => MaybePromise<boolean>)
    | undefined
}

/**
 * Requires a user name and a password.
 *
 * Clients send both in the clear, so use it over https only. Apache does not pass them to CGI and
 * FastCGI without `CGIPassAuth On`.
 *
 * @param app the application. It finds the user in REMOTE_USER, and 'Basic' in AUTH_TYPE.
 * @param options `users` or `verify`, and `realm`.
 * @returns the application. The response to wrong or missing credentials is a 401.
 * @throws {ConfigurationError} for a realm that is not ASCII, for neither or both of `users` and
 *   `verify`, or for an unknown option.
 * @example
 * import { basicAuth } from 'portico/middleware'
 *
 * const application = basicAuth(
 *   (environ, startResponse) => {
 *     startResponse('200 OK', [['Content-Type', 'text/plain']])
 *     return [`Hello, ${environ.REMOTE_USER}`]
 *   },
 *   { users: { ada: 'lovelace' } },
 * )
 * // GET / → 401 Unauthorized
 * // GET / with Authorization: Basic YWRhOmxvdmVsYWNl → 200 Hello, ada
 * // GET / with Authorization: Basic YWRhOmJhYmJhZ2U= → 401 Unauthorized
 */
export function basicAuth(
  app: Application | ApplicationClass,
  options: BasicAuthOptions,
): Application {
  const application = asApplication(app)
  checkNames('basicAuth', options ?? {}, ['realm', 'users', 'verify'])
  const { realm = 'Restricted', users } = options ?? {}
  if (typeof realm !== 'string' || !/^[\x20-\x7e]*$/.test(realm)) {
    refuse('basicAuth', 'realm', realm, 'a string of visible ASCII characters and spaces')
  }
  if ((users === undefined) === (options?.verify === undefined)) {
    throw new ConfigurationError('basicAuth: pass either users or verify')
  }
  if (users !== undefined && !isPasswords(users)) {
    refuse('basicAuth', 'users', users, "an object of passwords, { ada: 'lovelace' } for example")
  }
  if (options.verify !== undefined && typeof options.verify !== 'function') {
    refuse('basicAuth', 'verify', options.verify, 'a function')
  }
  const verify = options.verify ?? verifier(users ?? {})
  const challenge = `Basic realm="${realm.replace(/["\\]/g, '\\$&')}", charset="UTF-8"`
  const unauthorized = plain('401 Unauthorized', [['WWW-Authenticate', challenge]])
  return (environ, startResponse) => {
    // Apache puts REDIRECT_ in front of what a RewriteRule sets. No client can send such a name.
    const header = environ['HTTP_AUTHORIZATION'] ?? environ['REDIRECT_HTTP_AUTHORIZATION']
    const credentials = readCredentials(header)
    if (credentials === undefined) return unauthorized(environ, startResponse)
    const [user, password] = credentials
    return chain(verify(user, password, environ), (good) => {
      if (!good) return unauthorized(environ, startResponse)
      environ['REMOTE_USER'] = encodeText(user)
      environ['AUTH_TYPE'] = 'Basic'
      return application(environ, startResponse)
    })
  }
}

function isPasswords(users: unknown): boolean {
  return (
    typeof users === 'object' &&
    users !== null &&
    !(Symbol.iterator in users) &&
    Object.values(users).every((password) => typeof password === 'string')
  )
}

/** UTF-8 without control characters; the user's name has no colon (section 2). */
function readCredentials(header = ''): [user: string, password: string] | undefined {
  const [, token] = /^basic +([a-z\d+/]+={0,2})$/i.exec(header) ?? []
  if (token === undefined) return undefined
  const text = decodeText(Buffer.from(token, 'base64').toString('latin1'))
  const colon = text.indexOf(':')
  // oxlint-disable-next-line no-control-regex -- looks for control characters
  if (colon < 0 || /[\0-\x1f\x7f]/.test(text)) return undefined
  return [text.slice(0, colon), text.slice(colon + 1)]
}

/**
 * Compares digests under a random key: all have the same length, and the duration of a comparison
 * reveals nothing, not even whether a user exists.
 */
function verifier(users: Readonly<Record<string, string>>) {
  const key = randomBytes(32)
  const digest = (text: string) => createHmac('sha256', key).update(text).digest()
  const digests = new Map(Object.entries(users).map(([user, word]) => [user, digest(word)]))
  const unknownUser = randomBytes(32)
  return (user: string, password: string) =>
    timingSafeEqual(digest(password), digests.get(user) ?? unknownUser)
}
